package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// world is the test messages of the protobuf project: proto2, proto3 and editions, with every kind of field.
type world struct {
	types *dynamicpb.Types
	files *protoregistry.Files
	roots []protoreflect.MessageDescriptor
}

func loadWorld(tb testing.TB) *world {
	tb.Helper()
	data, err := os.ReadFile("testdata/messages.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(data, set); err != nil {
		tb.Fatal(err)
	}
	for _, file := range set.GetFile() {
		for _, m := range file.GetMessageType() {
			dropMessageSets(m)
		}
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{types: dynamicpb.NewTypes(files), files: files}
	for _, name := range []protoreflect.FullName{
		"protobuf_test_messages.proto3.TestAllTypesProto3",
		"protobuf_test_messages.proto2.TestAllTypesProto2",
		"protobuf_test_messages.editions.TestAllTypesEdition2023",
		"protobuf_test_messages.proto2.TestAllRequiredTypesProto2",
	} {
		w.roots = append(w.roots, find(tb, files, name))
	}
	return w
}

// dropMessageSets removes what Go's descriptors do not support: the message sets of proto1.
func dropMessageSets(m *descriptorpb.DescriptorProto) {
	isSet := func(name string) bool { return strings.Contains(name, "MessageSet") }
	m.NestedType = slices.DeleteFunc(m.GetNestedType(), func(n *descriptorpb.DescriptorProto) bool { return isSet(n.GetName()) })
	m.Field = slices.DeleteFunc(m.GetField(), func(f *descriptorpb.FieldDescriptorProto) bool { return isSet(f.GetTypeName()) })
	m.Extension = slices.DeleteFunc(m.GetExtension(), func(f *descriptorpb.FieldDescriptorProto) bool { return isSet(f.GetExtendee()) })
	for _, n := range m.GetNestedType() {
		dropMessageSets(n)
	}
}

func find(tb testing.TB, files *protoregistry.Files, name protoreflect.FullName) protoreflect.MessageDescriptor {
	tb.Helper()
	d, err := files.FindDescriptorByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	md, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		tb.Fatalf("%s is no message", name)
	}
	return md
}

func (w *world) root(i byte) protoreflect.MessageDescriptor { return w.roots[int(i)%len(w.roots)] }

// jsonSeeds are JSON texts with something of everything.
func jsonSeeds() []string {
	return []string{
		`{}`, `null`, `[]`, ` { } `, `{"optionalInt32":1}`, `{"optional_int32":"-1"}`, `{"optionalInt32":1e2,"optionalInt64":"100e-2"}`,
		`{"optionalInt32":null,"optionalNestedMessage":{"a":1,"corecursive":{"optionalInt32":2}}}`,
		`{"optionalUint64":"18446744073709551615","optionalInt64":"-9223372036854775808","optionalFixed32":4294967295}`,
		`{"optionalFloat":3.4028235e38,"optionalDouble":"NaN","repeatedDouble":[1,"Infinity","-Infinity",1e-7,1e21,-0.0]}`,
		`{"optionalBytes":"-_8=","optionalString":"a\u00e9\ud83d\ude00\n\"","repeatedBytes":["","AQI","AQ=="]}`,
		`{"repeatedInt32":[3,2,1],"mapInt32Int32":{"3":1,"-1":2,"0":0},"mapStringNestedMessage":{"b":{"a":1},"a":{}}}`,
		`{"mapBoolBool":{"true":false,"false":true},"mapStringString":{"":"x","é":""},"mapUint64Uint64":{"10":"1","9":2}}`,
		`{"optionalNestedEnum":"BAZ","repeatedNestedEnum":["FOO",1,-1,77],"mapStringNestedEnum":{"a":"BAR"}}`,
		`{"oneofUint32":0,"optionalString":"x"}`, `{"oneofString":"","oneofBool":true}`, `{"oneofNullValue":null}`, `{"oneofNestedMessage":{}}`,
		`{"optionalTimestamp":"2024-02-29T12:34:56.789Z","optionalDuration":"-1.000000001s","optionalFieldMask":"fooBar,baz.quxQuux"}`,
		`{"optionalTimestamp":"1970-01-01T00:00:00+01:30","optionalDuration":".5s"}`,
		`{"optionalStruct":{"a":[1,"x",null,true,{"b":{}}]},"optionalValue":null,"repeatedValue":[null,1],"repeatedListValue":[[],[1]]}`,
		`{"optionalAny":{"@type":"type.googleapis.com/protobuf_test_messages.proto3.TestAllTypesProto3","optionalInt32":1}}`,
		`{"optionalAny":{"value":"1.5s","@type":"type.googleapis.com/google.protobuf.Duration"},"optionalNullValue":null}`,
		`{"optionalAny":{"@type":"type.googleapis.com/google.protobuf.Any","value":{"@type":"type.googleapis.com/google.protobuf.Value","value":[1]}}}`,
		`{"optionalInt32Wrapper":0,"optionalStringWrapper":"x","repeatedInt64Wrapper":["1",2],"optionalBoolWrapper":null}`,
		`{"data":{"groupInt32":1},"multiwordgroupfield":{"groupUint32":2},"Data":{}}`,
		`{"[protobuf_test_messages.proto2.extension_int32]":5,"[protobuf_test_messages.proto2.unknown]":5}`,
		`{"requiredInt32":1,"requiredNestedMessage":{}}`, `{"groupliketype":{"groupInt32":1},"delimitedField":{"groupInt32":7}}`,
		`{"fieldname1":1,"field_name2":2,"_fieldName3":3,"FieldName9":4,"Field_name11":5,"__fieldName13":6}`,
		`{"unknown":[{"a":1}],"optionalInt32":2}`, `{"optionalInt32":1,"optionalInt32":2}`, `{"optionalInt32":1,"optional_int32":2}`,
	}
}

// laxExponent is a number with an exponent without digits, which protojson takes for an integer and RFC 8259 forbids.
var laxExponent = regexp.MustCompile(`[0-9][eE][+-]?([^0-9+-]|$)`)

// FuzzParse: a text is accepted if and only if protojson accepts it, the result means the same, is canonical, and an
// error points into the text.
func FuzzParse(f *testing.F) {
	w := loadWorld(f)
	for i := range w.roots {
		for _, s := range jsonSeeds() {
			f.Add(byte(i), false, []byte(s))
			f.Add(byte(i), true, []byte(s))
		}
	}
	type variant struct {
		root    int
		discard bool
	}
	parsers := map[variant]*wire.Parser{}
	canonical := make([]*wire.Canonicalizer, len(w.roots))
	for i, md := range w.roots {
		for _, discard := range []bool{false, true} {
			p, err := wire.NewParser(md, wire.ParseOptions{DiscardUnknown: discard, Resolver: w.types})
			if err != nil {
				f.Fatal(err)
			}
			parsers[variant{i, discard}] = p
		}
		c, err := wire.NewCanonicalizer(md, wire.ParseOptions{Resolver: w.types})
		if err != nil {
			f.Fatal(err)
		}
		canonical[i] = c
	}
	f.Fuzz(func(t *testing.T, root byte, discard bool, text []byte) {
		i := int(root) % len(w.roots)
		got, err := parsers[variant{i, discard}].Append([]byte("x"), text)
		want := dynamicpb.NewMessage(w.roots[i])
		wantErr := protojson.UnmarshalOptions{DiscardUnknown: discard, Resolver: w.types, RecursionLimit: 100}.Unmarshal(text, want)
		if (err == nil) != (wantErr == nil) {
			if laxExponent.Match(text) || bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) > 80 {
				return
			}
			t.Fatalf("%s\ngot %v\nprotojson %v", text, err, wantErr)
		}
		if err != nil {
			checkSyntaxError(t, err, text)
			return
		}
		if got[0] != 'x' {
			t.Fatal("the prefix is lost")
		}
		sameMessage(t, w, w.roots[i], got[1:], want)
		again, err := canonical[i].Append(nil, got[1:])
		if err != nil || !bytes.Equal(again, got[1:]) {
			t.Fatalf("%s\nnot canonical: %x\nexpected %x (%v)", text, got[1:], again, err)
		}
	})
}

func checkSyntaxError(t *testing.T, err error, text []byte) {
	t.Helper()
	e, ok := err.(*wire.SyntaxError) //nolint:errorlint // it is promised to be one
	if !ok || e.Offset < 0 || e.Offset > len(text) || e.Found == "" || (e.Pointer != "" && e.Pointer[0] != '/') {
		t.Fatalf("%s\n%#v", text, err)
	}
}

// sameMessage checks that got means the same as want.
func sameMessage(t *testing.T, w *world, md protoreflect.MessageDescriptor, got []byte, want proto.Message) {
	t.Helper()
	m := dynamicpb.NewMessage(md)
	if err := (proto.UnmarshalOptions{Resolver: w.types}).Unmarshal(got, m); err != nil {
		t.Fatalf("%x: %v", got, err)
	}
	if !proto.Equal(m, want) {
		t.Fatalf("got  %v\nwant %v", protojson.MarshalOptions{Resolver: w.types}.Format(m), protojson.MarshalOptions{Resolver: w.types}.Format(want))
	}
}

// FuzzFields: a selection that is accepted can be compiled, and is read back the same from its plain form.
func FuzzFields(f *testing.F) {
	w := loadWorld(f)
	for _, s := range []string{
		"optionalInt32", "optional_int32,repeatedNestedMessage(a,corecursive/optionalInt32)", "recursiveMessage.recursiveMessage.*", "*",
		"mapStringNestedMessage(a)", "optionalInt32)", "a((", "recursiveMessage(recursiveMessage(optionalInt32),optionalInt32),recursiveMessage.optionalInt64",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sel, err := wire.ParseFields(w.roots[0], text)
		if err != nil {
			if e, ok := errors.AsType[*wire.FieldsError](err); !ok || e.Offset > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if _, err := wire.NewRenderer(w.roots[0], sel, wire.RenderOptions{}); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		plain := written(sel)
		again, err := wire.ParseFields(w.roots[0], plain)
		if len(plain) < 8<<10 && (err != nil || written(again) != plain) {
			t.Fatalf("%q: %q becomes %q (%v)", text, plain, written(again), err)
		}
	})
}

// randomWire makes wire format that is often valid for md: known fields with the right type and now and then something
// else.
func randomWire(r *rand.Rand, md protoreflect.MessageDescriptor, depth int) []byte {
	var b []byte
	fds := md.Fields()
	for range r.IntN(6) {
		if fds.Len() == 0 {
			break
		}
		fd := fds.Get(r.IntN(fds.Len()))
		num := fd.Number()
		switch r.IntN(30) {
		case 0:
			b = protowire.AppendTag(b, num, protowire.VarintType)
			b = protowire.AppendVarint(b, r.Uint64())
			continue
		case 1:
			b = protowire.AppendTag(b, protowire.Number(r.IntN(300)+1), protowire.BytesType)
			b = protowire.AppendBytes(b, []byte{1, 2, 3})
			continue
		}
		b = randomField(r, b, fd, depth)
	}
	return b
}

func randomField(r *rand.Rand, b []byte, fd protoreflect.FieldDescriptor, depth int) []byte {
	num := fd.Number()
	switch fd.Kind() {
	case protoreflect.MessageKind:
		if depth > 0 {
			b = protowire.AppendTag(b, num, protowire.BytesType)
			b = protowire.AppendBytes(b, randomWire(r, fd.Message(), depth-1))
		}
	case protoreflect.GroupKind:
		if depth > 0 {
			b = protowire.AppendTag(b, num, protowire.StartGroupType)
			b = append(b, randomWire(r, fd.Message(), depth-1)...)
			b = protowire.AppendTag(b, num, protowire.EndGroupType)
		}
	case protoreflect.StringKind, protoreflect.BytesKind:
		b = protowire.AppendTag(b, num, protowire.BytesType)
		text := []string{"", "a", "é\n", "foo_bar", "type.googleapis.com/google.protobuf.Duration", "\xff", "\x08\x01"}[r.IntN(7)]
		b = protowire.AppendString(b, text)
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		if fd.IsList() && r.IntN(2) == 0 {
			b = protowire.AppendTag(b, num, protowire.BytesType)
			return protowire.AppendBytes(b, protowire.AppendFixed32(protowire.AppendFixed32(nil, 0), r.Uint32()))
		}
		b = protowire.AppendTag(b, num, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, r.Uint32()>>r.IntN(32))
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		b = protowire.AppendTag(b, num, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, r.Uint64()>>r.IntN(64))
	default:
		if fd.IsList() && r.IntN(2) == 0 {
			b = protowire.AppendTag(b, num, protowire.BytesType)
			return protowire.AppendBytes(b, protowire.AppendVarint(protowire.AppendVarint(nil, 1), r.Uint64()>>r.IntN(64)))
		}
		b = protowire.AppendTag(b, num, protowire.VarintType)
		b = protowire.AppendVarint(b, r.Uint64()>>r.IntN(64))
	}
	return b
}

// wireSeeds adds random messages, and some of JSON.
func wireSeeds(f *testing.F, w *world) {
	f.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for i, md := range w.roots {
		for range 40 {
			f.Add(byte(i), randomWire(r, md, 4))
		}
		for _, s := range jsonSeeds() {
			m := dynamicpb.NewMessage(md)
			if (protojson.UnmarshalOptions{AllowPartial: true, Resolver: w.types}).Unmarshal([]byte(s), m) != nil {
				continue
			}
			b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), b)
		}
	}
}

// compact removes the random space that protojson puts between tokens.
func compact(tb testing.TB, text []byte) string {
	tb.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}
