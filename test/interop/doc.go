// Package interop checks the mesh against gRPC peers that are not written in Go.
//
// Folder grpcjs has one in JavaScript, over the files of a workload's identity. What
// its server and client do is the recipe for peers in any language: see "Other
// languages" in the documentation of package mesh.
package interop
