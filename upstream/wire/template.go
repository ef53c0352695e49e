package wire

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Template makes messages out of values for fields that are known beforehand. It writes their canonical encoding straight
// away, in one pass over the fields: unlike with a [Message] there are no pieces to merge, and nothing is allocated. It is
// immutable and safe for concurrent use.
type Template struct {
	b     *Builder
	nodes []node
	pool  *sync.Pool // of *Target
}

// node is a field that a template writes: the end of a slot's path, or a message around others.
type node struct {
	f     *field
	slot  *Slot // nil of a message around others
	index int   // of the slot
	depth int   // how deep messages may nest in its value
	inner []node
}

// Template compiles a template of the slots, which are the builder's own. Two slots of which one is within the other, or
// that are the same field, are an error, a [*PathError].
func (b *Builder) Template(slots ...*Slot) (*Template, error) {
	t := &Template{b: b, pool: &sync.Pool{New: func() any { return new(Target) }}}
	for i, s := range slots {
		if err := t.add(s, i); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// add puts a slot at its place among the nodes, which are in the order of their numbers.
func (t *Template) add(s *Slot, index int) error {
	nodes := &t.nodes
	for i, f := range s.fields {
		end := i == len(s.fields)-1
		at, found := slices.BinarySearchFunc(*nodes, f.num, func(n node, num protowire.Number) int { return cmp.Compare(n.f.num, num) })
		switch {
		case !found:
			n := node{f: f, depth: t.b.parser.o.MaxDepth - i - 1}
			if end {
				n.slot, n.index = s, index
			}
			*nodes = slices.Insert(*nodes, at, n)
		case end || (*nodes)[at].slot != nil:
			return &PathError{
				Path: s.path, Message: f.fd.ContainingMessage().FullName(), Name: f.json,
				What: fmt.Sprintf("has the field %q bound already, by %q", f.json, first(&(*nodes)[at]).path),
			}
		}
		nodes = &(*nodes)[at].inner
	}
	return nil
}

// first is the first slot at or below a node.
func first(n *node) *Slot {
	for n.slot == nil {
		n = &n.inner[0]
	}
	return n.slot
}

// Append appends a message to dst. It calls source once for each slot, with the slot's index and with what takes the
// slot's value, which is valid during the call only. The order of the calls is that of the fields on the wire.
//
// Source assigns nothing, one value or, to a repeated field, any number of values; its errors come back as they are. A
// message around a slot is there if a slot within it has a value. A required field without a value is a [*ValueError].
func (t *Template) Append(dst []byte, source func(index int, to *Target) error) ([]byte, error) {
	to, ok := t.pool.Get().(*Target)
	if !ok {
		to = new(Target)
	}
	to.t, to.w.out = t, dst
	_, err := to.message(t.b.parser.root, t.nodes, true, source)
	out := to.w.out
	*to = Target{}
	t.pool.Put(to)
	switch size := len(out) - len(dst); {
	case err != nil:
		return dst, err
	case size > t.b.parser.o.MaxBytes:
		return dst, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, t.b.parser.o.MaxBytes)
	}
	return out, nil
}

// Target takes the value of one slot of a [Template]. It is not safe for concurrent use.
type Target struct {
	t       *Template
	w       writer
	node    *node
	present bool
	whole   bool // the value has come as JSON
	packed  int  // where the content of a packed field begins; 0 if it has not begun
}

// message appends the fields of a message. It reports whether any has a value.
func (to *Target) message(l *layout, nodes []node, needed bool, source func(int, *Target) error) (present bool, err error) {
	var had seen
	required := 0
	for i := range nodes {
		n := &nodes[i]
		var has bool
		if n.slot != nil {
			has, err = to.value(n, source)
		} else {
			has, err = to.around(n, source)
		}
		if err != nil {
			return false, err
		}
		if !has {
			continue
		}
		for j := range nodes[:i] {
			if n.f.oneof != 0 && nodes[j].f.oneof == n.f.oneof && had.has(j) {
				return false, &ValueError{Field: first(n).path, Found: fmt.Sprintf("%s is set too, and only one of %s may be",
					first(&nodes[j]).path, n.f.fd.ContainingOneof().Name())}
			}
		}
		had.add(i)
		present = true
		if n.f.required {
			required++
		}
	}
	if required == len(l.required) || !present && !needed {
		return present, nil
	}
	for _, i := range l.required {
		at := slices.IndexFunc(nodes, func(n node) bool { return n.f.num == l.fields[i].num })
		if at < 0 || !had.has(at) {
			return false, &ValueError{Field: l.fields[i].json, Found: "nothing", Expected: "a value, which " + string(l.md.FullName()) + " requires"}
		}
	}
	return present, nil
}

// around appends a message around others, if one of them has a value.
func (to *Target) around(n *node, source func(int, *Target) error) (present bool, err error) {
	start := len(to.w.out)
	to.w.out = protowire.AppendVarint(to.w.out, n.f.tag)
	if n.f.wire == protowire.StartGroupType {
		present, err = to.message(n.f.msg, n.inner, false, source)
		to.w.out = protowire.AppendTag(to.w.out, n.f.num, protowire.EndGroupType)
	} else {
		at := to.w.begin()
		present, err = to.message(n.f.msg, n.inner, false, source)
		to.w.end(at)
	}
	if !present {
		to.w.out = to.w.out[:start]
	}
	return present, err
}

// value appends what source has for a slot.
func (to *Target) value(n *node, source func(int, *Target) error) (bool, error) {
	to.node, to.present, to.whole, to.packed = n, false, false, 0
	if err := source(n.index, to); err != nil {
		return false, err
	}
	if to.packed > 0 {
		to.w.end(to.packed)
	}
	return to.present, nil
}

// Field is the field to assign to.
func (to *Target) Field() protoreflect.FieldDescriptor { return to.node.f.fd }

// SetText assigns a text, as [Message.SetText] does. The error is a [*ValueError].
func (to *Target) SetText(text string) error {
	start, err := to.begin()
	if err != nil {
		return err
	}
	if wrong := to.w.textValue(to.node.f, text); wrong != nil {
		to.drop(start)
		wrong.Field = to.node.slot.path
		return wrong
	}
	to.end(start)
	return nil
}

// SetJSON assigns a JSON value, all of it where the field is repeated. null assigns nothing. The error is a
// [*SyntaxError], whose pointer is that of the value in the message, or a [*ValueError].
func (to *Target) SetJSON(json []byte) error {
	if to.present {
		return to.second()
	}
	out, present, err := to.t.b.parser.field(to.w.out, json, to.node.f, to.node.depth)
	if err != nil {
		if wrong, ok := err.(*SyntaxError); ok { //nolint:errorlint // the parser makes no others
			return to.under(wrong)
		}
		return err
	}
	to.w.out, to.present, to.whole = out, present, present
	return nil
}

// under makes the pointer of an error start at the message.
func (to *Target) under(err *SyntaxError) *SyntaxError {
	for _, f := range slices.Backward(to.node.slot.fields) {
		err = err.in(f.json)
	}
	return err
}

// SetValue assigns a value that was read from another message, whose field may have another type, as long as the
// value's text fits. A Value that is none assigns nothing. The error is a [*ValueError], or wraps [ErrInvalid] if the
// value is not valid.
func (to *Target) SetValue(v Value) error {
	f := to.node.f
	switch {
	case !v.IsValid():
		return nil
	case v.fd.Kind() != f.kind || !sameType(v.fd, f.fd):
		return to.SetText(v.String())
	case f.utf8 && !utf8.Valid(v.raw):
		return errUTF8(f)
	}
	start, err := to.begin()
	if err != nil {
		return err
	}
	switch {
	case f.msg != nil:
		if err := to.canonical(f, v.raw); err != nil {
			to.drop(start)
			return err
		}
	case f.wire == bytesType:
		to.w.out = protowire.AppendBytes(to.w.out, v.raw)
	default:
		to.w.out = appendBits(to.w.out, f.kind, oneNaN(f.kind, v.bits))
	}
	to.end(start)
	return nil
}

// canonical appends a message without its tag.
func (to *Target) canonical(f *field, msg []byte) (err error) {
	at := 0
	if f.wire != protowire.StartGroupType {
		at = to.w.begin()
	}
	if to.w.out, err = to.t.b.canonical.append(to.w.out, msg, f.msg, to.node.depth, false); err != nil {
		return err
	}
	if at > 0 {
		to.w.end(at)
	} else {
		to.w.out = protowire.AppendTag(to.w.out, f.num, protowire.EndGroupType)
	}
	return nil
}

// begin appends what stands before a single value.
func (to *Target) begin() (start int, err error) {
	f := to.node.f
	switch {
	case f.isMap:
		return 0, &ValueError{Field: to.node.slot.path, Found: "a map has no text form"}
	case to.whole || to.present && !f.list:
		return 0, to.second()
	}
	start = len(to.w.out)
	switch {
	case !f.packed:
		to.w.out = protowire.AppendVarint(to.w.out, f.tag)
	case to.packed == 0:
		to.w.out = protowire.AppendTag(to.w.out, f.num, bytesType)
		to.packed = to.w.begin()
	}
	return start, nil
}

// end finishes a single value: one that is zero is not written unless that makes a difference.
func (to *Target) end(start int) {
	f := to.node.f
	if !f.list && !f.presence && isZero(to.w.out[start+protowire.SizeVarint(f.tag):]) {
		to.w.out = to.w.out[:start]
	}
	to.present = true
}

// drop takes a value back that turned out to be wrong.
func (to *Target) drop(start int) {
	to.w.out = to.w.out[:start]
	if to.packed > start {
		to.packed = 0
	}
}

func (to *Target) second() error {
	return &ValueError{Field: to.node.slot.path, Found: "a second value", Expected: "one"}
}
