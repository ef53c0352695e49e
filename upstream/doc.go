// Package upstream knows the gRPC services behind Portico: their descriptors, their methods, and how to call them
// with message bytes that are never unmarshalled into Go structs.
//
// Start with [Method], [Caller] and [Reply]. [Descriptors] holds what the loaded descriptor sets declare; [Clients]
// holds one connection per configured upstream and is the [Caller] at the end of the chain. Policy (identity, rules,
// limits, caching, headers) is not here: package core wraps a Caller with it.
package upstream
