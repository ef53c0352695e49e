package wire

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Table finds several fields of a message in one pass over its bytes. It is immutable and safe for concurrent use.
type Table struct {
	steps []step
	dense []int16 // by field number: index into steps, or -1
	far   map[protowire.Number]int
}

// maxDense bounds the field numbers that are looked up in a slice.
const maxDense = 256

// NewTable compiles a table of fields of md, with one slot for each in the given order. A field may be given only once.
func NewTable(md protoreflect.MessageDescriptor, fields []protoreflect.FieldDescriptor) *Table {
	t := &Table{steps: make([]step, len(fields))}
	size := 0
	for i := range md.Fields().Len() {
		if n := int(md.Fields().Get(i).Number()); n < maxDense {
			size = max(size, n+1)
		}
	}
	t.dense = make([]int16, size)
	for i := range t.dense {
		t.dense[i] = -1
	}
	for i, fd := range fields {
		t.steps[i] = newStep(fd)
		t.put(fd.Number(), i)
	}
	return t
}

func (t *Table) put(num protowire.Number, slot int) {
	if int(num) < len(t.dense) {
		t.dense[num] = int16(slot)
		return
	}
	if t.far == nil {
		t.far = map[protowire.Number]int{}
	}
	t.far[num] = slot
}

// slot is the slot of a field number, or -1.
func (t *Table) slot(num protowire.Number) int {
	if int(num) < len(t.dense) {
		return int(t.dense[num])
	}
	if s, ok := t.far[num]; ok {
		return s
	}
	return -1
}

// Len is the number of slots.
func (t *Table) Len() int { return len(t.steps) }

// Span is all that a message holds of one field. It refers to the message's bytes. The zero Span is an absent field.
type Span struct {
	step *step
	// part is the message from the first occurrence's tag to the end of the last one.
	part  []byte
	start int
	count int
	last  Value
}

// Scan fills slots, which must have [Table.Len] elements, with what msg holds of each field. A malformed message is an
// error that wraps [ErrInvalid]. Only a message field in several pieces allocates.
func (t *Table) Scan(msg []byte, slots []Span) error {
	clear(slots)
	for at := 0; at < len(msg); {
		num, typ, n := protowire.ConsumeTag(msg[at:])
		if n < 0 || num > protowire.MaxValidNumber {
			return errTruncated()
		}
		rest := msg[at+n:]
		i := t.slot(num)
		if i < 0 || (typ != t.steps[i].wire && (typ != bytesType || !t.steps[i].packable)) {
			m := protowire.ConsumeFieldValue(num, typ, rest)
			if m < 0 {
				return errTruncated()
			}
			at += n + m
			continue
		}
		s, span := &t.steps[i], &slots[i]
		var m int
		if typ == s.wire {
			var v Value
			if v, m = s.value(rest); m >= 0 {
				span.keep(s, v)
			}
		} else {
			m = protowire.ConsumeFieldValue(num, typ, rest)
		}
		if m < 0 {
			return errTruncated()
		}
		if span.count == 0 {
			span.step, span.start = s, at
		}
		span.count++
		at += n + m
		span.part = msg[span.start:at]
		for _, sibling := range s.siblings {
			if j := t.slot(sibling); j >= 0 {
				slots[j] = Span{}
			}
		}
	}
	return nil
}

// keep records an occurrence.
func (s *Span) keep(st *step, v Value) {
	if s.count > 0 && st.fd.Message() != nil && st.fd.Cardinality() != protoreflect.Repeated {
		if s.count == 1 {
			s.last.raw = slices.Clone(s.last.raw)
		}
		v.raw = append(s.last.raw, v.raw...)
	}
	s.last = v
}

// Present reports whether the field is on the wire at all. A repeated field may be present and yet have no element, if
// it is packed.
func (s *Span) Present() bool { return s.count > 0 }

// Value is the value of a singular field, the last one if there are several, merged if it is a message.
func (s *Span) Value() Value { return s.last }

// Each calls yield for each element of a repeated field, or for each entry of a map as it stands on the wire (a message
// with the fields 1 and 2; of equal keys the last one counts), until it returns false.
func (s *Span) Each(yield func(Value) bool) {
	if s.count > 0 {
		s.step.each(s.part, yield)
	}
}
