package scaffold

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// class tells messages apart by how GraphQL and query parameters can say them.
type class int

const (
	// object is a message with fields of its own.
	object class = iota
	// textual is a well-known message that JSON writes as a text: Timestamp, Duration, FieldMask.
	textual
	// wrapper is a well-known message around one scalar.
	wrapper
	// dynamic is a message that holds anything: Struct, Value, ListValue, Any.
	dynamic
)

func classOf(md protoreflect.MessageDescriptor) class {
	name, known := strings.CutPrefix(string(md.FullName()), "google.protobuf.")
	if !known {
		return object
	}
	switch name {
	case "Timestamp", "Duration", "FieldMask":
		return textual
	case "Struct", "Value", "ListValue", "Any":
		return dynamic
	case "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue", "BytesValue":
		return wrapper
	default:
		return object
	}
}

// scalar is the GraphQL scalar of a field that is neither an enum nor an object; empty for those. sure says that it can
// render every value.
func scalar(fd protoreflect.FieldDescriptor) (name string, sure bool) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "Boolean", true
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return "Int", true
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "Int", false // GraphQL's Int ends at 2^31-1
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "Int64", true
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "Float", false // no NaN, no infinities
	case protoreflect.StringKind:
		if n := fd.Name(); n == "id" || strings.HasSuffix(string(n), "_id") || strings.HasSuffix(string(n), "_ids") {
			return "ID", true
		}
		return "String", true
	case protoreflect.BytesKind:
		return "Base64", true
	case protoreflect.EnumKind:
		return "", false
	case protoreflect.MessageKind, protoreflect.GroupKind:
	}
	switch classOf(fd.Message()) {
	case wrapper:
		return scalar(fd.Message().Fields().ByNumber(1))
	case dynamic:
		return "JSON", false
	case textual:
		if fd.Message().Name() == "Timestamp" {
			return "DateTime", false
		}
		if fd.Message().Name() == "Duration" {
			return "Duration", false
		}
		return "String", false
	default:
		return "", true
	}
}

// behaves reports whether a field is annotated with a google.api.field_behavior.
func behaves(fd protoreflect.FieldDescriptor, want annotations.FieldBehavior) bool {
	list, _ := option(fd, &descriptorpb.FieldOptions{}, annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(list, want)
}

// fieldsOf lists the fields of a message that answers hold, or that requests may set.
func fieldsOf(md protoreflect.MessageDescriptor, input bool) []protoreflect.FieldDescriptor {
	var list []protoreflect.FieldDescriptor
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if !input && behaves(fd, annotations.FieldBehavior_INPUT_ONLY) || input && behaves(fd, annotations.FieldBehavior_OUTPUT_ONLY) {
			continue
		}
		list = append(list, fd)
	}
	return list
}

// deprecated reports whether an element is marked so.
func deprecated(d protoreflect.Descriptor) bool {
	o, ok := d.Options().(interface{ GetDeprecated() bool })
	return ok && o.GetDeprecated()
}

// comment is what the proto file says about an element: the comment above it, or beside it.
func comment(d protoreflect.Descriptor) string {
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	text := at.LeadingComments
	if strings.TrimSpace(text) == "" {
		text = at.TrailingComments
	}
	var lines []string
	for line := range strings.SplitSeq(printable(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "buf:lint:") || strings.HasPrefix(line, "protolint:") || strings.HasPrefix(line, "(-- ") {
			continue
		}
		lines = append(lines, line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
