package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// SlowRenderer renders through dynamic messages, and well-known types through protojson: the twin with which [Renderer]
// is compared.
type SlowRenderer struct {
	MD  protoreflect.MessageDescriptor
	Sel *Selection
	O   RenderOptions
}

// ErrRuntime says that the protobuf runtime panicked: it does so (1.36.12) when a map entry has a second key, of another
// wire type.
var ErrRuntime = errors.New("the protobuf runtime panicked")

// SlowUnmarshal reads a dynamic message.
func SlowUnmarshal(md protoreflect.MessageDescriptor, o proto.UnmarshalOptions, msg []byte) (m *dynamicpb.Message, err error) {
	defer func() {
		if recover() != nil {
			err = ErrRuntime
		}
	}()
	m = dynamicpb.NewMessage(md)
	return m, o.Unmarshal(msg, m)
}

// Append appends the JSON of msg to dst. If msg is no valid message the error wraps [ErrInvalid], and what was appended
// is of no use.
func (r *SlowRenderer) Append(dst, msg []byte) ([]byte, error) {
	m, err := SlowUnmarshal(r.MD, proto.UnmarshalOptions{AllowPartial: true, Resolver: r.O.Resolver, RecursionLimit: r.O.MaxDepth}, msg)
	if err != nil {
		return dst, err
	}
	return r.message(dst, m, r.Sel)
}

func (r *SlowRenderer) message(dst []byte, m protoreflect.Message, sel *Selection) ([]byte, error) {
	if specialOf(m.Descriptor()) != notSpecial {
		return r.plain(dst, m)
	}
	type out struct {
		fd  protoreflect.FieldDescriptor
		as  string
		sub *Selection
	}
	var outs []out
	if sel != nil {
		for _, f := range sel.Fields {
			outs = append(outs, out{m.Descriptor().Fields().ByName(f.Name), f.As, f.Sub})
		}
	} else {
		for i := range m.Descriptor().Fields().Len() {
			outs = append(outs, out{m.Descriptor().Fields().Get(i), "", nil})
		}
		var exts []out
		m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			if fd.IsExtension() {
				exts = append(exts, out{fd, "", nil})
			}
			return true
		})
		slices.SortFunc(exts, func(a, b out) int { return strings.Compare(string(a.fd.FullName()), string(b.fd.FullName())) })
		outs = append(outs, exts...)
	}
	dst = append(dst, '{')
	first := true
	for _, o := range outs {
		if !m.Has(o.fd) && (!r.O.EmitDefaults || o.fd.HasPresence()) {
			continue
		}
		name := o.as
		switch {
		case name != "":
		case r.O.ProtoNames:
			name = o.fd.TextName()
		default:
			name = o.fd.JSONName()
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = AppendJSONString(dst, []byte(name))
		dst = append(dst, ':')
		var err error
		if dst, err = r.value(dst, o.fd, m.Get(o.fd), o.sub); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (r *SlowRenderer) value(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, sub *Selection) ([]byte, error) {
	var err error
	switch {
	case fd.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = r.single(dst, fd, v.List().Get(i), sub); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case fd.IsMap():
		keys := make([]protoreflect.MapKey, 0, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool { keys = append(keys, k); return true })
		slices.SortFunc(keys, compareKeys)
		dst = append(dst, '{')
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendJSONString(dst, []byte(k.String()))
			dst = append(dst, ':')
			if dst, err = r.single(dst, fd.MapValue(), v.Map().Get(k), sub); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return r.single(dst, fd, v, sub)
}

func compareKeys(a, b protoreflect.MapKey) int {
	switch x := a.Interface().(type) {
	case bool:
		switch {
		case x == b.Bool():
			return 0
		case x:
			return 1
		}
		return -1
	case int32, int64:
		return cmp.Compare(a.Int(), b.Int())
	case uint32, uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return strings.Compare(a.String(), b.String())
}

func (r *SlowRenderer) single(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, sub *Selection) ([]byte, error) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return r.message(dst, v.Message(), sub)
	case protoreflect.BoolKind:
		return fmt.Appendf(dst, "%t", v.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return fmt.Appendf(dst, "%d", v.Int()), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return fmt.Appendf(dst, "%d", v.Uint()), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if r.O.NumericInt64 {
			return append(dst, v.String()...), nil
		}
		return append(append(append(dst, '"'), v.String()...), '"'), nil
	case protoreflect.FloatKind:
		return AppendJSONFloat(dst, v.Float(), 32), nil
	case protoreflect.DoubleKind:
		return AppendJSONFloat(dst, v.Float(), 64), nil
	case protoreflect.StringKind:
		return AppendJSONString(dst, []byte(v.String())), nil
	case protoreflect.BytesKind:
		return AppendJSONBytes(dst, v.Bytes()), nil
	case protoreflect.EnumKind:
		if fd.Enum().FullName() == "google.protobuf.NullValue" {
			return append(dst, "null"...), nil
		}
		if ev := fd.Enum().Values().ByNumber(v.Enum()); ev != nil && !r.O.NumericEnums {
			return AppendJSONString(dst, []byte(ev.Name())), nil
		}
		return fmt.Appendf(dst, "%d", v.Enum()), nil
	}
	return dst, fmt.Errorf("%w: kind %v", ErrInvalid, fd.Kind())
}

func (r *SlowRenderer) plain(dst []byte, m protoreflect.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{
		AllowPartial: true, EmitDefaultValues: r.O.EmitDefaults, UseProtoNames: r.O.ProtoNames,
		UseEnumNumbers: r.O.NumericEnums, Resolver: r.O.Resolver,
	}.Marshal(m.Interface())
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return dst, err
	}
	return append(dst, out.Bytes()...), nil
}

// SlowCanonical makes the canonical encoding through a dynamic message: the twin with which [Canonicalizer] is compared.
func SlowCanonical(md protoreflect.MessageDescriptor, o ParseOptions, dst, msg []byte) ([]byte, error) {
	m, err := SlowUnmarshal(md, proto.UnmarshalOptions{Resolver: o.Resolver, DiscardUnknown: true, RecursionLimit: o.MaxDepth}, msg)
	if err != nil {
		return dst, err
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
		return appendBits(dst, fd.Kind(), oneNaN(fd.Kind(), bitsOf(fd.Kind(), v))), nil
	}
}
