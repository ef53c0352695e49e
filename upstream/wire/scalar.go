package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Scalars other than strings and bytes are handled as 64 bits: signed integers and enums sign-extended, floats as
// their IEEE 754 bits, those of 32 bits in the lower half.

// bitsOf returns the bits of a value of a kind.
func bitsOf(k protoreflect.Kind, v protoreflect.Value) uint64 {
	switch k {
	case protoreflect.BoolKind:
		if v.Bool() {
			return 1
		}
		return 0
	case protoreflect.EnumKind:
		return uint64(int64(v.Enum()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return v.Uint()
	case protoreflect.FloatKind:
		return uint64(math.Float32bits(float32(v.Float())))
	case protoreflect.DoubleKind:
		return math.Float64bits(v.Float())
	default:
		return uint64(v.Int())
	}
}

// appendBits appends a scalar without its tag.
func appendBits(dst []byte, k protoreflect.Kind, bits uint64) []byte {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.AppendFixed32(dst, uint32(bits))
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.AppendFixed64(dst, bits)
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(int64(bits)))
	default:
		return protowire.AppendVarint(dst, bits)
	}
}

// oneNaN replaces every NaN by the one that JSON's "NaN" stands for; other values stay as they are.
func oneNaN(k protoreflect.Kind, bits uint64) uint64 {
	switch {
	case k == protoreflect.FloatKind && bits&0x7fff_ffff > 0x7f80_0000:
		return uint64(math.Float32bits(float32(math.NaN())))
	case k == protoreflect.DoubleKind && bits&(1<<63-1) > 0x7ff<<52:
		return math.Float64bits(math.NaN())
	}
	return bits
}

// decodeBits turns what stands on the wire for a scalar into its bits: varints are cut to the kind's width.
func decodeBits(k protoreflect.Kind, raw uint64) uint64 {
	switch k {
	case protoreflect.BoolKind:
		if raw != 0 {
			return 1
		}
		return 0
	case protoreflect.Int32Kind, protoreflect.EnumKind, protoreflect.Sfixed32Kind:
		return uint64(int64(int32(raw)))
	case protoreflect.Sint32Kind:
		return uint64(protowire.DecodeZigZag(raw & math.MaxUint32))
	case protoreflect.Sint64Kind:
		return uint64(protowire.DecodeZigZag(raw))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.FloatKind:
		return raw & math.MaxUint32
	default:
		return raw
	}
}

// consumeRaw reads a scalar of a kind that is neither string nor bytes. The length is negative if b is truncated.
func consumeRaw(b []byte, k protoreflect.Kind) (raw uint64, n int) {
	switch wireType(k) {
	case protowire.Fixed32Type:
		v, n := protowire.ConsumeFixed32(b)
		return uint64(v), n
	case protowire.Fixed64Type:
		return protowire.ConsumeFixed64(b)
	default:
		return protowire.ConsumeVarint(b)
	}
}

// wireType is how values of a kind are encoded when they are not packed.
func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	default:
		return protowire.VarintType
	}
}
