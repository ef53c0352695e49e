package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/structpb"    // a type of random fields
	_ "google.golang.org/protobuf/types/known/timestamppb" // another one

	"github.com/portico-bff/portico/upstream/wire"
)

// randomFile makes a file with a few messages of random fields: kinds, labels, oneofs, maps, packing, delimited encoding,
// presence and JSON names as the syntax or edition allows.
func randomFile(r *rand.Rand) *descriptorpb.FileDescriptorProto {
	f := &descriptorpb.FileDescriptorProto{
		Name: new("random.proto"), Package: new("random"), Syntax: new([]string{"proto2", "proto3", "editions"}[r.IntN(3)]),
		Dependency: []string{"google/protobuf/struct.proto", "google/protobuf/timestamp.proto"},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: new("E"), Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: new("ZERO"), Number: new(int32(0))}, {Name: new("ONE"), Number: new(int32(1))}, {Name: new("FAR"), Number: new(int32(-7))},
		}}},
	}
	if f.GetSyntax() == "editions" {
		f.Edition = descriptorpb.Edition_EDITION_2023.Enum()
	}
	for i := range 3 {
		f.MessageType = append(f.MessageType, randomMessage(r, f.GetSyntax(), i))
	}
	return f
}

func randomMessage(r *rand.Rand, syntax string, index int) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: new(fmt.Sprintf("M%d", index))}
	inOneof := r.IntN(6) // the field that begins a oneof
	for i := range r.IntN(8) {
		fd := &descriptorpb.FieldDescriptorProto{
			Name: new(fmt.Sprintf("f_%d", i)), Number: new(int32(1 + 7*i + r.IntN(7))), Type: descriptorpb.FieldDescriptorProto_Type(1 + r.IntN(18)).Enum(),
			Label: []descriptorpb.FieldDescriptorProto_Label{1, 1, 3}[r.IntN(3)].Enum(), Options: new(descriptorpb.FieldOptions),
		}
		if r.IntN(6) == 0 {
			fd.Number = new(int32(300 + 1000*i + r.IntN(1000)))
		}
		if r.IntN(4) == 0 {
			fd.JsonName = new(fmt.Sprintf("json\"%d", i))
		}
		if i == inOneof || i == inOneof+1 {
			if i == inOneof {
				m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: new("choice")})
			}
			fd.Label, fd.OneofIndex = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), new(int32(0))
		}
		shape(r, syntax, fd)
		if fd.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED && r.IntN(3) == 0 {
			asMap(r, m, fd, i)
		}
		m.Field = append(m.Field, fd)
	}
	return m
}

// shape gives a field its type and encoding.
func shape(r *rand.Rand, syntax string, fd *descriptorpb.FieldDescriptorProto) {
	features := new(descriptorpb.FeatureSet)
	repeated := fd.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	switch fd.GetType() {
	case descriptorpb.FieldDescriptorProto_TYPE_GROUP, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
		if fd.GetType() == descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			features.MessageEncoding = descriptorpb.FeatureSet_DELIMITED.Enum()
		}
		fd.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		fd.TypeName = new([]string{".random.M0", ".random.M1", ".random.M2", ".google.protobuf.Value", ".google.protobuf.Timestamp"}[r.IntN(5)])
	case descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES:
		if !repeated && fd.OneofIndex == nil && r.IntN(2) == 0 {
			features.FieldPresence = descriptorpb.FeatureSet_IMPLICIT.Enum()
		}
	default:
		if fd.GetType() == descriptorpb.FieldDescriptorProto_TYPE_ENUM {
			fd.TypeName = new(".random.E")
		}
		switch {
		case !repeated && fd.OneofIndex == nil && r.IntN(2) == 0:
			features.FieldPresence = descriptorpb.FeatureSet_IMPLICIT.Enum()
		case repeated && syntax != "editions" && r.IntN(2) == 0:
			fd.Options.Packed = new(r.IntN(2) == 0)
		case repeated && r.IntN(2) == 0:
			features.RepeatedFieldEncoding = descriptorpb.FeatureSet_EXPANDED.Enum()
		}
	}
	if syntax == "editions" {
		fd.Options.Features = features
	}
}

// asMap turns a repeated field into a map of its type.
func asMap(r *rand.Rand, m *descriptorpb.DescriptorProto, fd *descriptorpb.FieldDescriptorProto, i int) {
	key := []descriptorpb.FieldDescriptorProto_Type{3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 18}[r.IntN(12)]
	name := fmt.Sprintf("F%dEntry", i)
	m.NestedType = append(m.NestedType, &descriptorpb.DescriptorProto{
		Name: new(name), Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
		Field: []*descriptorpb.FieldDescriptorProto{
			{Name: new("key"), Number: new(int32(1)), Label: new(descriptorpb.FieldDescriptorProto_Label(1)), Type: key.Enum()},
			{Name: new("value"), Number: new(int32(2)), Label: new(descriptorpb.FieldDescriptorProto_Label(1)), Type: fd.Type, TypeName: fd.TypeName},
		},
	})
	fd.Type, fd.TypeName, fd.Options = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), new(".random."+m.GetName()+"."+name), nil
}

// mutated is a message with a byte or two changed, dropped or cut off.
func mutated(r *rand.Rand, msg []byte) []byte {
	msg = bytes.Clone(msg)
	for range 1 + r.IntN(2) {
		if len(msg) == 0 {
			break
		}
		i := r.IntN(len(msg))
		switch r.IntN(4) {
		case 0:
			msg[i] ^= 1 << r.IntN(8)
		case 1:
			msg[i] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		case 2:
			msg = append(msg[:i], msg[i+1:]...)
		default:
			msg = msg[:i]
		}
	}
	return msg
}

// FuzzDescriptors: whatever the types, wire format, mutated or not, renders as with protojson, JSON reads back as with
// protojson, and the canonical encoding is the twin's.
func FuzzDescriptors(f *testing.F) {
	for i := range uint64(60) {
		f.Add(i, i)
	}
	f.Fuzz(func(t *testing.T, types, values uint64) {
		fd, err := protodesc.NewFile(randomFile(rand.New(rand.NewPCG(types, 0))), protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		md := fd.Messages().Get(0)
		all := renderer(t, md, "")
		canonical := must(wire.NewCanonicalizer(md, wire.ParseOptions{}))(t)
		parser := must(wire.NewParser(md, wire.ParseOptions{}))(t)
		r, odd := rand.New(rand.NewPCG(values, 1)), rand.New(rand.NewPCG(values, 3))
		for range 8 {
			msg := randomWire(r, md, 4)
			for _, msg := range [][]byte{msg, mutated(odd, msg)} {
				m, err := wire.SlowUnmarshal(md, proto.UnmarshalOptions{RecursionLimit: 100}, msg)
				if errors.Is(err, wire.ErrRuntime) {
					continue
				}
				checkCanonical(t, md, canonical, msg)
				var want []byte
				if err == nil {
					want, err = protojson.Marshal(m)
				}
				got, ourErr := all.Append(nil, msg)
				if (ourErr == nil) != (err == nil) || err == nil && string(got) != compact(t, want) {
					t.Fatalf("%x of\n%v\ngot       %s (%v)\nprotojson %s (%v)", msg, protodesc.ToFileDescriptorProto(fd), got, ourErr, want, err)
				}
				if err == nil {
					checkParse(t, md, parser, got)
				}
			}
		}
	})
}

func checkCanonical(t *testing.T, md protoreflect.MessageDescriptor, c *wire.Canonicalizer, msg []byte) {
	t.Helper()
	got, err := c.Append(nil, msg)
	want, wantErr := wire.SlowCanonical(md, wire.ParseOptions{MaxDepth: 100}, nil, msg)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%x\ngot  %x (%v)\nwant %x (%v)", msg, got, err, want, wantErr)
	}
}

func checkParse(t *testing.T, md protoreflect.MessageDescriptor, p *wire.Parser, text []byte) {
	t.Helper()
	got, err := p.Append(nil, text)
	m := dynamicpb.NewMessage(md)
	wantErr := protojson.Unmarshal(text, m)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\ngot %v\nprotojson %v", text, err, wantErr)
	}
	if err != nil {
		return
	}
	again := dynamicpb.NewMessage(md)
	if err := proto.Unmarshal(got, again); err != nil || !proto.Equal(again, m) {
		t.Fatalf("%s\ngot  %v (%v)\nwant %v", text, again, err, m)
	}
}
