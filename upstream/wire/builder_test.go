package wire_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// kit builds messages of the proto3 test type.
type kit struct {
	t testing.TB
	w *world
	b *wire.Builder
	r *wire.Renderer
}

func newKit(tb testing.TB) *kit {
	tb.Helper()
	w := loadWorld(tb)
	r, err := wire.NewRenderer(w.root(0), nil, wire.RenderOptions{Resolver: w.types})
	if err != nil {
		tb.Fatal(err)
	}
	return &kit{tb, w, wire.NewBuilder(w.root(0), wire.ParseOptions{Resolver: w.types}), r}
}

func (k *kit) slot(path string) *wire.Slot {
	k.t.Helper()
	s, err := k.b.Slot(path)
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

// json is what m holds.
func (k *kit) json(m *wire.Message) string {
	k.t.Helper()
	msg, err := m.Append(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	text, err := k.r.Append(nil, msg)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(text)
}

func TestSetText(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	cases := []struct{ path, text, want, err string }{
		{path: "optionalInt32", text: "-2147483648", want: `{"optionalInt32":-2147483648}`},
		{path: "optional_int32", text: "0", want: `{}`},
		{path: "optionalInt32", text: "2147483648", err: `optionalInt32: "2147483648", expected an integer from -2147483648 to 2147483647 within its range`},
		{path: "optionalInt32", text: "1.0", err: `optionalInt32: "1.0", expected an integer from -2147483648 to 2147483647`},
		{path: "optionalInt64", text: "-9223372036854775808", want: `{"optionalInt64":"-9223372036854775808"}`},
		{path: "optionalUint32", text: "4294967295", want: `{"optionalUint32":4294967295}`},
		{path: "optionalUint32", text: "-1", err: `optionalUint32: "-1", expected an integer from 0 to 4294967295`},
		{path: "optionalUint64", text: "18446744073709551615", want: `{"optionalUint64":"18446744073709551615"}`},
		{path: "optionalSint32", text: "-5", want: `{"optionalSint32":-5}`},
		{path: "optionalSint64", text: "-5", want: `{"optionalSint64":"-5"}`},
		{path: "optionalFixed32", text: "5", want: `{"optionalFixed32":5}`},
		{path: "optionalFixed64", text: "5", want: `{"optionalFixed64":"5"}`},
		{path: "optionalSfixed32", text: "-5", want: `{"optionalSfixed32":-5}`},
		{path: "optionalSfixed64", text: "-5", want: `{"optionalSfixed64":"-5"}`},
		{path: "optionalFloat", text: "1.5", want: `{"optionalFloat":1.5}`},
		{path: "optionalFloat", text: "1e40", err: `optionalFloat: "1e40", expected a number of 32 bits within its range`},
		{path: "optionalDouble", text: "-Infinity", want: `{"optionalDouble":"-Infinity"}`},
		{path: "optionalDouble", text: "0x1p3", err: `optionalDouble: "0x1p3", expected a number`},
		{path: "optionalBool", text: "true", want: `{"optionalBool":true}`},
		{path: "optionalBool", text: "1", err: `optionalBool: "1", expected true or false`},
		{path: "optionalString", text: "a/b é", want: `{"optionalString":"a/b é"}`},
		{path: "optionalString", text: "\xff", err: `optionalString: "\xff", expected UTF-8`},
		{path: "optionalBytes", text: "-_8", want: `{"optionalBytes":"+/8="}`},
		{path: "optionalBytes", text: "+/8=", want: `{"optionalBytes":"+/8="}`},
		{path: "optionalBytes", text: "%", err: `optionalBytes: "%", expected a string in base64`},
		{path: "optionalNestedEnum", text: "BAZ", want: `{"optionalNestedEnum":"BAZ"}`},
		{path: "optionalNestedEnum", text: "-1", want: `{"optionalNestedEnum":"NEG"}`},
		{path: "optionalNestedEnum", text: "BAX", err: `optionalNestedEnum: "BAX", expected a value of protobuf_test_messages.proto3.TestAllTypesProto3.NestedEnum, did you mean "BAR"?`},
		{path: "optionalTimestamp", text: "2024-02-29T01:02:03.5+01:00", want: `{"optionalTimestamp":"2024-02-29T00:02:03.500Z"}`},
		{path: "optionalTimestamp", text: "now", err: `optionalTimestamp: "now", expected a time such as 2006-01-02T15:04:05Z`},
		{path: "optionalDuration", text: "-1.5s", want: `{"optionalDuration":"-1.500s"}`},
		{path: "optionalDuration", text: "1m", err: `optionalDuration: "1m", expected a duration in seconds such as 1.5s`},
		{path: "optionalFieldMask", text: "fooBar,baz", want: `{"optionalFieldMask":"fooBar,baz"}`},
		{path: "optionalFieldMask", text: "foo_bar", err: `optionalFieldMask: "foo_bar", expected field names in lowerCamelCase separated by commas`},
		{path: "optionalInt64Wrapper", text: "0", want: `{"optionalInt64Wrapper":"0"}`},
		{path: "optionalStringWrapper", text: "x", want: `{"optionalStringWrapper":"x"}`},
		{path: "optionalBytesWrapper", text: "-_8", want: `{"optionalBytesWrapper":"+/8="}`},
		{path: "optionalDoubleWrapper", text: "NaN", want: `{"optionalDoubleWrapper":"NaN"}`},
		{path: "optionalFloatWrapper", text: "-1.5", want: `{"optionalFloatWrapper":-1.5}`},
		{path: "optionalFloatWrapper", text: "1e39", err: `optionalFloatWrapper: "1e39", expected a number of 32 bits within its range`},
		{path: "optionalInt32Wrapper", text: "-7", want: `{"optionalInt32Wrapper":-7}`},
		{path: "optionalUint32Wrapper", text: "4294967295", want: `{"optionalUint32Wrapper":4294967295}`},
		{path: "optionalUint64Wrapper", text: "18446744073709551615", want: `{"optionalUint64Wrapper":"18446744073709551615"}`},
		{path: "optionalBoolWrapper", text: "false", want: `{"optionalBoolWrapper":false}`},
		{path: "optionalBoolWrapper", text: "yes", err: `optionalBoolWrapper: "yes", expected true or false`},
		{path: "optionalNestedMessage", text: "x", err: `optionalNestedMessage: a protobuf_test_messages.proto3.TestAllTypesProto3.NestedMessage has no text form`},
		{path: "mapStringString", text: "x", err: `mapStringString: a map has no text form`},
		{path: "optionalNestedMessage.corecursive.optionalInt32", text: "7", want: `{"optionalNestedMessage":{"corecursive":{"optionalInt32":7}}}`},
		{path: "repeatedInt32", text: "7", want: `{"repeatedInt32":[7]}`},
		{path: "oneofUint32", text: "0", want: `{"oneofUint32":0}`},
	}
	for _, c := range cases {
		m := k.b.New()
		err := m.SetText(k.slot(c.path), c.text)
		if c.err != "" {
			e, ok := errors.AsType[*wire.ValueError](err)
			if !ok || e.Error() != c.err {
				t.Errorf("%s = %s: got %v, want %s", c.path, c.text, err, c.err)
			}
			if got := k.json(m); got != "{}" {
				t.Errorf("%s = %s: left %s", c.path, c.text, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s = %s: %v", c.path, c.text, err)
			continue
		}
		if got := k.json(m); got != c.want {
			t.Errorf("%s = %s: got %s, want %s", c.path, c.text, got, c.want)
		}
	}
}

func TestSetTextTwice(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	m := k.b.New()
	for _, text := range []string{"1", "2", "3"} {
		if err := m.SetText(k.slot("repeatedInt32"), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.SetText(k.slot("optionalNestedMessage.a"), "1"); err != nil {
		t.Fatal(err)
	}
	if err := m.SetText(k.slot("optional_nested_message.corecursive.optionalInt32"), "2"); err != nil {
		t.Fatal(err)
	}
	if err := m.SetText(k.slot("optional_nested_message.a"), "2"); err == nil || err.Error() != "optional_nested_message.a: a second value, expected one" {
		t.Errorf("got %v", err)
	}
	if err := m.SetText(k.slot("oneofUint32"), "1"); err != nil {
		t.Fatal(err)
	}
	const rival = "oneofNestedMessage.a: oneofUint32 is set too, and only one of oneof_field may be"
	if err := m.SetText(k.slot("oneofNestedMessage.a"), "2"); err == nil || err.Error() != rival {
		t.Errorf("got %v", err)
	}
	const want = `{"optionalNestedMessage":{"a":1,"corecursive":{"optionalInt32":2}},"repeatedInt32":[1,2,3],"oneofUint32":1}`
	if got := k.json(m); got != want {
		t.Errorf("got %s", got)
	}
}

// TestTextOverBody: what the path or query says replaces what a body has brought, in whole.
func TestTextOverBody(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	p, err := wire.NewParser(k.w.root(0), wire.ParseOptions{Resolver: k.w.types})
	if err != nil {
		t.Fatal(err)
	}
	body, err := p.Append(nil, []byte(`{"optionalInt32":1,"optionalTimestamp":"2024-01-01T00:00:00.5Z","repeatedInt32":[1,2],
		"recursiveMessage":{"optionalInt32":1,"optionalInt64":"1"},"oneofUint32":1}`))
	if err != nil {
		t.Fatal(err)
	}
	m := k.b.New()
	if err := m.Merge(body); err != nil {
		t.Fatal(err)
	}
	for _, set := range [][2]string{
		{"optionalInt32", "0"},
		{"optionalTimestamp", "2024-01-01T00:00:00Z"},
		{"repeatedInt32", "3"},
		{"repeatedInt32", "4"},
		{"recursiveMessage.optionalInt64", "2"},
		{"oneofString", "x"},
	} {
		if err := m.SetText(k.slot(set[0]), set[1]); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"recursiveMessage":{"optionalInt32":1,"optionalInt64":"2"},"repeatedInt32":[3,4],"oneofString":"x","optionalTimestamp":"2024-01-01T00:00:00Z"}`
	if got := k.json(m); got != want {
		t.Errorf("got %s", got)
	}
}

func TestSetJSON(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	m := k.b.New()
	for _, set := range [][2]string{
		{"optionalNestedMessage", `{"a":1,"corecursive":{}}`},
		{"optionalNestedMessage", `{"a":2}`},
		{"repeatedString", `["a","b"]`},
		{"mapStringString", `{"a":"b"}`},
		{"optionalInt32", "null"},
		{"optionalValue", "null"},
		{"recursiveMessage.optionalString", `"x"`},
		{"optionalInt64", `"5"`},
	} {
		if err := m.SetJSON(k.slot(set[0]), []byte(set[1])); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"optionalInt64":"5","optionalNestedMessage":{"a":2},"recursiveMessage":{"optionalString":"x"},"repeatedString":["a","b"],` +
		`"mapStringString":{"a":"b"},"optionalValue":null}`
	if got := k.json(m); got != want {
		t.Errorf("got %s", got)
	}
	err := m.SetJSON(k.slot("optionalNestedMessage"), []byte(`{"a":"x"}`))
	if e, ok := errors.AsType[*wire.SyntaxError](err); !ok || e.Pointer != "/a" {
		t.Errorf("got %v", err)
	}
	err = m.SetJSON(k.slot("optionalInt32"), []byte(`1 2`))
	if e, ok := errors.AsType[*wire.SyntaxError](err); !ok || e.Pointer != "" || e.Expected != "the end of the text" {
		t.Errorf("got %v", err)
	}
}

func TestSlotErrors(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	for path, want := range map[string]string{
		"optionalInt23":   `field path "optionalInt23": protobuf_test_messages.proto3.TestAllTypesProto3 has no field "optionalInt23", did you mean "optionalInt32"?`,
		"optionalInt32.x": `field path "optionalInt32.x": protobuf_test_messages.proto3.TestAllTypesProto3 has no message in the field "optionalInt32"`,
		"repeatedNestedMessage.a": `field path "repeatedNestedMessage.a": protobuf_test_messages.proto3.TestAllTypesProto3 has a repeated field "repeatedNestedMessage", ` +
			`which only the end of a path may be`,
		"": `field path "": protobuf_test_messages.proto3.TestAllTypesProto3 has no field ""`,
	} {
		_, err := k.b.Slot(path)
		if e, ok := errors.AsType[*wire.PathError](err); !ok || e.Error() != want {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestSetValue: values move between messages, by their bytes where the types are the same and by their text otherwise.
func TestSetValue(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	from := dynamicpb.NewMessage(k.w.root(0))
	set := func(name protoreflect.Name, v any) {
		from.Set(k.w.root(0).Fields().ByName(name), protoreflect.ValueOf(v))
	}
	set("optional_int32", int32(-7))
	set("optional_string", "12")
	set("optional_sint64", int64(-3))
	set("optional_bytes", []byte{0xff})
	msg, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"optionalInt32", "optionalInt32", `{"optionalInt32":-7}`},
		{"optionalInt32", "optionalSint64", `{"optionalSint64":"-7"}`},
		{"optionalInt32", "optionalString", `{"optionalString":"-7"}`},
		{"optionalString", "repeatedUint64", `{"repeatedUint64":["12"]}`},
		{"optionalSint64", "optionalFixed32", ""},
		{"optionalSint64", "optionalSint64", `{"optionalSint64":"-3"}`},
		{"optionalBytes", "optionalBytes", `{"optionalBytes":"/w=="}`},
		{"optionalBytes", "optionalString", `{"optionalString":"_w=="}`},
		{"optionalInt64", "optionalInt64", `{}`},
	} {
		p, err := wire.NewPath(k.w.root(0), c.from)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := p.First(msg)
		m := k.b.New()
		if err := m.SetValue(k.slot(c.to), v); (err == nil) != (c.want != "") {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		} else if err == nil && k.json(m) != c.want {
			t.Errorf("%s to %s: got %s", c.from, c.to, k.json(m))
		}
	}
	if err := k.b.New().SetRaw(k.slot("optionalInt32"), []byte{0x80}); err == nil {
		t.Error("a truncated varint is accepted")
	}
}

func TestMergeMalformed(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	m := k.b.New()
	if err := m.Merge([]byte{0x0a, 200}); err != nil {
		t.Fatal(err)
	}
	if err := m.SetText(k.slot("optionalInt32"), "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(nil); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
