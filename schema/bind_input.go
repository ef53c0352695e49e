package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// inputWriter appends a coerced input value, which is not nil, as the JSON that protobuf reads for a field.
type inputWriter func(dst []byte, v any) ([]byte, error)

// inputObject is an input type bound to a message type.
type inputObject struct {
	fields []inputField
}

type inputField struct {
	name  string // in GraphQL
	proto []byte // as a JSON key with its colon
	write inputWriter
}

// errNullElement says that a list holds null where a repeated field cannot.
var errNullElement = errors.New("a list must not hold null here")

// input binds an input type to a request field.
func (b *binder) input(typ *ast.Type, fd protoreflect.FieldDescriptor, pos *ast.Position, what string) inputWriter {
	def := b.ast.Types[typ.Name()]
	if def == nil {
		return nil
	}
	repeated := fd.IsList() || fd.IsMap()
	switch {
	case def.Name == scalarJSON && typ.Elem == nil:
		return writeAny
	case typ.Elem != nil && !repeated:
		b.add(pos, "%s of type %s is a list, but field %s of %s is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
			expect("%s", typ.Elem)
		return nil
	case typ.Elem != nil && typ.Elem.Elem != nil:
		b.add(pos, "%s of type %s is a list of lists, which no message field is", what, typ).expect("a list")
		return nil
	case typ.Elem == nil && repeated:
		b.add(pos, "%s of type %s is no list, but field %s of %s is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
			expect("[%s]", typ.Name())
		return nil
	case fd.IsMap():
		return b.entries(typ, def, fd, pos, what)
	case typ.Elem != nil:
		elem := b.one(typ.Elem, def, fd, pos, what)
		if elem == nil {
			return nil
		}
		return writeList(elem)
	default:
		return b.one(typ, def, fd, pos, what)
	}
}

// one binds an input type to single values of a field.
func (b *binder) one(typ *ast.Type, def *ast.Definition, fd protoreflect.FieldDescriptor, pos *ast.Position, what string) inputWriter {
	of := fd
	if inner := wrapped(fd); inner != nil {
		of = inner
	}
	switch def.Kind {
	case ast.Enum:
		if of.Enum() == nil {
			b.add(pos, "%s of type %s is an enum, but field %s of %s is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
				expect("%s", expectedFor(fd))
			return nil
		}
		b.enumType(def, of.Enum())
		return b.writeEnum(def, of.Enum())
	case ast.Scalar:
		if ok, expected := fits(def.Name, classify(of), true); !ok {
			if of.Enum() != nil {
				expected = "an enum"
			}
			b.add(pos, "%s of type %s does not fit field %s of %s, which is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
				expect("%s", expected)
			return nil
		}
		return writeScalar
	case ast.InputObject:
		if classify(fd) != classMessage || wrapped(fd) != nil {
			b.add(pos, "%s of type %s is an object, but field %s of %s is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
				expect("%s", expectedFor(fd))
			return nil
		}
		return writeObject(b.inputObject(def, fd.Message(), pos))
	default:
		return nil // noted before: no input type
	}
}

// inputObject binds an input type to a message type, once.
func (b *binder) inputObject(def *ast.Definition, md protoreflect.MessageDescriptor, pos *ast.Position) *inputObject {
	key := objectKey{def.Name, md.FullName()}
	if o := b.inputs[key]; o != nil {
		return o
	}
	o := &inputObject{}
	b.inputs[key] = o
	if want := protoString(def.Directives, "message"); want != "" && want != string(md.FullName()) {
		b.add(pos, "input type %s is bound to message %s, but here it goes to %s", def.Name, want, md.FullName())
		return o
	}
	for _, f := range def.Fields {
		name := protoString(f.Directives, "field")
		if name == "" {
			name = f.Name
		}
		fd := fieldNamed(md, name)
		if fd == nil {
			b.add(f.Position, "message %s has no field for %s.%s", md.FullName(), def.Name, f.Name).
				expect("the name of a field, or @proto(field:)").near(name, fieldNames(md))
			continue
		}
		write := b.input(f.Type, fd, f.Position, def.Name+"."+f.Name)
		if write == nil {
			continue
		}
		o.fields = append(o.fields, inputField{
			name: f.Name, proto: append(wire.AppendJSONString(nil, []byte(fd.JSONName())), ':'), write: write,
		})
	}
	return o
}

// entries binds a list of input objects with the fields key and value to a map.
func (b *binder) entries(typ *ast.Type, def *ast.Definition, fd protoreflect.FieldDescriptor, pos *ast.Position, what string) inputWriter {
	if def.Kind != ast.InputObject {
		b.add(pos, "%s of type %s does not fit field %s of %s, which is %s", what, typ, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
			expect("a list of an input type with the fields key and value, or %s", scalarJSON)
		return nil
	}
	o := b.inputObject(def, fd.Message(), pos)
	var key, value *inputField
	for i := range o.fields {
		switch string(o.fields[i].proto) {
		case `"key":`:
			key = &o.fields[i]
		case `"value":`:
			value = &o.fields[i]
		}
	}
	if key == nil || value == nil {
		b.add(pos, "%s: input type %s lacks key or value", what, def.Name).expect("both, as entries of a map have them")
		return nil
	}
	return func(dst []byte, v any) ([]byte, error) {
		list, _ := v.([]any)
		dst = append(dst, '{')
		for i, item := range list {
			entry, _ := item.(map[string]any)
			if entry == nil || entry[key.name] == nil || entry[value.name] == nil {
				return dst, errNullElement
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			text, _ := textOf(entry[key.name])
			dst = append(wire.AppendJSONString(dst, []byte(text)), ':')
			var err error
			if dst, err = value.write(dst, entry[value.name]); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
}

func writeList(elem inputWriter) inputWriter {
	return func(dst []byte, v any) ([]byte, error) {
		list, _ := v.([]any)
		dst = append(dst, '[')
		for i, item := range list {
			if item == nil {
				return dst, errNullElement
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = elem(dst, item); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
}

// writeOnly writes the only element of a list.
func writeOnly(elem inputWriter) inputWriter {
	return func(dst []byte, v any) ([]byte, error) {
		dst, err := elem(append(dst, '['), v)
		return append(dst, ']'), err
	}
}

func writeObject(o *inputObject) inputWriter {
	return func(dst []byte, v any) ([]byte, error) {
		values, _ := v.(map[string]any)
		dst = append(dst, '{')
		first := true
		for i := range o.fields {
			f := &o.fields[i]
			value := values[f.name]
			if value == nil {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			var err error
			if dst, err = f.write(append(dst, f.proto...), value); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
}

// writeEnum writes the proto name of an enum value.
func (b *binder) writeEnum(def *ast.Definition, ed protoreflect.EnumDescriptor) inputWriter {
	names := map[string][]byte{}
	for _, v := range def.EnumValues {
		if value := b.enumValue(v, ed); value != nil {
			names[v.Name] = wire.AppendJSONString(nil, []byte(value.Name()))
		}
	}
	return func(dst []byte, v any) ([]byte, error) {
		name, _ := v.(string)
		return append(dst, names[name]...), nil
	}
}

// writeScalar writes a coerced scalar; protobuf's JSON takes numbers and their texts alike.
func writeScalar(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return wire.AppendJSONString(dst, []byte(v)), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return wire.AppendJSONFloat(dst, v, 64), nil
	default:
		return dst, fmt.Errorf("a scalar cannot be %T", v)
	}
}

// writeAny writes any JSON value.
func writeAny(dst []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(dst, text...), err
}

// dig walks down input objects; nil if there is nothing.
func dig(values map[string]any, path []string) any {
	var v any = values
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// textOf writes a coerced scalar as it stands in a text; false for null and for what has no text.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return string(wire.AppendJSONFloat(nil, v, 64)), true
	default:
		return "", false
	}
}

// constantJSON writes a constant of SDL as JSON; enum values as strings.
func constantJSON(dst []byte, v *ast.Value) ([]byte, error) {
	switch v.Kind {
	case ast.IntValue, ast.FloatValue, ast.BooleanValue, ast.NullValue:
		return append(dst, v.Raw...), nil
	case ast.StringValue, ast.BlockValue, ast.EnumValue:
		return wire.AppendJSONString(dst, []byte(v.Raw)), nil
	case ast.ListValue:
		dst = append(dst, '[')
		for i, child := range v.Children {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = constantJSON(dst, child.Value); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case ast.ObjectValue:
		dst = append(dst, '{')
		for i, child := range v.Children {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			dst = append(wire.AppendJSONString(dst, []byte(child.Name)), ':')
			if dst, err = constantJSON(dst, child.Value); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	default:
		return dst, fmt.Errorf("%s is no constant", v)
	}
}
