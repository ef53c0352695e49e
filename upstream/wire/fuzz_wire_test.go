package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream/wire"
)

// randomSelection selects some fields of md, now and then renamed or twice.
func randomSelection(r *rand.Rand, md protoreflect.MessageDescriptor, depth int) *wire.Selection {
	if depth == 0 || r.IntN(8) == 0 {
		return nil
	}
	sel := new(wire.Selection)
	fds := md.Fields()
	for range r.IntN(2 + fds.Len()/2) {
		if fds.Len() == 0 {
			break
		}
		fd := fds.Get(r.IntN(fds.Len()))
		s := wire.Selected{Name: fd.Name()}
		if r.IntN(5) == 0 {
			s.As = "an \"alias\""
		}
		child := fd.Message()
		if fd.IsMap() {
			child = fd.MapValue().Message()
		}
		if child != nil && child.ParentFile().Package() != "google.protobuf" {
			s.Sub = randomSelection(r, child, depth-1)
		}
		sel.Fields = append(sel.Fields, s)
	}
	return sel
}

// FuzzRender: the JSON of any bytes is what protojson makes of them, or an error if protojson has one; that of a
// selection is the same projection of it, whether or not the wire format was projected before.
func FuzzRender(f *testing.F) {
	w := loadWorld(f)
	wireSeeds(f, w)
	options := []wire.RenderOptions{
		{Resolver: w.types},
		{Resolver: w.types, EmitDefaults: true},
		{Resolver: w.types, ProtoNames: true, NumericEnums: true},
	}
	renderers := make([][]*wire.Renderer, len(w.roots))
	type selected struct {
		sel *wire.Selection
		r   *wire.Renderer
		p   *wire.Projector
	}
	selections := make([][]selected, len(w.roots))
	random := rand.New(rand.NewPCG(3, 4))
	for i, md := range w.roots {
		for _, o := range options {
			r, err := wire.NewRenderer(md, nil, o)
			if err != nil {
				f.Fatal(err)
			}
			renderers[i] = append(renderers[i], r)
		}
		for range 16 {
			sel := randomSelection(random, md, 4)
			r, err := wire.NewRenderer(md, sel, options[0])
			if err != nil {
				f.Fatal(err)
			}
			p, err := wire.NewProjector(md, sel)
			if err != nil {
				f.Fatal(err)
			}
			selections[i] = append(selections[i], selected{sel, r, p})
		}
	}
	f.Fuzz(func(t *testing.T, root byte, msg []byte) {
		i := int(root) % len(w.roots)
		md := w.roots[i]
		valid := false
		for j, o := range options {
			got, err := renderers[i][j].Append(nil, msg)
			want, wantErr := protojsonText(t, md, msg, o)
			if errors.Is(wantErr, wire.ErrRuntime) {
				return
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%x\ngot %s (%v)\nprotojson %s (%v)", msg, got, err, want, wantErr)
			}
			if err != nil {
				continue
			}
			valid = true
			if string(got) != want {
				t.Fatalf("%x\ngot       %s\nprotojson %s", msg, got, want)
			}
		}
		if !valid {
			for _, s := range selections[i] { // must not panic
				_, renderErr := s.r.Append(nil, msg)
				_, projectErr := s.p.Append(nil, msg)
				if err := errors.Join(renderErr, projectErr); err != nil && !errors.Is(err, wire.ErrInvalid) {
					t.Fatal(err)
				}
			}
			return
		}
		for j, s := range selections[i] {
			slow := wire.SlowRenderer{MD: md, Sel: s.sel, O: wire.RenderOptions{Resolver: w.types, MaxDepth: 100}}
			want, err := slow.Append(nil, msg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.r.Append([]byte("x"), msg)
			if err != nil || string(got) != "x"+string(want) {
				t.Fatalf("%x: selection %d\ngot  %s (%v)\nwant %s", msg, j, got, err, want)
			}
			projected, err := s.p.Append(nil, msg)
			if err != nil {
				t.Fatal(err)
			}
			if got, err = s.r.Append(nil, projected); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%x: selection %d of %x\ngot  %s (%v)\nwant %s", msg, j, projected, got, err, want)
			}
		}
	})
}

func protojsonText(t *testing.T, md protoreflect.MessageDescriptor, msg []byte, o wire.RenderOptions) (string, error) {
	t.Helper()
	types, ok := o.Resolver.(*dynamicpb.Types)
	if !ok {
		t.Fatal("no types")
	}
	m, err := wire.SlowUnmarshal(md, proto.UnmarshalOptions{AllowPartial: true, Resolver: types, RecursionLimit: 100}, msg)
	if err != nil {
		return "", err
	}
	text, err := protojson.MarshalOptions{
		AllowPartial: true, Resolver: types, EmitDefaultValues: o.EmitDefaults, UseProtoNames: o.ProtoNames, UseEnumNumbers: o.NumericEnums,
	}.Marshal(m)
	if err != nil {
		return "", err
	}
	return compact(t, text), nil
}

// FuzzCanonical: the canonical encoding is that of the message which the protobuf runtime reads, without unknown fields;
// it is its own canonical encoding, and an error if and only if the runtime has one.
func FuzzCanonical(f *testing.F) {
	w := loadWorld(f)
	wireSeeds(f, w)
	canonical := make([]*wire.Canonicalizer, len(w.roots))
	for i, md := range w.roots {
		c, err := wire.NewCanonicalizer(md, wire.ParseOptions{Resolver: w.types})
		if err != nil {
			f.Fatal(err)
		}
		canonical[i] = c
	}
	f.Fuzz(func(t *testing.T, root byte, msg []byte) {
		i := int(root) % len(w.roots)
		got, err := canonical[i].Append(nil, msg)
		want, wantErr := wire.SlowCanonical(w.roots[i], wire.ParseOptions{Resolver: w.types, MaxDepth: 100}, nil, msg)
		if errors.Is(wantErr, wire.ErrRuntime) {
			return
		}
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%x\ngot  %x (%v)\nwant %x (%v)", msg, got, err, want, wantErr)
		}
		if err != nil {
			return
		}
		again, err := canonical[i].Append(nil, got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%x\nonce  %x\ntwice %x (%v)", msg, got, again, err)
		}
	})
}

// touch reads everything out of bytes that may be malformed, which must not panic.
func touch(t *testing.T, md protoreflect.MessageDescriptor, table *wire.Table, spans []wire.Span, msg []byte) {
	t.Helper()
	text := func(v wire.Value) bool { return len(v.String()) >= 0 && v.IsValid() }
	if table.Scan(msg, spans) != nil {
		return
	}
	for i := range spans {
		spans[i].Each(text)
		_ = spans[i].Value().String()
	}
	for i := range md.Fields().Len() {
		p, err := wire.NewPath(md, md.Fields().Get(i).JSONName())
		if err != nil {
			t.Fatal(err)
		}
		p.All(msg, text)
	}
}

// FuzzScan: a table finds in any bytes what the protobuf runtime reads out of them.
func FuzzScan(f *testing.F) {
	w := loadWorld(f)
	wireSeeds(f, w)
	f.Fuzz(func(t *testing.T, root byte, msg []byte) {
		md := w.root(root)
		fields := make([]protoreflect.FieldDescriptor, md.Fields().Len())
		for i := range fields {
			fields[i] = md.Fields().Get(i)
		}
		table, spans := wire.NewTable(md, fields), make([]wire.Span, len(fields))
		touch(t, md, table, spans, msg)
		m, err := wire.SlowUnmarshal(md, proto.UnmarshalOptions{AllowPartial: true, Resolver: w.types}, msg)
		if err != nil {
			return
		}
		if err := table.Scan(msg, spans); err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		for i, fd := range fields {
			checkSpan(t, w, msg, m, fd, &spans[i])
			p, err := wire.NewPath(md, string(fd.Name()))
			if fd.ContainingMessage().Fields().ByTextName(string(fd.Name())) == nil {
				continue // of groups the text name is another
			}
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := p.First(msg); !fd.IsMap() && !fd.IsList() && (ok != spans[i].Present() || !bytes.Equal(v.Raw(), spans[i].Value().Raw())) {
				t.Fatalf("%x: %s: path and span differ", msg, fd.Name())
			}
		}
	})
}

func checkSpan(t *testing.T, w *world, msg []byte, m protoreflect.Message, fd protoreflect.FieldDescriptor, span *wire.Span) {
	t.Helper()
	switch {
	case fd.IsMap():
		n := 0
		span.Each(func(wire.Value) bool { n++; return true })
		if n < m.Get(fd).Map().Len() {
			t.Fatalf("%x: %s: got %d entries of %d", msg, fd.Name(), n, m.Get(fd).Map().Len())
		}
	case fd.IsList():
		list := m.Get(fd).List()
		i := 0
		span.Each(func(v wire.Value) bool {
			checkValue(t, w, fd, v, list.Get(i))
			i++
			return true
		})
		if i != list.Len() {
			t.Fatalf("%x: %s: got %d elements of %d", msg, fd.Name(), i, list.Len())
		}
	case m.Has(fd):
		checkValue(t, w, fd, span.Value(), m.Get(fd))
	case span.Present() && fd.HasPresence():
		t.Fatalf("%x: %s is found", msg, fd.Name())
	}
}

func checkValue(t *testing.T, w *world, fd protoreflect.FieldDescriptor, got wire.Value, want protoreflect.Value) {
	t.Helper()
	if fd.Message() != nil {
		m := dynamicpb.NewMessage(fd.Message())
		if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: w.types}).Unmarshal(got.Raw(), m); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(m, want.Message().Interface()) {
			t.Fatalf("%s: got %v, want %v", fd.Name(), m, want)
		}
		return
	}
	v := protoreflect.ValueOf(got.Interface())
	if !v.Equal(want) {
		t.Fatalf("%s: got %v, want %v", fd.Name(), v, want)
	}
}
