package wire

import "google.golang.org/protobuf/reflect/protoreflect"

// special is a message type with a JSON form of its own.
type special uint8

// The well-known types with a JSON form of their own.
const (
	notSpecial special = iota
	specialAny
	specialTimestamp
	specialDuration
	specialWrapper
	specialStruct
	specialListValue
	specialValue
	specialFieldMask
)

// specialOf says which JSON form a message has.
func specialOf(md protoreflect.MessageDescriptor) special {
	name := md.FullName()
	if name.Parent() != "google.protobuf" {
		return notSpecial
	}
	switch name.Name() {
	case "Any":
		return specialAny
	case "Timestamp":
		return specialTimestamp
	case "Duration":
		return specialDuration
	case "BoolValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue",
		"StringValue", "BytesValue":
		return specialWrapper
	case "Struct":
		return specialStruct
	case "ListValue":
		return specialListValue
	case "Value":
		return specialValue
	case "FieldMask":
		return specialFieldMask
	}
	return notSpecial
}
