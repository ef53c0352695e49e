package wire_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// draft is a value for a path in each of its forms.
type draft struct {
	bound
	build func(*wire.Message, *wire.Slot) error
}

// drafter takes the values of a random message apart.
type drafter struct {
	t      *testing.T
	r      *rand.Rand
	md     protoreflect.MessageDescriptor
	msg    []byte
	drafts []draft
}

// members picks values of a message given as JSON, at any depth, and returns an object of just those.
func (d *drafter) members(md protoreflect.MessageDescriptor, prefix string, object map[string]json.RawMessage) map[string]any {
	picked := map[string]any{}
	for _, fd := range fieldsOf(md) {
		text, ok := object[fd.JSONName()]
		if !ok || d.r.IntN(4) == 0 {
			continue
		}
		path := prefix + string(fd.Name())
		var inner map[string]json.RawMessage
		plain := fd.Message() != nil && !fd.IsList() && !fd.IsMap() && fd.Message().ParentFile().Package() == "random"
		if plain && d.r.IntN(2) == 0 && json.Unmarshal(text, &inner) == nil {
			if within := d.members(fd.Message(), path+".", inner); len(within) > 0 {
				picked[fd.JSONName()] = within
			}
			continue
		}
		if d.r.IntN(12) == 0 { // a value that may not fit
			text = []json.RawMessage{[]byte(`"x"`), []byte(`true`), []byte(`7`), []byte(`{}`), []byte(`[1]`)}[d.r.IntN(5)]
			d.json(path, text)
		} else {
			d.draft(fd, path, text)
		}
		picked[fd.JSONName()] = text
	}
	return picked
}

func fieldsOf(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	var out []protoreflect.FieldDescriptor
	for i := range md.Fields().Len() {
		out = append(out, md.Fields().Get(i))
	}
	return out
}

// draft adds a value in one of the forms that it has.
func (d *drafter) draft(fd protoreflect.FieldDescriptor, path string, text []byte) {
	var values []wire.Value
	must(wire.NewPath(d.md, path))(d.t).All(d.msg, func(v wire.Value) bool {
		values = append(values, v)
		return true
	})
	textual := fd.Message() == nil || fd.Message().FullName() == "google.protobuf.Timestamp"
	switch {
	case fd.IsMap() || len(values) == 0 || d.r.IntN(3) == 0:
		d.json(path, text)
	case textual && d.r.IntN(2) == 0:
		d.add(path, func(to *wire.Target) (err error) {
			for _, v := range values {
				if err == nil {
					err = to.SetText(v.String())
				}
			}
			return err
		}, func(m *wire.Message, s *wire.Slot) (err error) {
			for _, v := range values {
				if err == nil {
					err = m.SetText(s, v.String())
				}
			}
			return err
		})
	default:
		d.add(path, func(to *wire.Target) (err error) {
			for _, v := range values {
				if err == nil {
					err = to.SetValue(v)
				}
			}
			return err
		}, func(m *wire.Message, s *wire.Slot) (err error) {
			for _, v := range values {
				if err == nil {
					err = m.SetValue(s, v)
				}
			}
			return err
		})
	}
}

func (d *drafter) json(path string, text []byte) {
	d.add(path, jsonOf(string(text)), func(m *wire.Message, s *wire.Slot) error { return m.SetJSON(s, text) })
}

func (d *drafter) add(path string, to set, build func(*wire.Message, *wire.Slot) error) {
	d.drafts = append(d.drafts, draft{bound: bound{path, to}, build: build})
}

// FuzzTemplate: values for some fields of a message, as JSON, texts or values of another message, make the same canonical
// message in a template, in a builder, and in protojson as members of one object; what one refuses, all refuse.
func FuzzTemplate(f *testing.F) {
	for i := range uint64(80) {
		f.Add(i, i)
	}
	f.Fuzz(func(t *testing.T, types, values uint64) {
		file, err := protodesc.NewFile(randomFile(rand.New(rand.NewPCG(types, 0))), protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		md := file.Messages().Get(0)
		builder := wire.NewBuilder(md, wire.ParseOptions{})
		render, parser := renderer(t, md, ""), must(wire.NewParser(md, wire.ParseOptions{}))(t)
		r := rand.New(rand.NewPCG(values, 2))
		for range 8 {
			text, err := render.Append(nil, randomWire(r, md, 4))
			if err != nil {
				continue
			}
			// Read back from JSON, which has one null only.
			d := &drafter{t: t, r: r, md: md, msg: must(parser.Append(nil, text))(t)}
			var object map[string]json.RawMessage
			if err := json.Unmarshal(text, &object); err != nil {
				t.Fatal(err)
			}
			whole, err := json.Marshal(d.members(md, "", object))
			if err != nil {
				t.Fatal(err)
			}
			checkDrafts(t, builder, d, whole)
		}
	})
}

// checkDrafts builds one message in three ways.
func checkDrafts(t *testing.T, b *wire.Builder, d *drafter, whole []byte) {
	t.Helper()
	var want []byte
	m := dynamicpb.NewMessage(d.md)
	wantErr := protojson.Unmarshal(whole, m)
	if wantErr == nil {
		msg := must(proto.Marshal(m))(t)
		want = must(wire.SlowCanonical(d.md, wire.ParseOptions{MaxDepth: 100}, nil, msg))(t)
	}
	values := make([]bound, len(d.drafts))
	for i, draft := range d.drafts {
		values[i] = draft.bound
	}
	got, err := compose(t, b, values)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%s of\n%v\ntemplate  %x (%v)\nprotojson %x (%v)", whole, protodesc.ToFileDescriptorProto(d.md.ParentFile()), got, err, want, wantErr)
	}
	built := b.New()
	d.r.Shuffle(len(d.drafts), func(i, j int) { d.drafts[i], d.drafts[j] = d.drafts[j], d.drafts[i] })
	for _, draft := range d.drafts {
		slot := must(b.Slot(draft.path))(t)
		if err := draft.build(built, slot); err != nil {
			if wantErr == nil {
				t.Fatalf("%s: %v", whole, err)
			}
			return
		}
	}
	got, err = built.Append(nil)
	if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
		t.Fatalf("%s of\n%v\nbuilder   %x (%v)\nprotojson %x", whole, protodesc.ToFileDescriptorProto(d.md.ParentFile()), got, err, want)
	}
}
