package wire_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream/wire"
)

// nestedWire nests the field recursive_message.
func nestedWire(tb testing.TB, md protoreflect.MessageDescriptor, depth int) []byte {
	tb.Helper()
	num := md.Fields().ByName("recursive_message").Number()
	var b []byte
	for range depth {
		b = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
	}
	return b
}

// TestOneMeaning: however a client splits, repeats or reorders its message, a rule on a field, the cache's key and the
// service see one and the same value: that of the canonical bytes.
func TestOneMeaning(t *testing.T) {
	t.Parallel()
	md := (*ordersv1.CreateOrderRequest)(nil).ProtoReflect().Descriptor()
	c, err := wire.NewCanonicalizer(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tagged := func(num protowire.Number, content string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), content))
	}
	item, labelA, labelB := tagged(1, tagged(1, "p1")+"\x10\x02"), tagged(3, tagged(1, "a")+tagged(2, "1")), tagged(3, tagged(1, "b")+tagged(2, "2"))
	want := item + tagged(2, "mine") + labelA + labelB
	for name, msg := range map[string]string{
		"as it is":                         want,
		"reordered":                        labelB + tagged(2, "mine") + labelA + item,
		"scalar twice":                     item + tagged(2, "evil") + tagged(2, "mine") + labelA + labelB,
		"map key twice":                    item + tagged(2, "mine") + tagged(3, tagged(1, "a")+tagged(2, "evil")) + labelA + labelB,
		"map entry reordered":              item + tagged(2, "mine") + tagged(3, tagged(2, "1")+tagged(1, "a")) + labelB,
		"key twice in an entry":            item + tagged(2, "mine") + tagged(3, tagged(1, "evil")+tagged(2, "1")+tagged(1, "a")) + labelB,
		"unknown fields":                   tagged(99, "evil") + item + tagged(2, "mine") + labelA + labelB + "\xa8\x06\x01",
		"long varints":                     tagged(1, tagged(1, "p1")+"\x90\x00\x82\x80\x00") + tagged(2, "mine") + labelA + labelB,
		"known field of another wire type": item + "\x10\x05" + tagged(2, "mine") + labelA + labelB,
		"the length of a length":           "\x0a\x86\x00" + tagged(1, "p1") + "\x10\x02" + tagged(2, "mine") + labelA + labelB,
	} {
		got, err := c.Append(nil, []byte(msg))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, want)
		}
	}
	fromJSON, err := wire.NewParser(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := fromJSON.Append(nil, []byte(`{"labels":{"b":"2","a":"1"},"note":"mine","items":[{"quantity":"2","productId":"p1"}]}`))
	if err != nil || string(got) != want {
		t.Errorf("JSON: got %q (%v)", got, err)
	}
	b := wire.NewBuilder(md, wire.ParseOptions{})
	m := b.New()
	for path, text := range map[string]string{"note": `"mine"`, "labels": `{"b":"2","a":"1"}`, "items": `[{"quantity":2,"product_id":"p1"}]`} {
		s, err := b.Slot(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SetJSON(s, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = m.Append(nil); err != nil || string(got) != want {
		t.Errorf("builder: got %q (%v)", got, err)
	}
}

// TestSplitAtEveryLevel: a message that is split in two at each of many levels costs no more than its size and depth.
func TestSplitAtEveryLevel(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	sel, err := wire.ParseFields(md, strings.Repeat("oneofNestedMessage.corecursive.", 10)+"optionalInt32")
	if err != nil {
		t.Fatal(err)
	}
	selected := must(wire.NewRenderer(md, sel, wire.RenderOptions{}))(t)
	projector := must(wire.NewProjector(md, sel))(t)
	all := renderer(t, md, "")
	canonical := must(wire.NewCanonicalizer(md, wire.ParseOptions{}))(t)
	sub := func(num protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
	}
	field := func(name protoreflect.Name, content []byte) []byte {
		return sub(md.Fields().ByName(name).Number(), content)
	}
	for name, around := range map[string]func(msg []byte) []byte{
		"pieces": func(msg []byte) []byte {
			return slices.Concat(field("recursive_message", nil), field("recursive_message", msg))
		},
		"replaced": func(msg []byte) []byte {
			return slices.Concat(field("oneof_nested_message", sub(2, msg)), field("oneof_string", nil))
		},
		"replaced and back": func(msg []byte) []byte {
			return slices.Concat(field("oneof_nested_message", nil), field("oneof_string", nil), field("oneof_nested_message", sub(2, msg)))
		},
		"map values": func(msg []byte) []byte {
			entry := slices.Concat(sub(2, nil), sub(2, sub(2, msg)))
			return slices.Concat(field("map_string_nested_message", nil), field("map_string_nested_message", entry))
		},
		"map values dropped": func(msg []byte) []byte {
			return slices.Concat(field("map_string_nested_message", sub(2, sub(2, msg))), field("map_string_nested_message", nil))
		},
	} {
		msg := []byte{}
		for range 30 {
			msg = around(msg)
		}
		for part, appendTo := range map[string]func(dst, msg []byte) ([]byte, error){
			"canonical": canonical.Append, "all": all.Append, "selected": selected.Append, "projected": projector.Append,
		} {
			if _, err := appendTo(nil, msg); err != nil {
				t.Errorf("%s, %s: %v", name, part, err)
			}
		}
	}
}

// TestManyPieces: half a million pieces of a message, of a map's value, of alternating members of a oneof beside as many
// elements, and as many texts, cost no more than their number.
func TestManyPieces(t *testing.T) {
	t.Parallel()
	count := 1 << 19
	if raceEnabled {
		count >>= 3
	}
	w := loadWorld(t)
	md := w.root(0)
	all := renderer(t, md, "")
	canonical := must(wire.NewCanonicalizer(md, wire.ParseOptions{}))(t)
	projector := must(wire.NewProjector(md, must(wire.ParseFields(md, "oneofUint32,recursiveMessage.optionalInt32"))(t)))(t)
	field := md.Fields().ByName
	table := wire.NewTable(md, []protoreflect.FieldDescriptor{field("recursive_message"), field("oneof_uint32")})
	path := must(wire.NewPath(md, "recursive_message.optional_int32"))(t)
	tag := func(name protoreflect.Name, typ protowire.Type) []byte {
		return protowire.AppendTag(nil, field(name).Number(), typ)
	}
	piece := append(tag("recursive_message", protowire.BytesType), 2, 8, 1)
	value := bytes.Repeat([]byte{0x12, 2, 8, 1}, count)
	flip := slices.Concat(tag("oneof_uint32", protowire.VarintType), []byte{1}, tag("oneof_bool", protowire.VarintType), []byte{1},
		tag("repeated_int32", protowire.VarintType), []byte{1})
	for name, msg := range map[string][]byte{
		"pieces":  bytes.Repeat(piece, count),
		"value":   protowire.AppendBytes(tag("map_string_nested_message", protowire.BytesType), value),
		"members": bytes.Repeat(flip, count/2),
	} {
		_, err1 := canonical.Append(nil, msg)
		_, err2 := all.Append(nil, msg)
		_, err3 := projector.Append(nil, msg)
		err4 := table.Scan(msg, make([]wire.Span, 2))
		path.First(msg)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := newKit(t)
	m, s := k.b.New(), k.slot("repeatedInt32")
	for range count / 8 {
		if err := m.SetText(s, "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMergedMessage: a message in pieces is one message, and a oneof has its last member only.
func TestMergedMessage(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	md := w.root(0)
	num := func(name protoreflect.Name) protowire.Number { return md.Fields().ByName(name).Number() }
	sub := func(name protoreflect.Name, content ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num(name), protowire.BytesType), content)
	}
	c, err := wire.NewCanonicalizer(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.NewRenderer(md, nil, wire.RenderOptions{Resolver: w.types})
	if err != nil {
		t.Fatal(err)
	}
	uint32Of := append(protowire.AppendTag(nil, num("oneof_uint32"), protowire.VarintType), 7)
	for _, tc := range []struct {
		name      string
		msg, want []byte
		json      string
	}{
		{
			"pieces", bytes.Join([][]byte{sub("recursive_message", 8, 1), sub("recursive_message", 16, 2)}, nil),
			sub("recursive_message", 8, 1, 16, 2), `{"recursiveMessage":{"optionalInt32":1,"optionalInt64":"2"}}`,
		},
		{"oneof", bytes.Join([][]byte{sub("oneof_nested_message", 8, 1), uint32Of}, nil), uint32Of, `{"oneofUint32":7}`},
		{
			"oneof and back", bytes.Join([][]byte{sub("oneof_nested_message", 8, 1), uint32Of, sub("oneof_nested_message", 18, 0)}, nil),
			sub("oneof_nested_message", 18, 0), `{"oneofNestedMessage":{"corecursive":{}}}`,
		},
		{
			"packed and not", bytes.Join([][]byte{sub("packed_int32", 1, 2), append(protowire.AppendTag(nil, num("packed_int32"), protowire.VarintType), 3)}, nil),
			sub("packed_int32", 1, 2, 3), `{"packedInt32":[1,2,3]}`,
		},
		{"empty packed", sub("packed_int32"), []byte{}, `{}`},
	} {
		got, err := c.Append([]byte{}, tc.msg)
		if err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("%s: got %x (%v), want %x", tc.name, got, err, tc.want)
		}
		text, err := r.Append(nil, tc.msg)
		if err != nil || string(text) != tc.json {
			t.Errorf("%s: got %s (%v), want %s", tc.name, text, err, tc.json)
		}
	}
}
