package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/upstream/wire"
)

// TestSyntaxErrors: an error points at the value, says what stands there, what should, and the nearest name.
func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	cases := []struct {
		text string
		want wire.SyntaxError
	}{
		{"", wire.SyntaxError{Expected: "an object", Found: "the end of the text"}},
		{"[]", wire.SyntaxError{Expected: "an object", Found: "an array"}},
		{`{"optionalInt32":1`, wire.SyntaxError{Expected: "',' or '}'", Found: "the end of the text", Offset: 18}},
		{`{"optionalInt32":1} x`, wire.SyntaxError{Expected: "the end of the text", Found: "x", Offset: 20}},
		{`{"optionalInt32":1,}`, wire.SyntaxError{Expected: "a value after the comma", Found: "'}'", Offset: 19}},
		{`{optionalInt32:1}`, wire.SyntaxError{Expected: "a name in quotes", Found: "optionalInt32", Offset: 1}},
		{`{"optionalInt32" 1}`, wire.SyntaxError{Expected: "':' after a name", Found: "1", Offset: 17}},
		{`{"optionalInt23":1}`, wire.SyntaxError{Pointer: "/optionalInt23", Found: `unknown field "optionalInt23"`, Nearest: "optionalInt32", Offset: 1}},
		{`{"optionalInt32":1,"optional_int32":2}`, wire.SyntaxError{Pointer: "/optional_int32", Found: "a field that was given before", Offset: 19}},
		{`{"oneofUint32":1,"oneofString":"a"}`, wire.SyntaxError{Pointer: "/oneofString", Found: `a second field of "oneof_field", of which only one may be set`, Offset: 17}},
		{`{"optionalInt32":"x"}`, wire.SyntaxError{Pointer: "/optionalInt32", Expected: "an integer from -2147483648 to 2147483647", Found: `"x"`, Offset: 17}},
		{`{"optionalInt32": 1.5}`, wire.SyntaxError{Pointer: "/optionalInt32", Expected: "an integer from -2147483648 to 2147483647", Found: "1.5", Offset: 18}},
		{`{"optionalUint64":-1}`, wire.SyntaxError{Pointer: "/optionalUint64", Expected: "an integer from 0 to 18446744073709551615", Found: "-1", Offset: 18}},
		{`{"optionalBool":1}`, wire.SyntaxError{Pointer: "/optionalBool", Expected: "true or false", Found: "1", Offset: 16}},
		{`{"optionalString":7}`, wire.SyntaxError{Pointer: "/optionalString", Expected: "a string", Found: "7", Offset: 18}},
		{`{"optionalBytes":"%"}`, wire.SyntaxError{Pointer: "/optionalBytes", Expected: "a string in base64", Found: `"%"`, Offset: 17}},
		{`{"optionalNestedEnum":"BAX"}`, wire.SyntaxError{
			Pointer:  "/optionalNestedEnum",
			Expected: "a value of protobuf_test_messages.proto3.TestAllTypesProto3.NestedEnum", Found: `"BAX"`, Nearest: "BAR", Offset: 22,
		}},
		{`{"repeatedNestedMessage":[{},{"corecursive":{"mapStringNestedMessage":{"a/b~c":{"a":[]}}}}]}`, wire.SyntaxError{
			Pointer:  "/repeatedNestedMessage/1/corecursive/mapStringNestedMessage/a~1b~0c/a",
			Expected: "an integer from -2147483648 to 2147483647", Found: "an array", Offset: 84,
		}},
		{`{"mapInt32Int32":{"1":1,"x":1}}`, wire.SyntaxError{
			Pointer:  "/mapInt32Int32/x",
			Expected: "a key that is an integer from -2147483648 to 2147483647", Found: `the key "x"`, Offset: 24,
		}},
		{`{"mapStringString":{"a":"","b":"","a":""}}`, wire.SyntaxError{Pointer: "/mapStringString/a", Found: "a key that was given before", Offset: 34}},
		{`{"optionalTimestamp":"yesterday"}`, wire.SyntaxError{Pointer: "/optionalTimestamp", Expected: "a time such as 2006-01-02T15:04:05Z", Found: `"yesterday"`, Offset: 21}},
		{`{"optionalDuration":1}`, wire.SyntaxError{Pointer: "/optionalDuration", Expected: "a duration in seconds such as 1.5s", Found: "1", Offset: 20}},
		{`{"optionalFieldMask":"a_b"}`, wire.SyntaxError{Pointer: "/optionalFieldMask", Expected: "field names in lowerCamelCase separated by commas", Found: `"a_b"`, Offset: 21}},
		{`{"optionalAny":{"a":1}}`, wire.SyntaxError{Pointer: "/optionalAny", Expected: "the type of the message", Found: `an object without "@type"`, Offset: 15}},
		{`{"optionalAny":{"@type":"x.y/z"}}`, wire.SyntaxError{Pointer: "/optionalAny/@type", Found: `unknown type "x.y/z"`, Offset: 15}},
		{`{"optionalAny":{"@type":"/google.protobuf.Duration","value":3}}`, wire.SyntaxError{Pointer: "/optionalAny/value", Expected: "a duration in seconds such as 1.5s", Found: "3", Offset: 60}},
		{`{"optionalString":"\ud800"}`, wire.SyntaxError{Pointer: "/optionalString", Found: "a malformed escape sequence in a string", Offset: 19}},
		{"{\"optionalString\":\"\xff\"}", wire.SyntaxError{Pointer: "/optionalString", Found: "a string that is not UTF-8", Offset: 19}},
		{"{\"optionalString\":\"a\nb\"}", wire.SyntaxError{Pointer: "/optionalString", Found: "a control character in a string", Offset: 20}},
		{`{"optionalString":"abc`, wire.SyntaxError{Pointer: "/optionalString", Found: "the end of the text in a string", Offset: 22}},
		{`{"repeatedInt32":[1,null]}`, wire.SyntaxError{Pointer: "/repeatedInt32/1", Expected: "an integer from -2147483648 to 2147483647", Found: "null", Offset: 20}},
		{`{"repeatedInt32":{}}`, wire.SyntaxError{Pointer: "/repeatedInt32", Expected: "an array", Found: "an object", Offset: 17}},
		{`{"optionalInt32":01}`, wire.SyntaxError{Pointer: "/optionalInt32", Expected: "an integer from -2147483648 to 2147483647", Found: "01", Offset: 17}},
		{`{"optionalDouble":1e999}`, wire.SyntaxError{Pointer: "/optionalDouble", Expected: "a number", Found: "1e999", Offset: 18}},
		{`{"optionalInt32":1e}`, wire.SyntaxError{Pointer: "/optionalInt32", Expected: "an integer from -2147483648 to 2147483647", Found: "1e", Offset: 17}},
	}
	p, err := wire.NewParser(w.root(0), wire.ParseOptions{Resolver: w.types})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		_, err := p.Append(nil, []byte(c.text))
		got, ok := errors.AsType[*wire.SyntaxError](err)
		if !ok {
			t.Errorf("%s: got %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, *got); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

// TestLongErrors: an error repeats only so much of what is wrong.
func TestLongErrors(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	p := must(wire.NewParser(k.w.root(0), wire.ParseOptions{}))(t)
	long := strings.Repeat("é", 100_000)
	for _, text := range []string{
		`{"` + long + `":1}`, `{"optionalInt32":"` + long + `"}`, `{"mapInt32Int32":{"` + long + `":1}}`, `{"optionalAny":{"@type":"` + long + `"}}`,
		`{"mapStringNestedMessage":{"` + long + `":1}}`, long,
	} {
		if _, err := p.Append(nil, []byte(text)); err == nil || len(err.Error()) > 500 {
			t.Errorf("%.40s: got %.600v", text, err)
		}
	}
	if err := k.b.New().SetText(k.slot("optionalInt32"), long); err == nil || len(err.Error()) > 500 {
		t.Errorf("got %.600v", err)
	}
}

func TestSyntaxErrorText(t *testing.T) {
	t.Parallel()
	e := &wire.SyntaxError{Pointer: "/items/0/quantity", Expected: "an integer", Found: `"x"`}
	if got, want := e.Error(), `/items/0/quantity: "x", expected an integer`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e = &wire.SyntaxError{Found: `unknown field "a"`, Nearest: "b"}
	if got, want := e.Error(), `unknown field "a", did you mean "b"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRequiredFields(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := find(t, w.files, "protobuf_test_messages.proto2.TestAllRequiredTypesProto2.NestedMessage")
	p, err := wire.NewParser(md, wire.ParseOptions{Resolver: w.types})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Append(nil, []byte(`{"a":1}`))
	if err == nil || !strings.Contains(err.Error(), `an object without the required field "corecursive"`) {
		t.Errorf("got %v", err)
	}
	c, err := wire.NewCanonicalizer(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(nil, []byte{8, 1}); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// TestBounds: depth and length are bounded, in JSON and on the wire, whatever nests.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	o := wire.ParseOptions{Resolver: w.types, MaxDepth: 50, MaxBytes: 1 << 20, DiscardUnknown: true}
	p, err := wire.NewParser(md, o)
	if err != nil {
		t.Fatal(err)
	}
	nest := func(open, middle, end string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	for _, text := range []string{
		nest(`{"recursiveMessage":`, "{}", "}", 60),
		nest(`{"recursiveMessage":`, "{}", "}", 100_00),
		`{"optionalValue":` + nest("[", "", "]", 10_000) + "}",
		`{"optionalStruct":` + nest(`{"a":`, "1", "}", 10_000) + "}",
		`{"unknown":` + nest("[", "", "]", 10_000) + "}",
		`{"unknown":` + nest(`{"a":`, "1", "}", 10_000) + "}",
		nest(`{"optionalAny":{"@type":"/protobuf_test_messages.proto3.TestAllTypesProto3",`, `"optionalInt32":1`, "}}", 200),
		`{"optionalString":"` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		if _, err := p.Append(nil, []byte(text)); err == nil {
			t.Errorf("%.60s... is accepted", text)
		}
	}
	if _, err := p.Append(nil, []byte(nest(`{"recursiveMessage":`, "{}", "}", 49))); err != nil {
		t.Error(err)
	}
	c, err := wire.NewCanonicalizer(md, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.NewRenderer(md, nil, wire.RenderOptions{MaxDepth: 50})
	if err != nil {
		t.Fatal(err)
	}
	deep := nestedWire(t, md, 60)
	if _, err := c.Append(nil, deep); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Append(nil, deep); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Append(nil, make([]byte, 1<<20+1)); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	shallow := nestedWire(t, md, 40)
	if _, err := c.Append(nil, shallow); err != nil {
		t.Error(err)
	}
	if _, err := r.Append(nil, shallow); err != nil {
		t.Error(err)
	}
}
