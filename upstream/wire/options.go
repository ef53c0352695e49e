package wire

import (
	"errors"

	"google.golang.org/protobuf/reflect/protoregistry"
)

// Resolver finds the types of google.protobuf.Any messages and of extension fields. *dynamicpb.Types is one.
type Resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// Bounds that hold unless options say otherwise.
const (
	defaultMaxDepth = 100
	defaultMaxBytes = 16 << 20
)

// RenderOptions says how a [Renderer] writes JSON. The zero value writes what the protobuf documentation calls the
// default.
type RenderOptions struct {
	// EmitDefaults writes fields without presence that are not set, with their zero values, and empty lists and maps.
	EmitDefaults bool
	// ProtoNames writes the fields' names as the proto file has them.
	ProtoNames bool
	// NumericInt64 writes 64-bit integers as numbers rather than as strings.
	NumericInt64 bool
	// NumericEnums writes enum values as numbers rather than by name.
	NumericEnums bool
	// Resolver finds the types of Any messages and extensions; those compiled into the program if nil.
	Resolver Resolver
	// MaxDepth bounds how deep messages may nest; 100 if zero.
	MaxDepth int
}

// ParseOptions says what a [Parser], a [Canonicalizer] and a [Builder] accept.
type ParseOptions struct {
	// DiscardUnknown ignores unknown fields and enum names in JSON rather than refusing them. Unknown fields of the wire
	// format are always dropped.
	DiscardUnknown bool
	// Resolver finds the types of Any messages and extensions; those compiled into the program if nil.
	Resolver Resolver
	// MaxDepth bounds how deep messages may nest; 100 if zero.
	MaxDepth int
	// MaxBytes bounds the size of the input; 16 MiB if zero.
	MaxBytes int
}

// ErrInvalid is wrapped by errors about messages that are no valid wire format of their type: truncated, too deep, not
// UTF-8, or with values that have no JSON form.
var ErrInvalid = errors.New("invalid protobuf message")

// withDefaults fills what is left out.
func (o ParseOptions) withDefaults() ParseOptions {
	o.Resolver = resolverOr(o.Resolver)
	o.MaxDepth = orDefault(o.MaxDepth, defaultMaxDepth)
	o.MaxBytes = orDefault(o.MaxBytes, defaultMaxBytes)
	return o
}

func resolverOr(r Resolver) Resolver {
	if r == nil {
		return protoregistry.GlobalTypes
	}
	return r
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
