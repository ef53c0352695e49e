package wire_test

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// brokenText has something of everything that more than one of the test types has.
const brokenText = `{"optionalInt32":-1,"optionalUint64":"4","optionalSint64":"-5","optionalFixed32":6,"optionalDouble":1.5,"optionalBool":true,
	"optionalString":"é","optionalBytes":"/w==","optionalNestedEnum":"BAR","optionalNestedMessage":{"a":8,"corecursive":{"optionalString":"deep"}},
	"repeatedInt32":[1,300],"repeatedString":["x",""],"packedFixed64":["1","2"],"unpackedSint32":[-1,2],"mapStringString":{"k":"v"},
	"mapInt32NestedMessage":{"1":{"a":1}},"oneofNestedMessage":{"a":9}}`

// TestBrokenWire cuts messages after each byte, and changes each byte in several ways: what comes is rendered and made
// canonical as by the protobuf runtime, or refused where that refuses it; never does anything panic.
func TestBrokenWire(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	for _, md := range w.roots[:3] {
		t.Run(string(md.Name()), func(t *testing.T) {
			t.Parallel()
			m := dynamicpb.NewMessage(md)
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true, Resolver: w.types}).Unmarshal([]byte(brokenText), m); err != nil {
				t.Fatal(err)
			}
			whole := must(proto.MarshalOptions{Deterministic: true}.Marshal(m))(t)
			o := wire.RenderOptions{Resolver: w.types}
			all := must(wire.NewRenderer(md, nil, o))(t)
			canonical := must(wire.NewCanonicalizer(md, wire.ParseOptions{Resolver: w.types}))(t)
			projector := must(wire.NewProjector(md, must(wire.ParseFields(md, "optionalString,optionalNestedMessage.a"))(t)))(t)
			table := wire.NewTable(md, []protoreflect.FieldDescriptor{md.Fields().ByName("optional_string"), md.Fields().ByName("repeated_int32")})
			refused := 0
			check := func(msg []byte) {
				msg = slices.Clip(msg) // so that whoever reads beyond the end panics
				want, wantErr := protojsonText(t, md, msg, o)
				if errors.Is(wantErr, wire.ErrRuntime) {
					return
				}
				got, err := all.Append(nil, msg)
				if (err == nil) != (wantErr == nil) || err == nil && string(got) != want {
					t.Fatalf("%x\ngot       %s (%v)\nprotojson %s (%v)", msg, got, err, want, wantErr)
				}
				_, err1 := canonical.Append(nil, msg)
				_, err2 := wire.SlowCanonical(md, wire.ParseOptions{Resolver: w.types, MaxDepth: 100}, nil, msg)
				if (err1 == nil) != (err2 == nil) {
					t.Fatalf("%x\ncanonical: %v, the twin: %v", msg, err1, err2)
				}
				_, err3 := projector.Append(nil, msg)
				err4 := table.Scan(msg, make([]wire.Span, 2))
				for _, err := range []error{err, err1, err3, err4} {
					if err != nil && !errors.Is(err, wire.ErrInvalid) {
						t.Fatalf("%x: %v", msg, err)
					}
				}
				if err != nil {
					refused++
				}
			}
			check(whole)
			if refused > 0 {
				t.Fatalf("%x is refused", whole)
			}
			for i := range whole {
				check(slices.Clone(whole[:i]))
				check(slices.Concat(whole[:i], whole[i+1:]))
				for _, b := range []byte{0, 0x7f, 0x80, 0xff, whole[i] ^ 1, whole[i] ^ 7, whole[i] + 8} {
					changed := slices.Clone(whole)
					changed[i] = b
					check(changed)
				}
			}
			if refused < len(whole) {
				t.Errorf("only %d are refused, of a message of %d bytes", refused, len(whole))
			}
		})
	}
}

// TestNumericInt64: wherever 64 bits are, they are numbers on request, but for the keys of maps, which are strings in JSON.
func TestNumericInt64(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	msg := fromJSON(t, w, md, `{"optionalInt64":"-9223372036854775808","optionalUint64":"18446744073709551615","optionalSint64":"-1","optionalFixed64":"1",
		"optionalSfixed64":"-2","repeatedInt64":["1","2"],"packedUint64":["3"],"mapInt64Int64":{"5":"6"},"mapStringNestedMessage":{"a":{"corecursive":{"optionalInt64":"7"}}},
		"optionalInt64Wrapper":"8","repeatedUint64Wrapper":["9"],"oneofUint64":"10"}`)
	for _, test := range []struct {
		numeric bool
		want    string
	}{
		{false, `{"optionalInt64":"-9223372036854775808","optionalUint64":"18446744073709551615","optionalSint64":"-1","optionalFixed64":"1",` +
			`"optionalSfixed64":"-2","repeatedInt64":["1","2"],"packedUint64":["3"],"mapInt64Int64":{"5":"6"},` +
			`"mapStringNestedMessage":{"a":{"corecursive":{"optionalInt64":"7"}}},"oneofUint64":"10","optionalInt64Wrapper":"8","repeatedUint64Wrapper":["9"]}`},
		{true, `{"optionalInt64":-9223372036854775808,"optionalUint64":18446744073709551615,"optionalSint64":-1,"optionalFixed64":1,` +
			`"optionalSfixed64":-2,"repeatedInt64":[1,2],"packedUint64":[3],"mapInt64Int64":{"5":6},` +
			`"mapStringNestedMessage":{"a":{"corecursive":{"optionalInt64":7}}},"oneofUint64":10,"optionalInt64Wrapper":8,"repeatedUint64Wrapper":[9]}`},
	} {
		r := must(wire.NewRenderer(md, nil, wire.RenderOptions{NumericInt64: test.numeric, Resolver: w.types}))(t)
		for way, render := range map[string]func(dst, msg []byte) ([]byte, error){"direct": r.Append, "any order": r.AppendAnyOrder, "indexed": r.AppendIndexed} {
			if got, err := render(nil, msg); err != nil || string(got) != test.want {
				t.Errorf("numeric %t, %s: got %s (%v)\nwant %s", test.numeric, way, got, err, test.want)
			}
		}
	}
}
