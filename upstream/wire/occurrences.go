package wire

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const bytesType = protowire.BytesType

func errTruncated() error { return fmt.Errorf("%w: truncated or malformed", ErrInvalid) }

// wellFormed reports whether msg is a sequence of whole fields. It does not look into them.
func wellFormed(msg []byte) bool {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 || num > protowire.MaxValidNumber {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return false
		}
		msg = msg[n+m:]
	}
	return true
}

// step is one field that is looked for in a message.
type step struct {
	fd       protoreflect.FieldDescriptor
	num      protowire.Number
	wire     protowire.Type
	packable bool
	siblings []protowire.Number // the other members of its oneof, of any of which a later occurrence clears it
}

func newStep(fd protoreflect.FieldDescriptor) step {
	s := step{fd: fd, num: fd.Number(), wire: wireType(fd.Kind())}
	if fd.IsMap() || fd.IsList() {
		s.packable = fd.IsList() && s.wire != bytesType && s.wire != protowire.StartGroupType
	}
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		for i := range od.Fields().Len() {
			if n := od.Fields().Get(i).Number(); n != s.num {
				s.siblings = append(s.siblings, n)
			}
		}
	}
	return s
}

// value cuts the value out of b, which begins after the tag. The length is negative if b is malformed.
func (s *step) value(b []byte) (Value, int) {
	switch s.wire {
	case bytesType:
		v, n := protowire.ConsumeBytes(b)
		return Value{fd: s.fd, raw: v}, n
	case protowire.StartGroupType:
		v, n := protowire.ConsumeGroup(s.num, b)
		return Value{fd: s.fd, raw: v}, n
	default:
		raw, n := consumeRaw(b, s.fd.Kind())
		if n < 0 {
			return Value{}, n
		}
		return Value{fd: s.fd, bits: decodeBits(s.fd.Kind(), raw)}, n
	}
}

// clears reports whether an occurrence of field num replaces what was found before. With another wire type than that
// member of the oneof has, it is an unknown field.
func (s *step) clears(num protowire.Number, typ protowire.Type) bool {
	return slices.Contains(s.siblings, num) && wireType(s.fd.ContainingOneof().Fields().ByNumber(num).Kind()) == typ
}

// packed calls yield for each value in a packed field's content.
func (s *step) packed(b []byte, yield func(Value) bool) (more, ok bool) {
	for len(b) > 0 {
		raw, n := consumeRaw(b, s.fd.Kind())
		if n < 0 {
			return false, false
		}
		if !yield(Value{fd: s.fd, bits: decodeBits(s.fd.Kind(), raw)}) {
			return false, true
		}
		b = b[n:]
	}
	return true, true
}

// each calls yield for every occurrence in msg, in order, those of packed fields one by one. It reports false if msg is
// malformed.
func (s *step) each(msg []byte, yield func(Value) bool) bool {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return false
		}
		rest := msg[n:]
		switch {
		case num == s.num && typ == s.wire:
			v, m := s.value(rest)
			if m < 0 {
				return false
			}
			if !yield(v) {
				return true
			}
			msg = rest[m:]
			continue
		case num == s.num && s.packable && typ == bytesType:
			content, m := protowire.ConsumeBytes(rest)
			if m < 0 {
				return false
			}
			if more, ok := s.packed(content, yield); !ok || !more {
				return ok
			}
			msg = rest[m:]
			continue
		}
		m := protowire.ConsumeFieldValue(num, typ, rest)
		if m < 0 {
			return false
		}
		msg = rest[m:]
	}
	return true
}

// last finds the value of a singular field: the last occurrence, or all pieces of a message put together.
func (s *step) last(msg []byte) (v Value, found, ok bool) {
	merged := false
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return Value{}, false, false
		}
		rest := msg[n:]
		if num != s.num || typ != s.wire {
			m := protowire.ConsumeFieldValue(num, typ, rest)
			if m < 0 {
				return Value{}, false, false
			}
			if len(s.siblings) > 0 && s.clears(num, typ) {
				v, found, merged = Value{}, false, false
			}
			msg = rest[m:]
			continue
		}
		next, m := s.value(rest)
		if m < 0 {
			return Value{}, false, false
		}
		if found && s.fd.Message() != nil {
			if !merged {
				v.raw = append(make([]byte, 0, len(v.raw)+len(next.raw)), v.raw...)
				merged = true
			}
			next.raw = append(v.raw, next.raw...)
		}
		v, found = next, true
		msg = rest[m:]
	}
	return v, found, true
}
