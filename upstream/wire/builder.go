package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Builder makes messages of one type out of texts, JSON and raw values. It is immutable and safe for concurrent use;
// the messages it makes are not.
type Builder struct {
	md     protoreflect.MessageDescriptor
	o      ParseOptions
	parser *Parser
}

// Slot is a field to which a [Message] can assign, compiled from its path. It belongs to the [Builder] that made it. It
// is immutable and safe for concurrent use.
type Slot struct {
	path   string
	fields []protoreflect.FieldDescriptor
	end    *field
}

// NewBuilder makes a builder of messages of the type md.
func NewBuilder(md protoreflect.MessageDescriptor, o ParseOptions) *Builder {
	o = o.withDefaults()
	t := newTypes(o.Resolver)
	return &Builder{md: md, o: o, parser: newParser(t, t.layout(md), o)}
}

// Slot compiles a path of field names separated by dots, each a proto name or a JSON name. All but the last must be
// singular messages.
func (b *Builder) Slot(path string) (*Slot, error) {
	fields, err := resolvePath(b.md, path)
	if err != nil {
		return nil, err
	}
	return &Slot{path: path, fields: fields, end: b.parser.types.field(fields[len(fields)-1])}, nil
}

// Field is the field at the end of the slot's path.
func (s *Slot) Field() protoreflect.FieldDescriptor { return s.fields[len(s.fields)-1] }

// New starts a message.
func (b *Builder) New() *Message { return &Message{b: b, m: dynamicpb.NewMessage(b.md)} }

// Message is a message being built. It is not safe for concurrent use.
type Message struct {
	b *Builder
	m *dynamicpb.Message
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

// parent finds the message in which s assigns, and refuses a second member of a oneof.
func (m *Message) parent(s *Slot) (protoreflect.Message, error) {
	at := m.m.ProtoReflect()
	for i, fd := range s.fields {
		if od := fd.ContainingOneof(); od != nil {
			if set := at.WhichOneof(od); set != nil && set != fd {
				return nil, &ValueError{Field: s.path, Found: fmt.Sprintf("%s is already set, and only one of %s can be", set.JSONName(), od.Name())}
			}
		}
		if i < len(s.fields)-1 {
			at = at.Mutable(fd).Message()
		}
	}
	return at, nil
}

// SetText assigns a text from a URL, a topic or a header to a field as google.api.http demands. A repeated field gets
// one element more; a singular one that is already set is an error. Messages have a text form if their JSON form is a
// scalar: Timestamp, Duration, FieldMask and the wrappers. The error is a [*ValueError].
func (m *Message) SetText(s *Slot, text string) error {
	at, err := m.parent(s)
	if err != nil {
		return err
	}
	fd := s.Field()
	if fd.IsMap() {
		return &ValueError{Field: s.path, Found: "a map has no text form"}
	}
	if !fd.IsList() && at.Has(fd) {
		return &ValueError{Field: s.path, Found: "given more than once"}
	}
	v, wrong := textValue(at, fd, text)
	if wrong != nil {
		wrong.Field = s.path
		return wrong
	}
	if fd.IsList() {
		at.Mutable(fd).List().Append(v)
		return nil
	}
	at.Set(fd, v)
	return nil
}

// SetJSON assigns a JSON value to a field, of any type, replacing what it has. null assigns nothing. The error is a
// [*SyntaxError] whose pointer is relative to the value, or a [*ValueError].
func (m *Message) SetJSON(s *Slot, json []byte) error {
	at, err := m.parent(s)
	if err != nil {
		return err
	}
	wire, err := m.b.parser.field(nil, json, s.end)
	if err != nil {
		return err
	}
	at.Clear(s.Field())
	return m.mergeInto(at, wire)
}

// SetRaw assigns a value in the form of [Value.Raw] to a field. A repeated field gets one element more.
func (m *Message) SetRaw(s *Slot, raw []byte) error {
	at, err := m.parent(s)
	if err != nil {
		return err
	}
	fd := s.Field()
	out := protowire.AppendTag(nil, fd.Number(), wireType(fd.Kind()))
	switch wireType(fd.Kind()) {
	case bytesType:
		out = protowire.AppendBytes(out, raw)
	case protowire.StartGroupType:
		out = protowire.AppendTag(append(out, raw...), fd.Number(), protowire.EndGroupType)
	default:
		out = append(out, raw...)
	}
	return m.mergeInto(at, out)
}

// SetValue assigns a value that was read from another message, whose field may have another type, as long as the
// value's text fits. A repeated field gets one element more.
func (m *Message) SetValue(s *Slot, v Value) error {
	if !v.IsValid() {
		return nil
	}
	from, to := v.fd, s.Field()
	if from.Kind() == to.Kind() && sameType(from, to) {
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

// Merge merges a message in wire format into m.
func (m *Message) Merge(wire []byte) error { return m.mergeInto(m.m.ProtoReflect(), wire) }

func (m *Message) mergeInto(at protoreflect.Message, wire []byte) error {
	o := proto.UnmarshalOptions{Merge: true, AllowPartial: true, Resolver: m.b.o.Resolver, DiscardUnknown: true, RecursionLimit: m.b.o.MaxDepth}
	if err := o.Unmarshal(wire, at.Interface()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// Append appends the canonical encoding of m. A missing required field is an error.
func (m *Message) Append(dst []byte) ([]byte, error) {
	if err := proto.CheckInitialized(m.m); err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return appendMessage(dst, m.m.ProtoReflect())
}
