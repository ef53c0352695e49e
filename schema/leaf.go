package schema

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// leaf appends one value of a field as a scalar or an enum value. It reports null instead of appending where the value
// stands for none. The zero Value is the default of a field without presence.
type leaf func(dst []byte, v wire.Value) (out []byte, null bool, err error)

// leafFor compiles the rendering of a field's value as a scalar. The two must fit.
func leafFor(scalar string, fd protoreflect.FieldDescriptor, o wire.RenderOptions) (leaf, error) {
	if inner := wrapped(fd); inner != nil && scalar != scalarJSON {
		return wrapperLeaf(scalar, inner, o)
	}
	c := classify(fd)
	switch c {
	case classTimestamp, classDuration, classFieldMask, classDynamic, classMessage:
		of, err := messageLeaf(fd.Message(), o)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, v wire.Value) ([]byte, bool, error) { return of(dst, v.Raw()) }, nil
	case classBool:
		return boolLeaf, nil
	case classBytes:
		return bytesLeaf, nil
	case classString:
		return stringLeaf, nil
	case classFloat:
		return floatLeaf(fd.Kind() == protoreflect.FloatKind, scalar), nil
	case classEnum:
		return enumNumberLeaf(fd.Enum()), nil
	case classUint32, classUint64:
		return uintLeaf(scalar), nil
	default:
		return intLeaf(scalar), nil
	}
}

func boolLeaf(dst []byte, v wire.Value) ([]byte, bool, error) {
	return strconv.AppendBool(dst, v.Bits() != 0), false, nil
}

func bytesLeaf(dst []byte, v wire.Value) ([]byte, bool, error) {
	return wire.AppendJSONBytes(dst, v.Raw()), false, nil
}

func stringLeaf(dst []byte, v wire.Value) ([]byte, bool, error) {
	return wire.AppendJSONString(dst, v.Raw()), false, nil
}

// intLeaf writes signed integers: numbers as Int, Float and JSON, texts as everything else.
func intLeaf(scalar string) leaf {
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		n := int64(v.Bits())
		switch scalar {
		case "Int", "Float", scalarJSON:
			return strconv.AppendInt(dst, n, 10), false, nil
		default:
			return append(strconv.AppendInt(append(dst, '"'), n, 10), '"'), false, nil
		}
	}
}

func uintLeaf(scalar string) leaf {
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		n := v.Bits()
		switch scalar {
		case "Int":
			if n > math.MaxInt32 {
				return dst, false, fmt.Errorf("Int cannot hold %d", n) //nolint:staticcheck // Int is a type's name
			}
			return strconv.AppendUint(dst, n, 10), false, nil
		case "Float", scalarJSON:
			return strconv.AppendUint(dst, n, 10), false, nil
		default:
			return append(strconv.AppendUint(append(dst, '"'), n, 10), '"'), false, nil
		}
	}
}

func floatLeaf(single bool, scalar string) leaf {
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		bits := 64
		f := math.Float64frombits(v.Bits())
		if single {
			bits = 32
			f = float64(math.Float32frombits(uint32(v.Bits())))
		}
		special := math.IsNaN(f) || math.IsInf(f, 0)
		switch {
		case scalar == "String" && !special:
			return append(wire.AppendJSONFloat(append(dst, '"'), f, bits), '"'), false, nil
		case special && scalar != "String":
			return dst, false, fmt.Errorf("%s cannot hold %v", scalar, f)
		default:
			return wire.AppendJSONFloat(dst, f, bits), false, nil
		}
	}
}

// enumNumberLeaf writes the full name of an enum's value, for JSON.
func enumNumberLeaf(ed protoreflect.EnumDescriptor) leaf {
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		n := protoreflect.EnumNumber(int32(v.Bits()))
		if value := ed.Values().ByNumber(n); value != nil {
			return wire.AppendJSONString(dst, []byte(value.Name())), false, nil
		}
		return strconv.AppendInt(dst, int64(n), 10), false, nil
	}
}

// rawLeaf appends a message as a scalar.
type rawLeaf func(dst, msg []byte) (out []byte, null bool, err error)

// messageLeaf writes a message as protobuf's JSON.
func messageLeaf(md protoreflect.MessageDescriptor, o wire.RenderOptions) (rawLeaf, error) {
	r, err := wire.NewRenderer(md, nil, o)
	if err != nil {
		return nil, err
	}
	return func(dst, msg []byte) ([]byte, bool, error) {
		start := len(dst)
		out, err := r.Append(dst, msg)
		return out, err == nil && string(out[start:]) == "null", err
	}, nil
}

// wrapperLeaf writes the value in a wrapper such as google.protobuf.Int64Value.
func wrapperLeaf(scalar string, inner protoreflect.FieldDescriptor, o wire.RenderOptions) (leaf, error) {
	of, err := leafFor(scalar, inner, o)
	if err != nil {
		return nil, err
	}
	path, err := wire.NewPath(inner.ContainingMessage(), string(inner.Name()))
	if err != nil {
		return nil, err
	}
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		value, _ := path.First(v.Raw())
		return of(dst, value)
	}, nil
}

// errNoEnumValue says that a service has sent a number that the GraphQL enum has no value for.
var errNoEnumValue = errors.New("the enum has no value for the number")

// enumLeaf compiles the rendering of an enum: value names by number, null where the enum says UNSPECIFIED and GraphQL
// has no value for it.
func (b *binder) enumLeaf(def *ast.Definition, ed protoreflect.EnumDescriptor) leaf {
	names := map[protoreflect.EnumNumber][]byte{}
	for _, v := range def.EnumValues {
		if value := b.enumValue(v, ed); value != nil {
			if _, taken := names[value.Number()]; !taken {
				names[value.Number()] = wire.AppendJSONString(nil, []byte(v.Name))
			}
		}
	}
	unspecified := ed.Values().ByNumber(0) != nil && isUnspecified(ed)
	return func(dst []byte, v wire.Value) ([]byte, bool, error) {
		n := protoreflect.EnumNumber(int32(v.Bits()))
		name, ok := names[n]
		switch {
		case ok:
			return append(dst, name...), false, nil
		case n == 0 && unspecified:
			return dst, true, nil
		default:
			return dst, false, fmt.Errorf("%s %d: %w", def.Name, n, errNoEnumValue)
		}
	}
}

// isUnspecified reports whether the enum's zero says that nothing is stated.
func isUnspecified(ed protoreflect.EnumDescriptor) bool {
	zero := ed.Values().ByNumber(0)
	if zero == nil {
		return false
	}
	switch string(zero.Name()) {
	case enumPrefix(ed) + "UNSPECIFIED", "UNSPECIFIED", enumPrefix(ed) + "UNKNOWN_UNSPECIFIED":
		return true
	default:
		return false
	}
}
