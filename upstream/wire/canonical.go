package wire

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Canonicalizer turns any encoding of messages of one type into the canonical one. It is immutable and safe for
// concurrent use.
type Canonicalizer struct {
	md protoreflect.MessageDescriptor
	o  ParseOptions
}

// NewCanonicalizer compiles a canonicalizer for md.
func NewCanonicalizer(md protoreflect.MessageDescriptor, o ParseOptions) (*Canonicalizer, error) {
	return &Canonicalizer{md: md, o: o.withDefaults()}, nil
}

// Append appends the canonical encoding of msg to dst. If msg is no valid message, or lacks a required field, the
// error wraps [ErrInvalid].
func (c *Canonicalizer) Append(dst, msg []byte) ([]byte, error) {
	if len(msg) > c.o.MaxBytes {
		return dst, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, c.o.MaxBytes)
	}
	m := dynamicpb.NewMessage(c.md)
	err := proto.UnmarshalOptions{Resolver: c.o.Resolver, DiscardUnknown: true, RecursionLimit: c.o.MaxDepth}.Unmarshal(msg, m)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return appendMessage(dst, m)
}

// appendMessage appends the fields of m in the order of their numbers.
func appendMessage(dst []byte, m protoreflect.Message) ([]byte, error) {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, fd)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, fd := range fields {
		var err error
		if dst, err = appendField(dst, fd, m.Get(fd)); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func appendField(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	var err error
	switch {
	case fd.IsList():
		if fd.IsPacked() {
			var packed []byte
			for i := range v.List().Len() {
				if packed, err = appendSingle(packed, fd, v.List().Get(i)); err != nil {
					return dst, err
				}
			}
			return protowire.AppendBytes(protowire.AppendTag(dst, fd.Number(), protowire.BytesType), packed), nil
		}
		for i := range v.List().Len() {
			if dst, err = appendTagged(dst, fd, v.List().Get(i)); err != nil {
				return dst, err
			}
		}
		return dst, nil
	case fd.IsMap():
		keys := make([]protoreflect.MapKey, 0, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool { keys = append(keys, k); return true })
		slices.SortFunc(keys, compareKeys)
		for _, k := range keys {
			var entry []byte
			if entry, err = appendTagged(entry, fd.MapKey(), k.Value()); err != nil {
				return dst, err
			}
			if entry, err = appendTagged(entry, fd.MapValue(), v.Map().Get(k)); err != nil {
				return dst, err
			}
			dst = protowire.AppendBytes(protowire.AppendTag(dst, fd.Number(), protowire.BytesType), entry)
		}
		return dst, nil
	}
	return appendTagged(dst, fd, v)
}

func appendTagged(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	dst = protowire.AppendTag(dst, fd.Number(), wireType(fd.Kind()))
	dst, err := appendSingle(dst, fd, v)
	if fd.Kind() == protoreflect.GroupKind {
		dst = protowire.AppendTag(dst, fd.Number(), protowire.EndGroupType)
	}
	return dst, err
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

func appendSingle(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) ([]byte, error) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		m, err := appendMessage(nil, v.Message())
		return protowire.AppendBytes(dst, m), err
	case protoreflect.GroupKind:
		return appendMessage(dst, v.Message())
	case protoreflect.StringKind:
		return protowire.AppendString(dst, v.String()), nil
	case protoreflect.BytesKind:
		return protowire.AppendBytes(dst, v.Bytes()), nil
	default:
		return appendBits(dst, fd.Kind(), bitsOf(fd.Kind(), v)), nil
	}
}
