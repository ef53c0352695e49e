// Package mesh is a service mesh as a library: mutual TLS with SPIFFE identities,
// authorization, balancing, ejection and budgeted retries for gRPC.
package mesh
