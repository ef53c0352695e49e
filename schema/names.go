package schema

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// snake turns lowerCamelCase into snake_case; a run of capitals is one word (boxID is box_id).
func snake(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			wordStarts := i > 0 && name[i-1] != '_' &&
				(!isUpper(name[i-1]) || i+1 < len(name) && isLower(name[i+1]))
			if wordStarts {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

// camel turns snake_case into lowerCamelCase, as protobuf's JSON names are made.
func camel(name string) string {
	var b strings.Builder
	up := false
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '_':
			up = true
			continue
		case up && isLower(c):
			c -= 'a' - 'A'
		}
		up = false
		b.WriteByte(c)
	}
	return b.String()
}

// screaming turns UpperCamelCase into UPPER_SNAKE_CASE.
func screaming(name string) string { return strings.ToUpper(snake(name)) }

// fieldNamed finds the message field that a GraphQL name stands for: itself, its JSON name, or its snake_case form.
func fieldNamed(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	fields := md.Fields()
	if fd := fields.ByName(protoreflect.Name(name)); fd != nil {
		return fd
	}
	if fd := fields.ByJSONName(name); fd != nil {
		return fd
	}
	return fields.ByName(protoreflect.Name(snake(name)))
}

// oneofNamed finds the oneof that a GraphQL name stands for.
func oneofNamed(md protoreflect.MessageDescriptor, name string) protoreflect.OneofDescriptor {
	for _, n := range []string{name, snake(name)} {
		if od := md.Oneofs().ByName(protoreflect.Name(n)); od != nil && !od.IsSynthetic() {
			return od
		}
	}
	return nil
}

// fieldNames lists the fields of a message as GraphQL would name them.
func fieldNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, 0, md.Fields().Len())
	for i := range md.Fields().Len() {
		names = append(names, camel(string(md.Fields().Get(i).Name())))
	}
	return names
}

// protoNames lists the fields of a message as the proto file names them.
func protoNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, 0, md.Fields().Len())
	for i := range md.Fields().Len() {
		names = append(names, string(md.Fields().Get(i).Name()))
	}
	return names
}

// enumPrefix is the prefix that the style guide wants on the values of an enum.
func enumPrefix(ed protoreflect.EnumDescriptor) string { return screaming(string(ed.Name())) + "_" }

// enumValueNamed finds the value that a GraphQL enum value stands for: itself, or with the enum's prefix.
func enumValueNamed(ed protoreflect.EnumDescriptor, name string) protoreflect.EnumValueDescriptor {
	if v := ed.Values().ByName(protoreflect.Name(enumPrefix(ed) + name)); v != nil {
		return v
	}
	return ed.Values().ByName(protoreflect.Name(name))
}

// enumValueNames lists the values of an enum as GraphQL would name them.
func enumValueNames(ed protoreflect.EnumDescriptor) []string {
	names := make([]string, 0, ed.Values().Len())
	for i := range ed.Values().Len() {
		names = append(names, strings.TrimPrefix(string(ed.Values().Get(i).Name()), enumPrefix(ed)))
	}
	return names
}

// kindWord describes the type of a field as a proto file writes it.
func kindWord(fd protoreflect.FieldDescriptor) string {
	one := func(fd protoreflect.FieldDescriptor) string {
		switch {
		case fd.Message() != nil:
			return string(fd.Message().FullName())
		case fd.Enum() != nil:
			return string(fd.Enum().FullName())
		default:
			return fd.Kind().String()
		}
	}
	switch {
	case fd.IsMap():
		return "map<" + one(fd.MapKey()) + ", " + one(fd.MapValue()) + ">"
	case fd.IsList():
		return "repeated " + one(fd)
	default:
		return one(fd)
	}
}
