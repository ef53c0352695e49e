package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Renderer appends the JSON of messages of one type. It is immutable and safe for concurrent use.
type Renderer struct {
	md  protoreflect.MessageDescriptor
	sel *Selection
	o   RenderOptions
}

// NewRenderer compiles a renderer of the selected fields of md, all of them if sel is nil.
func NewRenderer(md protoreflect.MessageDescriptor, sel *Selection, o RenderOptions) (*Renderer, error) {
	o.Resolver = resolverOr(o.Resolver)
	o.MaxDepth = orDefault(o.MaxDepth, defaultMaxDepth)
	if err := checkSelection(md, sel); err != nil {
		return nil, err
	}
	return &Renderer{md: md, sel: sel, o: o}, nil
}

func checkSelection(md protoreflect.MessageDescriptor, sel *Selection) error {
	if sel == nil {
		return nil
	}
	for _, f := range sel.Fields {
		fd := md.Fields().ByName(f.Name)
		if fd == nil {
			return fmt.Errorf("%s has no field %q", md.FullName(), f.Name)
		}
		if f.Sub == nil {
			continue
		}
		child := selectable(fd)
		if child == nil {
			return fmt.Errorf("nothing can be selected within %s", fd.FullName())
		}
		if err := checkSelection(child, f.Sub); err != nil {
			return err
		}
	}
	return nil
}

// Append appends the JSON of msg to dst. If msg is no valid message the error wraps [ErrInvalid], and what was appended
// is of no use.
func (r *Renderer) Append(dst, msg []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(r.md)
	err := proto.UnmarshalOptions{AllowPartial: true, Resolver: r.o.Resolver, RecursionLimit: r.o.MaxDepth}.Unmarshal(msg, m)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return r.message(dst, m, r.sel)
}

func (r *Renderer) message(dst []byte, m protoreflect.Message, sel *Selection) ([]byte, error) {
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
		if !m.Has(o.fd) && (!r.o.EmitDefaults || o.fd.HasPresence()) {
			continue
		}
		name := o.as
		switch {
		case name != "":
		case r.o.ProtoNames:
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

func (r *Renderer) value(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, sub *Selection) ([]byte, error) {
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
		return cmpOrdered(a.Int(), b.Int())
	case uint32, uint64:
		return cmpOrdered(a.Uint(), b.Uint())
	}
	return strings.Compare(a.String(), b.String())
}

func cmpOrdered[T int64 | uint64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (r *Renderer) single(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value, sub *Selection) ([]byte, error) {
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
		if r.o.NumericInt64 {
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
		if ev := fd.Enum().Values().ByNumber(v.Enum()); ev != nil && !r.o.NumericEnums {
			return AppendJSONString(dst, []byte(ev.Name())), nil
		}
		return fmt.Appendf(dst, "%d", v.Enum()), nil
	}
	return dst, fmt.Errorf("%w: kind %v", ErrInvalid, fd.Kind())
}

func (r *Renderer) plain(dst []byte, m protoreflect.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{AllowPartial: true, EmitDefaultValues: r.o.EmitDefaults, UseProtoNames: r.o.ProtoNames,
		UseEnumNumbers: r.o.NumericEnums, Resolver: r.o.Resolver}.Marshal(m.Interface())
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return dst, err
	}
	return append(dst, out.Bytes()...), nil
}
