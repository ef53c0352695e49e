package wire

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Canonicalizer turns any encoding of messages of one type into the canonical one. It is immutable and safe for
// concurrent use.
type Canonicalizer struct {
	o     ParseOptions
	types *types
	root  *layout
	pool  *sync.Pool // of *canon
}

// NewCanonicalizer compiles a canonicalizer for md.
func NewCanonicalizer(md protoreflect.MessageDescriptor, o ParseOptions) (*Canonicalizer, error) {
	o = o.withDefaults()
	t := newTypes(o.Resolver)
	return newCanonicalizer(t, t.layout(md), o), nil
}

func newCanonicalizer(t *types, root *layout, o ParseOptions) *Canonicalizer {
	return &Canonicalizer{o: o, types: t, root: root, pool: &sync.Pool{New: func() any { return new(canon) }}}
}

// Append appends the canonical encoding of msg to dst. If msg is no valid message, or lacks a required field, the
// error wraps [ErrInvalid].
func (c *Canonicalizer) Append(dst, msg []byte) ([]byte, error) {
	return c.append(dst, msg, c.root, c.o.MaxDepth, false)
}

// append canonicalizes a message of any type, in which messages may nest to a depth. partial says that required fields may be missing.
func (c *Canonicalizer) append(dst, msg []byte, l *layout, depth int, partial bool) ([]byte, error) {
	if len(msg) > c.o.MaxBytes {
		return dst, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, c.o.MaxBytes)
	}
	s, ok := c.pool.Get().(*canon)
	if !ok {
		s = new(canon)
	}
	s.out, s.types, s.partial = dst, c.types, partial
	s.segments, s.found = s.segments[:0], s.found[:0]
	err := s.message(l, msg, depth)
	out := s.out
	s.out, s.types = nil, nil
	if cap(s.moved) <= maxKept && cap(s.segments)+cap(s.found) <= maxKept/8 {
		clear(s.found[:cap(s.found)])
		c.pool.Put(s)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// canon is the state of canonicalizing one message.
type canon struct {
	writer
	types   *types
	found   []occurrence  // of the messages being read, the innermost last
	members []oneofMember // of the message being scanned
	partial bool
}

// occurrence is one appearance of a known field. A field may have several.
type occurrence struct {
	f      *field
	value  []byte // what follows the tag; the content alone of strings, bytes, messages and packed scalars
	packed bool
	dead   bool // a later member of its oneof replaces it
}

// oneofMember is the member that a oneof has, since an index of the occurrences.
type oneofMember struct {
	f    *field
	from int
}

// message appends the canonical encoding of msg.
func (s *canon) message(l *layout, msg []byte, depth int) error {
	if depth <= 0 {
		return errDepth()
	}
	base := len(s.found)
	if err := s.scan(l, msg); err != nil {
		return err
	}
	found := s.found[base:]
	byNumber := func(a, b occurrence) int { return int(a.f.num) - int(b.f.num) }
	if !slices.IsSortedFunc(found, byNumber) {
		slices.SortStableFunc(found, byNumber)
	}
	required := 0
	for end := len(s.found); base < end; {
		from := base
		f := s.found[from].f
		for base < end && s.found[base].f == f {
			base++
		}
		if f.required {
			required++
		}
		if err := s.field(f, from, base, depth); err != nil {
			return err
		}
	}
	if required < len(l.required) && !s.partial {
		return fmt.Errorf("%w: %s lacks a required field", ErrInvalid, l.md.FullName())
	}
	return nil
}

// scan finds the occurrences of known fields.
func (s *canon) scan(l *layout, msg []byte) error {
	members := len(s.members)
	defer func() { s.members = s.members[:members] }()
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 || num > protowire.MaxValidNumber {
			return errTruncated()
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return errTruncated()
		}
		value := msg[n : n+m]
		msg = msg[n+m:]
		f := s.types.find(l, num)
		if f == nil || !f.takes(typ) {
			continue
		}
		o := occurrence{f: f, value: f.content(value, typ), packed: typ != f.wire}
		if f.utf8 && !utf8.Valid(o.value) {
			return errUTF8(f)
		}
		if len(f.siblings) > 0 {
			s.member(f, members)
		}
		s.found = append(s.found, o)
	}
	return nil
}

// member notes a member of a oneof, which replaces all other members that were found before. What was found before the
// last change of members is dead already. base is where the oneofs of this message begin.
func (s *canon) member(f *field, base int) {
	now := len(s.found)
	for i := range s.members[base:] {
		m := &s.members[base+i]
		if m.f.oneof != f.oneof {
			continue
		}
		if m.f != f {
			for j := m.from; j < now; j++ {
				if other := &s.found[j]; other.f == m.f {
					other.dead = true
				}
			}
			m.f, m.from = f, now
		}
		return
	}
	s.members = append(s.members, oneofMember{f, now})
}

// find finds a field or an extension by its number; nil if it is unknown.
func (t *types) find(l *layout, num protowire.Number) *field {
	if i := l.index(num); i >= 0 {
		return &l.fields[i]
	}
	if l.extensible {
		return t.extension(l.md, num)
	}
	return nil
}

// takes reports whether a value of a wire type is one of f rather than unknown.
func (f *field) takes(typ protowire.Type) bool {
	return typ == f.wire || typ == bytesType && f.packable
}

// content cuts the length or the end of a group from a field's value, which is well formed.
func (f *field) content(value []byte, typ protowire.Type) []byte {
	switch typ {
	case protowire.BytesType:
		content, _ := protowire.ConsumeBytes(value)
		return content
	case protowire.StartGroupType:
		content, _ := protowire.ConsumeGroup(f.num, value)
		return content
	default:
		return value
	}
}

// field appends one field, whose occurrences are found[from:to].
func (s *canon) field(f *field, from, to, depth int) error {
	switch {
	case f.isMap:
		return s.mapping(f, from, to, depth)
	case f.list && f.msg != nil:
		for i := from; i < to; i++ {
			if err := s.single(f, s.found[i].value, depth); err != nil {
				return err
			}
		}
		return nil
	case f.list:
		return s.list(f, from, to)
	case f.msg != nil:
		content, found, err := s.merged(f, from, to, depth)
		if err != nil || !found {
			return err
		}
		return s.single(f, content, depth)
	}
	if last := s.found[to-1]; !last.dead {
		return s.scalar(f, last.value)
	}
	return nil
}

// merged puts the pieces of a message together that no other member of its oneof has replaced.
func (s *canon) merged(f *field, from, to, depth int) (content []byte, found bool, err error) {
	if to-from == 1 && !s.found[from].dead {
		return s.found[from].value, true, nil
	}
	for i := from; i < to; i++ {
		o := s.found[i]
		if o.dead {
			if err := s.check(f.msg, o.value, depth); err != nil {
				return nil, false, err
			}
			continue
		}
		// What is in the pieces is checked when all of them are read: to check it here too would double the work at every
		// level of nesting.
		if !wellFormed(o.value) {
			return nil, false, errTruncated()
		}
		content, found = append(content, o.value...), true
	}
	return content, found, nil
}

// check canonicalizes a message only to see whether it is valid.
func (s *canon) check(l *layout, msg []byte, depth int) error {
	mark, partial := len(s.out), s.partial
	s.partial = true
	base := len(s.found)
	err := s.message(l, msg, depth-1)
	s.out, s.found, s.partial = s.out[:mark], s.found[:base], partial
	return err
}

// single appends a message with its tag.
func (s *canon) single(f *field, content []byte, depth int) error {
	base := len(s.found)
	s.out = protowire.AppendVarint(s.out, f.tag)
	if f.wire == protowire.StartGroupType {
		err := s.message(f.msg, content, depth-1)
		s.found = s.found[:base]
		s.out = protowire.AppendTag(s.out, f.num, protowire.EndGroupType)
		return err
	}
	at := s.begin()
	err := s.message(f.msg, content, depth-1)
	s.found = s.found[:base]
	s.end(at)
	return err
}

// scalar appends a value that is no message with its tag, unless it is zero and need not be there.
func (s *canon) scalar(f *field, value []byte) error {
	if f.wire == bytesType {
		if len(value) > 0 || f.presence {
			s.out = protowire.AppendBytes(protowire.AppendVarint(s.out, f.tag), value)
		}
		return nil
	}
	raw, n := consumeRaw(value, f.kind)
	if n < 0 {
		return errTruncated()
	}
	if bits := decodeBits(f.kind, raw); bits != 0 || f.presence {
		s.out = appendBits(protowire.AppendVarint(s.out, f.tag), f.kind, oneNaN(f.kind, bits))
	}
	return nil
}

// list appends the elements of a repeated field of scalars.
func (s *canon) list(f *field, from, to int) error {
	start, at := len(s.out), 0
	if f.packed {
		s.out = protowire.AppendTag(s.out, f.num, bytesType)
		at = s.begin()
	}
	for i := from; i < to; i++ {
		value := s.found[i].value
		if f.wire == bytesType {
			s.out = protowire.AppendBytes(protowire.AppendVarint(s.out, f.tag), value)
			continue
		}
		for len(value) > 0 {
			raw, n := consumeRaw(value, f.kind)
			if n < 0 {
				return errTruncated()
			}
			value = value[n:]
			if !f.packed {
				s.out = protowire.AppendVarint(s.out, f.tag)
			}
			s.out = appendBits(s.out, f.kind, oneNaN(f.kind, decodeBits(f.kind, raw)))
		}
	}
	switch {
	case !f.packed:
	case len(s.out) == at:
		s.out = s.out[:start]
	default:
		s.end(at)
	}
	return nil
}

// mapping appends the entries of a map, sorted by key; of equal keys the last one.
func (s *canon) mapping(f *field, from, to, depth int) error {
	base, top := len(s.segments), len(s.out)
	for i := from; i < to; i++ {
		if err := s.entry(f, s.found[i].value, depth-1); err != nil {
			return err
		}
	}
	s.sortEntries(base, top, f.key.kind == protoreflect.StringKind)
	return nil
}

// entry appends one entry of a map, with both its key and its value.
func (s *canon) entry(f *field, content []byte, depth int) error {
	if depth <= 0 {
		return errDepth()
	}
	key, value, err := s.splitEntry(f, content)
	if err != nil {
		return err
	}
	g := segment{start: len(s.out)}
	s.out = protowire.AppendVarint(s.out, f.tag)
	at := s.begin()
	s.out = protowire.AppendVarint(s.out, f.key.tag)
	if f.key.wire == bytesType {
		s.out = protowire.AppendBytes(s.out, key)
		g.keyStart, g.keyEnd = len(s.out)-len(key), len(s.out)
	} else {
		raw, n := consumeRaw(key, f.key.kind)
		if n < 0 {
			raw = 0
		}
		bits := decodeBits(f.key.kind, raw)
		s.out = appendBits(s.out, f.key.kind, bits)
		g.key = sortable(f.key.kind, bits)
	}
	switch {
	case f.val.msg != nil:
		err = s.single(f.val, value, depth)
	case f.val.wire == bytesType:
		s.out = protowire.AppendBytes(protowire.AppendVarint(s.out, f.val.tag), value)
	default:
		raw, n := consumeRaw(value, f.val.kind)
		if n < 0 {
			raw = 0
		}
		s.out = appendBits(protowire.AppendVarint(s.out, f.val.tag), f.val.kind, oneNaN(f.val.kind, decodeBits(f.val.kind, raw)))
	}
	moved := s.end(at)
	g.keyStart, g.keyEnd, g.end = g.keyStart+moved, g.keyEnd+moved, len(s.out)
	s.segments = append(s.segments, g)
	return err
}

// splitEntry finds the key and the value of an entry: the last ones, or the pieces of a message put together. What is
// missing is nil.
func (s *canon) splitEntry(f *field, content []byte) (key, value []byte, err error) {
	pieces := 0
	for len(content) > 0 {
		num, typ, n := protowire.ConsumeTag(content)
		if n < 0 || num > protowire.MaxValidNumber {
			return nil, nil, errTruncated()
		}
		m := protowire.ConsumeFieldValue(num, typ, content[n:])
		if m < 0 {
			return nil, nil, errTruncated()
		}
		v := content[n : n+m]
		content = content[n+m:]
		switch {
		case num == 1 && typ == f.key.wire:
			key = f.key.content(v, typ)
			if f.key.utf8 && !utf8.Valid(key) {
				return nil, nil, errUTF8(f)
			}
		case num == 2 && typ == f.val.wire:
			v = f.val.content(v, typ)
			switch {
			case f.val.utf8 && !utf8.Valid(v):
				return nil, nil, errUTF8(f)
			case f.val.msg == nil || pieces == 0:
				value = v
			case !wellFormed(v) || pieces == 1 && !wellFormed(value):
				return nil, nil, errTruncated()
			case pieces == 1:
				value = slices.Concat(value, v)
			default:
				value = append(value, v...)
			}
			pieces++
		}
	}
	return key, value, nil
}

func errDepth() error { return fmt.Errorf("%w: nested too deep", ErrInvalid) }

func errUTF8(f *field) error {
	return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, strconv.Quote(string(f.fd.FullName())))
}
