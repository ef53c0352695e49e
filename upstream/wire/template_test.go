package wire_test

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// set assigns to a target.
type set func(*wire.Target) error

func text(s string) set       { return func(to *wire.Target) error { return to.SetText(s) } }
func jsonOf(s string) set     { return func(to *wire.Target) error { return to.SetJSON([]byte(s)) } }
func none(*wire.Target) error { return nil }

func all(sets ...set) set {
	return func(to *wire.Target) error {
		for _, s := range sets {
			if err := s(to); err != nil {
				return err
			}
		}
		return nil
	}
}

// bound is a value for a path.
type bound struct {
	path string
	set  set
}

// compose runs a template of the paths in b, and the same through a template in which they come the other way round,
// which must make no difference.
func compose(tb testing.TB, b *wire.Builder, values []bound) ([]byte, error) {
	tb.Helper()
	run := func() ([]byte, error) {
		slots := make([]*wire.Slot, len(values))
		for i, v := range values {
			s, err := b.Slot(v.path)
			if err != nil {
				tb.Fatal(err)
			}
			slots[i] = s
		}
		t, err := b.Template(slots...)
		if err != nil {
			tb.Fatal(err)
		}
		called := 0
		out, err := t.Append([]byte("x"), func(i int, to *wire.Target) error {
			called++
			if to.Field() != slots[i].Field() {
				tb.Errorf("%s is offered for %s", to.Field().FullName(), values[i].path)
			}
			return values[i].set(to)
		})
		if len(out) == 0 || out[0] != 'x' || err != nil && len(out) > 1 {
			tb.Errorf("the prefix has become %x", out)
		}
		if err == nil && called != len(values) {
			tb.Errorf("%d calls for %d slots", called, len(values))
		}
		return out[1:], err
	}
	one, err := run()
	slices.Reverse(values)
	other, otherErr := run()
	if string(one) != string(other) || (err == nil) != (otherErr == nil) {
		tb.Errorf("%x (%v), but %x (%v) in another order", one, err, other, otherErr)
	}
	slices.Reverse(values)
	return one, err
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	from := fromJSON(t, k.w, k.w.root(0), `{"optionalInt32":-7,"optionalString":"12","optionalSint64":"-3","optionalNestedMessage":{"a":3},`+
		`"repeatedInt32":[1,2],"repeatedString":["a","b"],"mapStringString":{"a":"b"},"optionalDouble":"NaN"}`)
	value := func(path string) set {
		p := must(wire.NewPath(k.w.root(0), path))(t)
		return func(to *wire.Target) (err error) {
			p.All(from, func(v wire.Value) bool {
				err = to.SetValue(v)
				return err == nil
			})
			return err
		}
	}
	for _, c := range []struct {
		values    []bound
		want, err string
	}{
		{want: `{}`},
		{values: []bound{{"optionalString", none}, {"optionalNestedMessage.a", none}}, want: `{}`},
		{values: []bound{{"oneofString", text("")}, {"optionalString", text("x")}, {"optionalInt32", text("0")}}, want: `{"optionalString":"x","oneofString":""}`},
		{values: []bound{{"optionalNestedMessage.a", text("0")}}, want: `{"optionalNestedMessage":{}}`},
		{values: []bound{{"optionalNestedMessage.a", jsonOf("0")}}, want: `{"optionalNestedMessage":{}}`},
		{values: []bound{{"optionalNestedMessage.a", jsonOf("null")}}, want: `{}`},
		{
			values: []bound{{"recursiveMessage.optionalNestedMessage.a", text("1")}, {"optionalInt32", text("2")}, {"recursiveMessage.optionalInt32", jsonOf("3")}},
			want:   `{"optionalInt32":2,"recursiveMessage":{"optionalInt32":3,"optionalNestedMessage":{"a":1}}}`,
		},
		{values: []bound{{"repeatedInt32", all(text("0"), text("7"))}, {"repeatedString", all(text(""), text("x"))}}, want: `{"repeatedInt32":[0,7],"repeatedString":["","x"]}`},
		{values: []bound{{"repeatedInt32", jsonOf("[3,4]")}, {"repeatedFloat", jsonOf("[]")}}, want: `{"repeatedInt32":[3,4]}`},
		{values: []bound{{"mapStringString", jsonOf(`{"b":"1","a":"2"}`)}}, want: `{"mapStringString":{"a":"2","b":"1"}}`},
		{values: []bound{{"optionalTimestamp", text("1970-01-01T00:00:00Z")}, {"optionalInt32Wrapper", text("0")}}, want: `{"optionalInt32Wrapper":0,"optionalTimestamp":"1970-01-01T00:00:00Z"}`},
		{values: []bound{{"optionalInt32", value("optionalInt32")}, {"optionalInt64", value("optionalInt32")}}, want: `{"optionalInt32":-7,"optionalInt64":"-7"}`},
		{values: []bound{{"repeatedUint64", value("optionalString")}, {"optionalDouble", value("optionalDouble")}}, want: `{"optionalDouble":"NaN","repeatedUint64":["12"]}`},
		{values: []bound{{"repeatedInt32", value("repeatedInt32")}, {"repeatedString", value("repeatedString")}}, want: `{"repeatedInt32":[1,2],"repeatedString":["a","b"]}`},
		{values: []bound{{"oneofNestedMessage", value("optionalNestedMessage")}, {"repeatedNestedMessage", value("optionalNestedMessage")}}, want: `{"repeatedNestedMessage":[{"a":3}],"oneofNestedMessage":{"a":3}}`},
		{values: []bound{{"optionalInt32", value("optionalInt64")}}, want: `{}`},

		{values: []bound{{"optionalInt32", text("x")}}, err: `optionalInt32: "x", expected an integer from -2147483648 to 2147483647`},
		{values: []bound{{"optionalNestedMessage.a", jsonOf(`"x"`)}}, err: `/optionalNestedMessage/a: "x", expected an integer from -2147483648 to 2147483647`},
		{values: []bound{{"optional_nested_message", jsonOf(`{"a":true}`)}}, err: `/optionalNestedMessage/a: true, expected an integer from -2147483648 to 2147483647`},
		{values: []bound{{"repeatedInt32", value("repeatedString")}}, err: `repeatedInt32: "a", expected an integer from -2147483648 to 2147483647`},
		{values: []bound{{"optionalInt32", all(text("1"), text("1"))}}, err: "optionalInt32: a second value, expected one"},
		{values: []bound{{"optionalInt32", all(text("1"), jsonOf("1"))}}, err: "optionalInt32: a second value, expected one"},
		{values: []bound{{"repeatedInt32", all(jsonOf("[1]"), text("1"))}}, err: "repeatedInt32: a second value, expected one"},
		{values: []bound{{"mapStringString", text("x")}}, err: "mapStringString: a map has no text form"},
		{values: []bound{{"mapStringString", value("mapStringString")}}, err: "mapStringString: a map has no text form"},
		{values: []bound{{"oneofUint32", text("1")}, {"oneofNestedMessage.a", text("2")}}, err: "oneofNestedMessage.a: oneofUint32 is set too, and only one of oneof_field may be"},
	} {
		msg, err := compose(t, k.b, c.values)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("got %v\nwant %s", err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v, want %s", err, c.want)
			continue
		}
		if got := string(must(k.r.Append(nil, msg))(t)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestTemplateRecovers: a source may answer a refused value with another one.
func TestTemplateRecovers(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	or := func(first, second set) set {
		return func(to *wire.Target) error {
			if first(to) == nil {
				return errors.New("accepted")
			}
			return second(to)
		}
	}
	msg, err := compose(t, k.b, []bound{
		{"optionalInt32", or(text("x"), text("1"))},
		{"repeatedInt32", or(text("x"), text("2"))},
		{"optionalTimestamp", or(jsonOf(`"x"`), none)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(must(k.r.Append(nil, msg))(t)); got != `{"optionalInt32":1,"repeatedInt32":[2]}` {
		t.Errorf("got %s", got)
	}
}

func TestTemplateOverlap(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	const outer = `field path "recursiveMessage": protobuf_test_messages.proto3.TestAllTypesProto3 has the field "recursiveMessage" bound already, by "recursive_message.optionalInt32"`
	const inner = `field path "recursive_message.optionalInt32": protobuf_test_messages.proto3.TestAllTypesProto3 has the field "recursiveMessage" bound already, by "recursiveMessage"`
	for _, c := range []struct{ first, second, want string }{
		{"recursive_message.optionalInt32", "recursiveMessage", outer},
		{"recursiveMessage", "recursive_message.optionalInt32", inner},
		{"optional_int32", "optionalInt32", `field path "optionalInt32": protobuf_test_messages.proto3.TestAllTypesProto3 has the field "optionalInt32" bound already, by "optional_int32"`},
	} {
		_, err := k.b.Template(k.slot(c.first), k.slot(c.second))
		if e, ok := errors.AsType[*wire.PathError](err); !ok || e.Error() != c.want {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

func TestTemplateRequired(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	b := wire.NewBuilder(w.root(1), wire.ParseOptions{Resolver: w.types})
	whole := wire.NewBuilder(w.root(3), wire.ParseOptions{Resolver: w.types})
	if _, err := compose(t, b, []bound{{"optionalInt32", text("1")}}); err != nil {
		t.Errorf("nothing is required, but %v", err)
	}
	_, err := compose(t, whole, []bound{{"requiredInt32", text("1")}})
	const want = "requiredInt64: nothing, expected a value, which protobuf_test_messages.proto2.TestAllRequiredTypesProto2 requires"
	if e, ok := errors.AsType[*wire.ValueError](err); !ok || e.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := compose(t, whole, nil); err == nil {
		t.Error("a message without its required fields is made")
	}
}

// TestTemplateBounds: depth and size are bounded as in messages that come whole.
func TestTemplateBounds(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	b := wire.NewBuilder(w.root(0), wire.ParseOptions{Resolver: w.types, MaxDepth: 3, MaxBytes: 16})
	for _, c := range []struct {
		path, value string
		fits        bool
	}{
		{"recursiveMessage", `{"recursiveMessage":{}}`, false}, // longer than 16 bytes
		{"recursiveMessage.optionalString", `"abc"`, true},
		{"optionalString", `"0123456789"`, true},
		{"optionalNestedMessage", `{"corecursive":{}}`, false},
		{"recursiveMessage.recursiveMessage", `{}`, true},
		{"recursiveMessage.recursiveMessage.recursiveMessage", `{}`, false},
	} {
		if _, err := compose(t, b, []bound{{c.path, jsonOf(c.value)}}); (err == nil) != c.fits {
			t.Errorf("%s = %s: %v", c.path, c.value, err)
		}
	}
	long := []bound{{"optionalString", text("0123456789")}, {"oneofString", text("0123456789")}}
	if _, err := compose(t, b, long); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("24 bytes: %v", err)
	}
	deep := nestedWire(t, w.root(0), 4)
	whole := must(wire.NewPath(w.root(0), "recursiveMessage"))(t)
	v, ok := whole.First(deep)
	if !ok {
		t.Fatal("no nested message")
	}
	_, err := compose(t, b, []bound{{"recursiveMessage", func(to *wire.Target) error { return to.SetValue(v) }}})
	if !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("a deep value: %v", err)
	}
}

// TestTemplateMalformedValue: what another service has sent wrong is not passed on.
func TestTemplateMalformedValue(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	b := wire.NewBuilder(w.root(0), wire.ParseOptions{Resolver: w.types})
	md := w.root(0)
	number := func(name protoreflect.Name) byte { return byte(md.Fields().ByName(name).Number()) }
	for name, content := range map[protoreflect.Name]string{"optional_string": "\xff", "optional_nested_message": "\x08"} {
		n := uint(number(name))<<3 | 2
		msg := append([]byte{byte(n&0x7f) | 0x80, byte(n >> 7), byte(len(content))}, content...)
		v, ok := must(wire.NewPath(md, string(name)))(t).First(msg)
		if !ok {
			t.Fatalf("%s: no value", name)
		}
		_, err := compose(t, b, []bound{{string(name), func(to *wire.Target) error { return to.SetValue(v) }}})
		if !errors.Is(err, wire.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
