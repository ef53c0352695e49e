// Package source is the seam between a client of the mesh and what finds its
// endpoints in another way than the mesh's own: package mesh/xds. It keeps the one
// from linking the other.
package source

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"
)

// Balancer is what the mesh's balancer is called in service configs.
const Balancer = "portico_mesh"

// Source is an option of a client: its endpoints come from here, and the resolver's
// service config says which balancers stand above the mesh's. It is not changed once
// it is in use.
type Source struct {
	grpc.EmptyDialOption
	// Resolver finds the endpoints. What it says is passed on with its service
	// config.
	Resolver resolver.Builder
	// Credentials puts other transport security before the mesh's own, which it
	// falls back to.
	Credentials func(fallback credentials.TransportCredentials) (credentials.TransportCredentials, error)
	// Place says what is known of an endpoint.
	Place func(resolver.Endpoint) Place
	// Ignored lists what the source was told and does not do, in words.
	Ignored func() []string
}

// Place is what a source knows of an endpoint.
type Place struct {
	Zone   string // as "region/zone"; "" if nobody knows
	Labels map[string]string
	Weight uint32 // in proportion to others; zero is one
}
