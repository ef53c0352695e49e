package schema

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// The scalars that Portico knows besides GraphQL's own. SDL may declare them, with @specifiedBy or without, or leave
// that to us.
const (
	scalarInt64    = "Int64"
	scalarDateTime = "DateTime"
	scalarDuration = "Duration"
	scalarBase64   = "Base64"
	scalarJSON     = "JSON"
)

// scalarSDL declares a known scalar; "" for an unknown one.
func scalarSDL(name string) string {
	switch name {
	case scalarInt64:
		return `"A 64-bit integer, written as a string so that no client loses digits."
scalar Int64`
	case scalarDateTime:
		return `"A point in time as RFC 3339 writes it, such as 2026-11-23T15:04:05Z."
scalar DateTime @specifiedBy(url: "https://www.rfc-editor.org/rfc/rfc3339")`
	case scalarDuration:
		return `"A span of time in seconds with a final s, such as 1.5s."
scalar Duration`
	case scalarBase64:
		return `"Bytes in base64 (RFC 4648)."
scalar Base64 @specifiedBy(url: "https://www.rfc-editor.org/rfc/rfc4648")`
	case scalarJSON:
		return `"Any JSON value."
scalar JSON @specifiedBy(url: "https://www.rfc-editor.org/rfc/rfc8259")`
	default:
		return ""
	}
}

// scalarNames lists the scalars that fields can have.
func scalarNames() []string {
	return []string{
		"Int", "Float", "String", "Boolean", "ID", scalarInt64, scalarDateTime, scalarDuration, scalarBase64, scalarJSON,
	}
}

// class groups the kinds of values that scalars are made of.
type class int

const (
	classNone class = iota
	classBool
	classInt32  // signed, always fits Int
	classUint32 // may not fit Int
	classInt64
	classUint64
	classFloat
	classString
	classBytes
	classEnum
	classTimestamp
	classDuration
	classFieldMask
	classDynamic // Struct, Value, ListValue, Any
	classMessage
)

// classify tells the class of one value of a field; lists and maps are up to the caller. Wrappers are messages here.
func classify(fd protoreflect.FieldDescriptor) class {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return classBool
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return classInt32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return classUint32
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return classInt64
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return classUint64
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return classFloat
	case protoreflect.StringKind:
		return classString
	case protoreflect.BytesKind:
		return classBytes
	case protoreflect.EnumKind:
		return classEnum
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return classifyMessage(fd.Message())
	default:
		return classNone
	}
}

func classifyMessage(md protoreflect.MessageDescriptor) class {
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		return classTimestamp
	case "google.protobuf.Duration":
		return classDuration
	case "google.protobuf.FieldMask":
		return classFieldMask
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any":
		return classDynamic
	default:
		return classMessage
	}
}

// wrapped returns the value field of a wrapper such as google.protobuf.StringValue, or nil.
func wrapped(fd protoreflect.FieldDescriptor) protoreflect.FieldDescriptor {
	if fd.Message() == nil {
		return nil
	}
	switch fd.Message().FullName() {
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value",
		"google.protobuf.UInt64Value", "google.protobuf.Int32Value", "google.protobuf.UInt32Value",
		"google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return fd.Message().Fields().ByNumber(1)
	default:
		return nil
	}
}

// fits reports whether values of a class can be given and taken as a scalar, and names the scalars that would do.
// Reading and writing differ in the scalars that only one of them can do.
func fits(scalar string, c class, input bool) (ok bool, expected string) {
	var names []string
	switch c {
	case classBool:
		names = []string{"Boolean"}
	case classInt32:
		names = []string{"Int", "Float", scalarInt64, "ID", "String"}
	case classUint32:
		names = []string{"Int", "Float", scalarInt64, "ID", "String"}
	case classInt64, classUint64:
		names = []string{scalarInt64, "ID", "String"}
		if input {
			names = append(names, "Int")
		}
	case classFloat:
		names = []string{"Float", "String"}
		if input {
			names = []string{"Float", "Int"}
		}
	case classString:
		names = []string{"String", "ID"}
		if input {
			names = append(names, scalarDateTime, scalarDuration, scalarInt64, scalarBase64)
		}
	case classBytes:
		names = []string{scalarBase64}
	case classTimestamp:
		names = []string{scalarDateTime}
	case classDuration:
		names = []string{scalarDuration}
	case classFieldMask:
		names = []string{"String"}
	default:
		names = nil
	}
	if scalar == scalarJSON {
		return true, ""
	}
	if slices.Contains(names, scalar) {
		return true, ""
	}
	if len(names) == 0 {
		return false, scalarJSON
	}
	return false, names[0]
}
