package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// render is the state of rendering one message. It first finds where the fields are, in one pass over a message, and
// then writes them in the order of the output.
type render struct {
	programs *programs
	out      []byte
	spans    []fieldSpan // of the messages being rendered, the innermost last
	entries  []mapEntry  // of the maps being rendered, the innermost last
	pieces   [][]byte    // messages put together from several pieces
	how      how
	day      int64    // the day of the last time
	date     [12]byte // its text from the quote to the T; zeros if there was none
	msg      []byte   // the message that is rendered directly
	places   []int32  // of the members of messages that are rendered directly, the innermost last
	pairs    []pair   // of the maps that are rendered directly
}

// fieldSpan is where a message holds one field.
type fieldSpan struct {
	first, stop int32 // of a repeated field: from the first tag to the end of the last value
	start, end  int32 // of the last value; the content alone of strings, bytes and messages
	count       int32
	pieces      int32 // of a message in several pieces: index of all of them together, plus one
}

// message appends a message as a JSON value.
func (s *render) message(p *program, msg []byte, depth int) error {
	if depth <= 0 {
		return errDepth()
	}
	if p.l.special != notSpecial {
		return s.wellKnown(p, msg, depth-1)
	}
	if p.direct != nil && s.how != indexed {
		return s.directly(p, msg, depth)
	}
	s.out = append(s.out, '{')
	if _, err := s.fields(p, msg, depth-1, false); err != nil {
		return err
	}
	s.out = append(s.out, '}')
	return nil
}

// fields appends the selected members of an object. comma says that there is a member already; it returns whether there
// is one afterwards.
func (s *render) fields(p *program, msg []byte, depth int, comma bool) (bool, error) {
	base := len(s.spans)
	extended, err := s.scan(p, msg, base)
	if err != nil {
		return false, err
	}
	for i := range p.outputs {
		o := &p.outputs[i]
		span := &s.spans[base+o.slot]
		mark := len(s.out)
		name := o.first
		if comma {
			name = o.next
		}
		if span.count > 0 {
			s.out = append(s.out, name...)
			written, err := s.field(o, span, msg, depth)
			if err != nil {
				return false, err
			}
			if written {
				comma = true
				continue
			}
			s.out = s.out[:mark]
		}
		if o.zero != nil {
			s.out = append(append(s.out, name...), o.zero...)
			comma = true
		}
	}
	s.spans = s.spans[:base]
	if extended {
		return s.extensions(p, msg, depth, comma)
	}
	return comma, nil
}

// scan fills the slots of p with what msg holds. It reports whether there are extensions to be rendered.
func (s *render) scan(p *program, msg []byte, base int) (extended bool, err error) {
	if len(msg) > math.MaxInt32 {
		return false, fmt.Errorf("%w: longer than 2 GiB", ErrInvalid)
	}
	s.spans = slices.Grow(s.spans, p.slots)[:base+p.slots]
	spans := s.spans[base:]
	clear(spans)
	for at := 0; at < len(msg); {
		tag, n := uint64(msg[at]), 1
		if tag >= 0x80 {
			if tag, n = binary.Uvarint(msg[at:]); n <= 0 {
				return false, errTruncated()
			}
		}
		num, typ := protowire.Number(tag>>3), protowire.Type(tag&7)
		if tag>>3 > uint64(protowire.MaxValidNumber) || num < 1 {
			return false, errTruncated()
		}
		start := at + n
		end, content, stop := valueEnd(msg, start, num, typ)
		if end < 0 {
			return false, errTruncated()
		}
		var look *lookup
		if int(num) < len(p.dense) {
			look = &p.dense[num]
		} else if look = p.far[num]; look == nil {
			look = &lookup{}
		}
		f := look.f
		if f == nil || typ != f.wire && (typ != bytesType || !f.packable) {
			if f == nil && p.whole && p.l.extensible && s.programs.types.extension(p.l.md, num) != nil {
				extended = true
			}
			at = end
			continue
		}
		if look.slot >= 0 {
			span := &spans[look.slot]
			if span.count == 0 {
				span.first = int32(at)
			} else if err := s.again(f, span, msg, msg[content:stop]); err != nil {
				return false, err
			}
			span.count++
			span.start, span.end, span.stop = int32(content), int32(stop), int32(end)
		}
		for _, slot := range look.clears {
			if err := s.replaced(p, &spans[slot], slot, msg); err != nil {
				return false, err
			}
		}
		at = end
	}
	return extended, nil
}

// valueEnd finds where the value that begins at start ends, and where its content begins and stops, which is all of the
// value but the length or the end of a group. The end is negative if the message is malformed.
func valueEnd(msg []byte, start int, num protowire.Number, typ protowire.Type) (end, content, stop int) {
	switch typ {
	case protowire.VarintType:
		if start < len(msg) && msg[start] < 0x80 {
			return start + 1, start, start + 1
		}
		_, n := protowire.ConsumeVarint(msg[start:])
		if n < 0 {
			return -1, 0, 0
		}
		return start + n, start, start + n
	case protowire.BytesType:
		if start < len(msg) && msg[start] < 0x80 {
			if end = start + 1 + int(msg[start]); end > len(msg) {
				return -1, 0, 0
			}
			return end, start + 1, end
		}
		size, n := protowire.ConsumeVarint(msg[start:])
		if n < 0 || size > uint64(len(msg)-start-n) {
			return -1, 0, 0
		}
		end = start + n + int(size)
		return end, start + n, end
	case protowire.Fixed32Type:
		end = start + 4
	case protowire.Fixed64Type:
		end = start + 8
	case protowire.StartGroupType:
		group, n := protowire.ConsumeGroup(num, msg[start:])
		if n < 0 {
			return -1, 0, 0
		}
		return start + n, start, start + len(group)
	default:
		return -1, 0, 0
	}
	if end > len(msg) {
		return -1, 0, 0
	}
	return end, start, end
}

// again notes one more occurrence of a field: a singular message has one more piece; of a singular string the one before
// is passed over, but must be valid.
func (s *render) again(f *field, span *fieldSpan, msg, content []byte) error {
	switch {
	case f.list || f.isMap:
	case f.msg != nil:
		// What is in the pieces is checked when all of them are rendered.
		if !wellFormed(msg[span.start:span.end]) || !wellFormed(content) {
			return errTruncated()
		}
		if span.pieces == 0 {
			s.pieces = append(s.pieces, slices.Clone(msg[span.start:span.end]))
			span.pieces = int32(len(s.pieces))
		}
		s.pieces[span.pieces-1] = append(s.pieces[span.pieces-1], content...)
	default:
		return s.passedOver(f, msg[span.start:span.end])
	}
	return nil
}

// replaced forgets a field whose oneof has got another member; what it held must be valid.
func (s *render) replaced(p *program, span *fieldSpan, slot int, msg []byte) error {
	if span.count == 0 {
		return nil
	}
	f := p.outputs[slices.IndexFunc(p.outputs, func(o output) bool { return o.slot == slot })].f
	if err := s.passedOver(f, s.content(span, msg)); err != nil {
		return err
	}
	*span = fieldSpan{}
	return nil
}

// valid checks a message that is not rendered on its own.
func (s *render) valid(l *layout, msg []byte) error {
	_, err := s.programs.check.append(nil, msg, l, s.programs.check.o.MaxDepth, true)
	return err
}

// content is the value of a singular field.
func (s *render) content(span *fieldSpan, msg []byte) []byte {
	if span.pieces > 0 {
		return s.pieces[span.pieces-1]
	}
	return msg[span.start:span.end]
}

// field appends the value of a field that is in msg. It reports whether there was anything to append: lists may be empty,
// and fields without presence zero.
func (s *render) field(o *output, span *fieldSpan, msg []byte, depth int) (bool, error) {
	f := o.f
	switch {
	case f.isMap:
		return true, s.mapping(o, msg[span.first:span.stop], depth)
	case f.list:
		return s.list(o, msg[span.first:span.stop], depth)
	case f.msg != nil:
		return true, s.message(o.sub, s.content(span, msg), depth)
	case f.wire == bytesType:
		content := msg[span.start:span.end]
		if len(content) == 0 && !f.presence {
			return false, nil
		}
		return true, s.text(f, content)
	}
	bits := f.bits(msg[span.start:span.end])
	if bits == 0 && !f.presence {
		return false, nil
	}
	s.scalar(f, bits)
	return true, nil
}

// bits reads a well-formed scalar.
func (f *field) bits(b []byte) uint64 {
	if len(b) == 1 {
		return decodeBits(f.kind, uint64(b[0]))
	}
	raw, n := consumeRaw(b, f.kind)
	if n < 0 {
		raw = 0
	}
	return decodeBits(f.kind, raw)
}

// list appends the elements of a repeated field, which part holds, perhaps among others.
func (s *render) list(o *output, part []byte, depth int) (bool, error) {
	f := o.f
	s.out = append(s.out, '[')
	some := false
	for at := 0; at < len(part); {
		num, typ, n := protowire.ConsumeTag(part[at:])
		start := at + n
		end, content, stop := valueEnd(part, start, num, typ)
		at = end
		switch {
		case num != f.num || typ != f.wire && (typ != bytesType || !f.packable):
			continue
		case typ != f.wire:
			var err error
			if some, err = s.packed(f, part[content:end], some); err != nil {
				return false, err
			}
			continue
		}
		if some {
			s.out = append(s.out, ',')
		}
		some = true
		if err := s.element(o, f, part[content:stop], depth); err != nil {
			return false, err
		}
	}
	s.out = append(s.out, ']')
	return some, nil
}

// element appends one value of a list or map.
func (s *render) element(o *output, f *field, content []byte, depth int) error {
	switch {
	case f.msg != nil:
		return s.message(o.sub, content, depth)
	case f.wire == bytesType:
		return s.text(f, content)
	}
	s.scalar(f, f.bits(content))
	return nil
}

// packed appends the elements of a packed field. some says that there are elements already; it returns whether there are
// any afterwards.
func (s *render) packed(f *field, content []byte, some bool) (bool, error) {
	for len(content) > 0 {
		raw, n := consumeRaw(content, f.kind)
		if n < 0 {
			return false, errTruncated()
		}
		content = content[n:]
		if some {
			s.out = append(s.out, ',')
		}
		some = true
		s.scalar(f, decodeBits(f.kind, raw))
	}
	return some, nil
}

// text appends a string or bytes.
func (s *render) text(f *field, content []byte) error {
	if f.kind == protoreflect.BytesKind {
		s.out = AppendJSONBytes(s.out, content)
		return nil
	}
	out, ok := appendValidString(s.out, content)
	if !ok {
		return errUTF8(f)
	}
	s.out = out
	return nil
}

// scalar appends a value that is neither a message nor a string nor bytes.
func (s *render) scalar(f *field, bits uint64) {
	switch f.kind {
	case protoreflect.BoolKind:
		s.out = strconv.AppendBool(s.out, bits != 0)
	case protoreflect.EnumKind:
		s.enum(f.enum, int32(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		s.out = strconv.AppendUint(s.out, bits, 10)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		if s.programs.o.NumericInt64 {
			s.out = strconv.AppendInt(s.out, int64(bits), 10)
			return
		}
		s.out = append(strconv.AppendInt(append(s.out, '"'), int64(bits), 10), '"')
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if s.programs.o.NumericInt64 {
			s.out = strconv.AppendUint(s.out, bits, 10)
			return
		}
		s.out = append(strconv.AppendUint(append(s.out, '"'), bits, 10), '"')
	case protoreflect.FloatKind:
		s.out = AppendJSONFloat(s.out, float64(math.Float32frombits(uint32(bits))), 32)
	case protoreflect.DoubleKind:
		s.out = AppendJSONFloat(s.out, math.Float64frombits(bits), 64)
	default:
		s.out = strconv.AppendInt(s.out, int64(bits), 10)
	}
}

// enum appends the name of an enum value, or its number if it has none.
func (s *render) enum(e *enum, n int32) {
	switch {
	case e.isNull:
		s.out = append(s.out, "null"...)
	case s.programs.o.NumericEnums:
		s.out = strconv.AppendInt(s.out, int64(n), 10)
	case n >= 0 && int(n) < len(e.dense):
		s.out = append(s.out, e.dense[n]...)
	default:
		if name := e.quoted[n]; name != nil {
			s.out = append(s.out, name...)
			return
		}
		s.out = strconv.AppendInt(s.out, int64(n), 10)
	}
}

// extensions appends the extensions that msg holds, in the order of their names.
func (s *render) extensions(p *program, msg []byte, depth int, comma bool) (bool, error) {
	var found []*field
	for rest := msg; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		rest = rest[n+m:]
		if p.l.index(num) >= 0 {
			continue
		}
		if f := s.programs.types.extension(p.l.md, num); f != nil && f.takes(typ) && !slices.Contains(found, f) {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *field) int { return strings.Compare(string(a.fd.FullName()), string(b.fd.FullName())) })
	for _, f := range found {
		var err error
		if comma, err = s.fields(s.programs.extension(p.l, f), msg, depth, comma); err != nil {
			return false, err
		}
	}
	return comma, nil
}
