package wire_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// fromJSON makes wire format through protojson.
func fromJSON(tb testing.TB, w *world, md protoreflect.MessageDescriptor, text string) []byte {
	tb.Helper()
	m := dynamicpb.NewMessage(md)
	if err := (protojson.UnmarshalOptions{Resolver: w.types}).Unmarshal([]byte(text), m); err != nil {
		tb.Fatal(err)
	}
	msg, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return msg
}

// everything has a value of each kind.
const everything = `{"optionalInt32":-1,"optionalInt64":"-2","optionalUint32":3,"optionalUint64":"4","optionalSint32":-5,"optionalFixed64":"6",
	"optionalFloat":1.5,"optionalDouble":"NaN","optionalBool":true,"optionalString":"é","optionalBytes":"/w==","optionalNestedEnum":"BAR",
	"optionalTimestamp":"2024-02-29T00:00:00.5Z","optionalDuration":"1s","optionalFieldMask":"aB,c","optionalInt64Wrapper":"7",
	"optionalNestedMessage":{"a":8,"corecursive":{"optionalString":"deep"}},"repeatedInt32":[1,2],"repeatedString":["x","y"],
	"mapStringString":{"k":"v"}}`

func TestPathText(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	msg := fromJSON(t, w, md, everything)
	for path, want := range map[string]string{
		"optionalInt32": "-1", "optional_int64": "-2", "optionalUint32": "3", "optionalUint64": "4", "optionalSint32": "-5", "optionalFixed64": "6",
		"optionalFloat": "1.5", "optionalDouble": "NaN", "optionalBool": "true", "optionalString": "é", "optionalBytes": "_w==",
		"optionalNestedEnum": "BAR", "optionalTimestamp": "2024-02-29T00:00:00.500Z", "optionalDuration": "1s", "optionalFieldMask": "aB,c",
		"optionalInt64Wrapper": "7", "optionalNestedMessage.a": "8", "optionalNestedMessage.corecursive.optionalString": "deep",
		"repeatedInt32": "1", "repeatedString": "x", "optionalNestedMessage": "", "optionalSint64": "", "recursiveMessage.optionalInt32": "",
	} {
		p, err := wire.NewPath(md, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		v, ok := p.First(msg)
		if v.String() != want || ok != v.IsValid() {
			t.Errorf("%s: got %q, %t, want %q", path, v, ok, want)
		}
	}
	if v := (wire.Value{}); v.String() != "" || v.Raw() != nil || v.Interface() != nil {
		t.Errorf("the zero value is %q", v)
	}
}

func TestPathAll(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	msg := fromJSON(t, w, md, everything)
	for path, want := range map[string]string{"repeatedInt32": "1 2 ", "repeatedString": "x y ", "optionalInt32": "-1 ", "optionalSint64": "", "mapStringString": " "} {
		p, err := wire.NewPath(md, path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		p.All(msg, func(v wire.Value) bool {
			got += v.String() + " "
			return true
		})
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		n := 0
		p.All(msg, func(wire.Value) bool { n++; return false })
		if n > 1 {
			t.Errorf("%s: yields %d times after false", path, n)
		}
		if v, ok := p.First(msg[:len(msg)-1]); ok && p.Field().Cardinality() != protoreflect.Repeated {
			t.Errorf("%s: got %v of a truncated message", path, v)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	msg := fromJSON(t, w, md, everything)
	names := []protoreflect.Name{"optional_string", "repeated_int32", "optional_sint64", "map_string_string", "optional_nested_message", "oneof_uint32"}
	fields := make([]protoreflect.FieldDescriptor, len(names))
	for i, n := range names {
		fields[i] = md.Fields().ByName(n)
	}
	table := wire.NewTable(md, fields)
	spans := make([]wire.Span, table.Len())
	for range 2 { // a second scan forgets the first
		if err := table.Scan(msg, spans); err != nil {
			t.Fatal(err)
		}
		sum := int32(0)
		spans[1].Each(func(v wire.Value) bool {
			n, ok := v.Interface().(int32)
			sum += n
			return ok
		})
		if spans[0].Value().String() != "é" || sum != 3 || spans[2].Present() || !spans[3].Present() || !spans[4].Present() {
			t.Errorf("got %+v", spans)
		}
	}
	if err := table.Scan(nil, spans); err != nil || spans[0].Present() {
		t.Errorf("got %v, %+v", err, spans[0])
	}
	if err := table.Scan(msg[:len(msg)-1], spans); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
