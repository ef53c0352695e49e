package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Builder makes messages of one type out of texts, JSON and raw values. It is immutable and safe for concurrent use;
// the messages it makes are not.
type Builder struct {
	md        protoreflect.MessageDescriptor
	parser    *Parser
	canonical *Canonicalizer
}

// Slot is a field to which a [Message] can assign, compiled from its path. It belongs to the [Builder] that made it. It
// is immutable and safe for concurrent use.
type Slot struct {
	path   string
	fields []*field
}

// NewBuilder makes a builder of messages of the type md.
func NewBuilder(md protoreflect.MessageDescriptor, o ParseOptions) *Builder {
	o = o.withDefaults()
	t := newTypes(o.Resolver)
	root := t.layout(md)
	return &Builder{md: md, parser: newParser(t, root, o), canonical: newCanonicalizer(t, root, o)}
}

// Slot compiles a path of field names separated by dots, each a proto name or a JSON name. All but the last must be
// singular messages. The error is a [*PathError].
func (b *Builder) Slot(path string) (*Slot, error) {
	fds, err := resolvePath(b.md, path)
	if err != nil {
		return nil, err
	}
	s := &Slot{path: path}
	for _, fd := range fds {
		s.fields = append(s.fields, b.parser.types.field(fd))
	}
	return s, nil
}

// Field is the field at the end of the slot's path.
func (s *Slot) Field() protoreflect.FieldDescriptor { return s.end().fd }

func (s *Slot) end() *field { return s.fields[len(s.fields)-1] }

// New starts a message.
func (b *Builder) New() *Message { return &Message{b: b} }

// Message is a message being built. It is not safe for concurrent use.
//
// Of two texts or raw values for the same singular field, or for two members of a oneof, the second is an error. What
// is assigned replaces what [Message.Merge] or [Message.SetJSON] has brought.
type Message struct {
	b     *Builder
	w     writer  // pieces of the message, to be merged
	set   []*Slot // assigned by text or raw value
	loose bool    // pieces have come whole, with fields unknown here
}

// ValueError says why a text or value does not fit a field. Its text is meant for whoever sent it.
type ValueError struct {
	// Field is the path of the field.
	Field string
	// Expected says what would fit; may be empty.
	Expected string
	// Found says what is wrong.
	Found string
	// Nearest is the nearest known name; may be empty.
	Nearest string
}

// Error tells all of it.
func (e *ValueError) Error() string {
	s := e.Field + ": " + e.Found
	if e.Expected != "" {
		s += ", expected " + e.Expected
	}
	if e.Nearest != "" {
		s += fmt.Sprintf(", did you mean %q?", e.Nearest)
	}
	return s
}

// SetText assigns a text from a URL, a topic or a header to a field as google.api.http demands. A repeated field gets
// one element more. Messages have a text form if their JSON form is a scalar: Timestamp, Duration, FieldMask and the
// wrappers. The error is a [*ValueError].
func (m *Message) SetText(s *Slot, text string) error {
	if s.end().isMap {
		return &ValueError{Field: s.path, Found: "a map has no text form"}
	}
	again, err := m.claim(s)
	if err != nil {
		return err
	}
	mark := len(m.w.out)
	var wrong *ValueError
	m.wrap(s, func() {
		m.w.out = protowire.AppendVarint(m.w.out, s.end().tag)
		wrong = m.w.textValue(s.end(), text)
	})
	if wrong != nil {
		m.w.out = m.w.out[:mark]
		wrong.Field = s.path
		return wrong
	}
	if !again {
		m.set = append(m.set, s)
	}
	return nil
}

// SetJSON assigns a JSON value to a field of any type, replacing what it has. null assigns nothing. The error is a
// [*SyntaxError] whose pointer is relative to the value.
func (m *Message) SetJSON(s *Slot, json []byte) error {
	value, present, err := m.b.parser.field(nil, json, s.end(), m.b.parser.o.MaxDepth)
	if err != nil {
		return err
	}
	m.w.out = without(m.w.out, s.fields)
	m.loose = true
	if present {
		m.wrap(s, func() { m.w.out = append(m.w.out, value...) })
	}
	return nil
}

// SetRaw assigns a value in the form of [Value.Raw] to a field. A repeated field gets one element more.
func (m *Message) SetRaw(s *Slot, raw []byte) error {
	f := s.end()
	if _, n := consumeRaw(raw, f.kind); f.wire != bytesType && f.msg == nil && n != len(raw) {
		return &ValueError{Field: s.path, Found: fmt.Sprintf("%d bytes", len(raw)), Expected: "one " + f.kind.String()}
	}
	again, err := m.claim(s)
	if err != nil {
		return err
	}
	if !again {
		m.set = append(m.set, s)
	}
	m.wrap(s, func() {
		m.w.out = protowire.AppendVarint(m.w.out, f.tag)
		switch f.wire {
		case bytesType:
			m.w.out = protowire.AppendBytes(m.w.out, raw)
		case protowire.StartGroupType:
			m.w.out = protowire.AppendTag(append(m.w.out, raw...), f.num, protowire.EndGroupType)
		default:
			m.w.out = append(m.w.out, raw...)
		}
	})
	return nil
}

// SetValue assigns a value that was read from another message, whose field may have another type, as long as the
// value's text fits. A repeated field gets one element more. A Value that is none assigns nothing.
func (m *Message) SetValue(s *Slot, v Value) error {
	if !v.IsValid() {
		return nil
	}
	if from, to := v.fd, s.Field(); from.Kind() == to.Kind() && sameType(from, to) {
		return m.SetRaw(s, v.Raw())
	}
	return m.SetText(s, v.String())
}

func sameType(a, b protoreflect.FieldDescriptor) bool {
	switch {
	case a.Message() != nil:
		return b.Message() != nil && a.Message().FullName() == b.Message().FullName()
	case a.Enum() != nil:
		return b.Enum() != nil && a.Enum().FullName() == b.Enum().FullName()
	}
	return true
}

// Merge merges a message in wire format into m. If it is malformed, [Message.Append] says so.
func (m *Message) Merge(wire []byte) error {
	m.w.out = append(m.w.out, wire...)
	m.loose = true
	return nil
}

// Append appends the canonical encoding of m. A missing required field is an error that wraps [ErrInvalid].
func (m *Message) Append(dst []byte) ([]byte, error) { return m.b.canonical.Append(dst, m.w.out) }

// claim refuses a second value for a singular field and a second member of a oneof, and removes what has come whole. It
// reports whether the field, a repeated one, has been assigned to before.
func (m *Message) claim(s *Slot) (again bool, err error) {
	for _, other := range m.set {
		if other == s || sameFields(other.fields, s.fields) {
			if !s.end().list {
				return false, &ValueError{Field: s.path, Found: "a second value", Expected: "one"}
			}
			again = true
			continue
		}
		if a, b := rivals(other.fields, s.fields); a != nil {
			return false, &ValueError{Field: s.path, Found: fmt.Sprintf("%s is set too, and only one of %s may be",
				other.path, b.fd.ContainingOneof().Name())}
		}
	}
	if m.loose && !again {
		m.w.out = without(m.w.out, s.fields)
	}
	return again, nil
}

func sameFields(a, b []*field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].fd != b[i].fd {
			return false
		}
	}
	return true
}

// rivals finds two members of one oneof at the same place of two paths.
func rivals(a, b []*field) (x, y *field) {
	for i := range min(len(a), len(b)) {
		if a[i].fd == b[i].fd {
			continue
		}
		if a[i].oneof != 0 && a[i].oneof == b[i].oneof {
			return a[i], b[i]
		}
		return nil, nil
	}
	return nil, nil
}

// wrap appends the messages around the end of a slot's path; inner appends the end.
func (m *Message) wrap(s *Slot, inner func()) { m.nest(s.fields[:len(s.fields)-1], inner) }

func (m *Message) nest(around []*field, inner func()) {
	if len(around) == 0 {
		inner()
		return
	}
	f := around[0]
	m.w.out = protowire.AppendVarint(m.w.out, f.tag)
	if f.wire == protowire.StartGroupType {
		m.nest(around[1:], inner)
		m.w.out = protowire.AppendTag(m.w.out, f.num, protowire.EndGroupType)
		return
	}
	at := m.w.begin()
	m.nest(around[1:], inner)
	m.w.end(at)
}

// without returns msg less the field at the end of a path. What is malformed is kept, for Append to find.
func without(msg []byte, path []*field) []byte {
	out := make([]byte, 0, len(msg))
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return append(out, msg...)
		}
		size := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if size < 0 {
			return append(out, msg...)
		}
		value := msg[n : n+size]
		switch f := path[0]; {
		case num != f.num || !f.takes(typ):
			out = append(out, msg[:n+size]...)
		case len(path) == 1:
		case typ == protowire.StartGroupType:
			out = append(append(out, msg[:n]...), without(f.content(value, typ), path[1:])...)
			out = protowire.AppendTag(out, num, protowire.EndGroupType)
		default:
			out = protowire.AppendBytes(append(out, msg[:n]...), without(f.content(value, typ), path[1:]))
		}
		msg = msg[n+size:]
	}
	return out
}
