package wire

import (
	"encoding/base64"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Value is one value of a field, as it stands in a message. It refers to the message's bytes. The zero Value is none.
type Value struct {
	fd   protoreflect.FieldDescriptor
	raw  []byte
	bits uint64 // of scalars other than strings and bytes
}

// IsValid reports whether there is a value at all.
func (v Value) IsValid() bool { return v.fd != nil }

// Field is the field that holds the value.
func (v Value) Field() protoreflect.FieldDescriptor { return v.fd }

// Raw is the value as it stands on the wire, without its tag: the content, without its length, of a string, bytes or
// message; otherwise the shortest varint, or four or eight bytes. Equal values have equal bytes.
func (v Value) Raw() []byte {
	if v.fd == nil || v.raw != nil {
		return v.raw
	}
	if wireType(v.fd.Kind()) == bytesType || v.fd.Kind() == protoreflect.GroupKind {
		return []byte{}
	}
	return appendBits(nil, v.fd.Kind(), v.bits)
}

// AppendRaw appends what Raw returns.
func (v Value) AppendRaw(dst []byte) []byte {
	if v.fd == nil || v.raw != nil || wireType(v.fd.Kind()) == bytesType || v.fd.Kind() == protoreflect.GroupKind {
		return append(dst, v.raw...)
	}
	return appendBits(dst, v.fd.Kind(), v.bits)
}

// AppendText appends the value as it stands in URLs and templates: strings as they are, numbers in decimal, enums by
// name, bytes in base64url, Timestamp, Duration, FieldMask and wrappers as in JSON but without quotes. Other messages,
// and those that have no valid JSON form, are written as nothing.
func (v Value) AppendText(dst []byte) []byte {
	if v.fd == nil {
		return dst
	}
	switch k := v.fd.Kind(); k {
	case protoreflect.StringKind:
		return append(dst, v.raw...)
	case protoreflect.BytesKind:
		return base64.URLEncoding.AppendEncode(dst, v.raw)
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.bits != 0)
	case protoreflect.EnumKind:
		if e := v.fd.Enum().Values().ByNumber(protoreflect.EnumNumber(int32(v.bits))); e != nil {
			return append(dst, e.Name()...)
		}
		return strconv.AppendInt(dst, int64(v.bits), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.bits, 10)
	case protoreflect.FloatKind:
		return appendFloatText(dst, float64(math.Float32frombits(uint32(v.bits))), 32)
	case protoreflect.DoubleKind:
		return appendFloatText(dst, math.Float64frombits(v.bits), 64)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return v.appendMessageText(dst)
	default:
		return strconv.AppendInt(dst, int64(v.bits), 10)
	}
}

func appendFloatText(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		quoted := AppendJSONFloat(nil, f, bits)
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	return AppendJSONFloat(dst, f, bits)
}

// appendMessageText appends the JSON form of a well-known type without its quotes.
func (v Value) appendMessageText(dst []byte) []byte {
	md := v.fd.Message()
	member := func(num protowire.Number) Value {
		s := newStep(md.Fields().ByNumber(num))
		found, _, _ := s.last(v.raw)
		found.fd = s.fd // of a missing one too: it is zero
		return found
	}
	var (
		s   render
		err error
	)
	switch specialOf(md) {
	case specialWrapper:
		return member(1).AppendText(dst)
	case specialTimestamp:
		err = s.timestamp(int64(member(secondsField).bits), int32(member(nanosField).bits))
	case specialDuration:
		err = s.duration(int64(member(secondsField).bits), int32(member(nanosField).bits))
	case specialFieldMask:
		paths := newStep(md.Fields().ByNumber(pathsField))
		if !paths.each(v.raw, func(Value) bool { return true }) { // malformed
			return dst
		}
		err = s.fieldMask(v.raw)
	default:
		return dst
	}
	if err != nil {
		return dst
	}
	return append(dst, s.out[1:len(s.out)-1]...)
}

// String is the text of [Value.AppendText].
func (v Value) String() string { return string(v.AppendText(nil)) }

// Interface returns the value as bool, int32, int64, uint32, uint64, float32, float64, string, []byte,
// protoreflect.EnumNumber, or the bytes of a message; nil if there is none.
func (v Value) Interface() any {
	if v.fd == nil {
		return nil
	}
	switch v.fd.Kind() {
	case protoreflect.BoolKind:
		return v.bits != 0
	case protoreflect.EnumKind:
		return protoreflect.EnumNumber(int32(v.bits))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return int32(v.bits)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return uint32(v.bits)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return int64(v.bits)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return v.bits
	case protoreflect.FloatKind:
		return math.Float32frombits(uint32(v.bits))
	case protoreflect.DoubleKind:
		return math.Float64frombits(v.bits)
	case protoreflect.StringKind:
		return string(v.raw)
	default:
		return v.raw
	}
}

// Bits is a scalar other than a string or bytes in 64 bits: signed integers and enums sign-extended, floats as their
// IEEE 754 bits, those of 32 bits in the lower half.
func (v Value) Bits() uint64 { return v.bits }
