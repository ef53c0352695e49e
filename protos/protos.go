// Package protos holds the protobuf sources of the demo and what is generated from them: Go code and a descriptor set
// below gen.
package protos

import (
	_ "embed" // the descriptor set
	"slices"
)

//go:embed gen/shop.binpb
var shop []byte

// Shop returns the demo's descriptor set: a serialized google.protobuf.FileDescriptorSet with all imports and source
// comments.
func Shop() []byte { return slices.Clone(shop) }
