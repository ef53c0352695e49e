package wire_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream/wire"
)

// shuffled are messages with the fields of msg, outer or inner ones, in other orders, apart, or twice.
func shuffled(r *rand.Rand, msg []byte) []byte {
	var fields [][]byte
	for rest := msg; len(rest) > 0; {
		num, typ, tagSize := protowire.ConsumeTag(rest)
		size := protowire.ConsumeFieldValue(num, typ, rest[max(tagSize, 0):])
		if tagSize < 0 || size < 0 {
			return msg
		}
		f := rest[:tagSize+size]
		rest = rest[tagSize+size:]
		if typ == protowire.BytesType && r.IntN(3) == 0 {
			inner, _ := protowire.ConsumeBytes(f[tagSize:])
			f = protowire.AppendBytes(slices.Clone(f[:tagSize]), shuffled(r, inner))
		}
		fields = append(fields, f)
	}
	for range r.IntN(3) {
		if len(fields) == 0 {
			break
		}
		i, j := r.IntN(len(fields)), r.IntN(len(fields))
		switch r.IntN(4) {
		case 0:
			fields[i], fields[j] = fields[j], fields[i]
		case 1:
			fields = slices.Insert(fields, i, fields[j])
		case 2:
			fields = slices.Delete(fields, i, i+1)
		default:
			fields = slices.Insert(fields, i, protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(1+r.IntN(40)), protowire.VarintType), r.Uint64()))
		}
	}
	return slices.Concat(fields...)
}

// FuzzDirect: rendering directly makes the same of any bytes as rendering by an index, or both have an error, whatever
// is selected and however the output is written.
func FuzzDirect(f *testing.F) {
	w := loadWorld(f)
	mds := append(slices.Clone(w.roots), new(ordersv1.ListOrdersResponse).ProtoReflect().Descriptor())
	wireSeeds(f, w)
	random := rand.New(rand.NewPCG(5, 6))
	page := marshal(f, &ordersv1.ListOrdersResponse{Orders: []*ordersv1.Order{sampleOrder(1), sampleOrder(2)}, NextPageToken: "next"})
	for range 40 {
		f.Add(byte(len(w.roots)), shuffled(random, page))
		for i, md := range w.roots {
			f.Add(byte(i), shuffled(random, randomWire(random, md, 4)))
		}
	}
	f.Add(byte(len(w.roots)), page)
	for _, tag := range []uint64{0, 7, 1 << 32, math.MaxUint32, math.MaxUint64} {
		f.Add(byte(len(w.roots)), append(protowire.AppendVarint(slices.Clone(page), tag), make([]byte, 8)...))
	}
	renderers := make([][]*wire.Renderer, len(mds))
	for i, md := range mds {
		for j := range 24 {
			o := wire.RenderOptions{
				Resolver: w.types, EmitDefaults: j%4 == 1, NumericEnums: j%4 == 2, NumericInt64: j%4 == 2, ProtoNames: j%4 == 3, MaxDepth: 3 + j,
			}
			var sel *wire.Selection
			if j >= 4 {
				sel = randomSelection(random, md, 4)
			}
			if sel != nil && j >= 12 {
				inOrder(md, sel)
			}
			renderers[i] = append(renderers[i], must(wire.NewRenderer(md, sel, o))(f))
		}
	}
	prefix := []byte("x")
	f.Fuzz(func(t *testing.T, root byte, msg []byte) {
		for j, r := range renderers[int(root)%len(mds)] {
			want, wantErr := r.AppendIndexed(prefix, msg)
			for name, render := range map[string]func(dst, msg []byte) ([]byte, error){"in order": r.Append, "any order": r.AppendAnyOrder} {
				got, err := render(slices.Clip(slices.Clone(prefix)), slices.Clip(msg))
				if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
					t.Fatalf("%x: renderer %d, %s\ngot  %s (%v)\nwant %s (%v)", msg, j, name, got, err, want, wantErr)
				}
				if err != nil && !errors.Is(err, wire.ErrInvalid) {
					t.Fatalf("%x: renderer %d, %s: %v", msg, j, name, err)
				}
			}
		}
	})
}

// inOrder puts a selection into the order of the numbers, and drops what is selected twice.
func inOrder(md protoreflect.MessageDescriptor, sel *wire.Selection) {
	number := func(s wire.Selected) int { return int(md.Fields().ByName(s.Name).Number()) }
	slices.SortStableFunc(sel.Fields, func(a, b wire.Selected) int { return number(a) - number(b) })
	sel.Fields = slices.CompactFunc(sel.Fields, func(a, b wire.Selected) bool { return a.Name == b.Name })
	for _, s := range sel.Fields {
		if s.Sub == nil {
			continue
		}
		fd := md.Fields().ByName(s.Name)
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		inOrder(fd.Message(), s.Sub)
	}
}
