// Package policy says who the shop's programs are and whom they let in.
package policy

import (
	"bytes"
	_ "embed"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/portico-bff/portico/mesh"
)

// TrustDomain is the SPIFFE trust domain of the shop.
const TrustDomain = "shop.test"

// The shop's programs: the last part of their SPIFFE ids.
const (
	Portico  = "portico"
	Catalog  = "catalog"
	Users    = "users"
	Orders   = "orders"
	Payments = "payments"
	Fleet    = "fleet"
)

//go:embed mesh.yaml
var text []byte

// Names returns the shop's programs.
func Names() []string { return []string{Portico, Catalog, Users, Orders, Payments, Fleet} }

// ID returns the SPIFFE id of one of the shop's programs. The name must be one of the
// constants.
func ID(name string) spiffeid.ID {
	return spiffeid.RequireFromSegments(spiffeid.RequireTrustDomainFromString(TrustDomain), name)
}

// YAML returns the text of the built-in mesh policy: mesh.yaml of this folder.
func YAML() []byte { return bytes.Clone(text) }

// Mesh returns the mesh policy that is built in: mesh.yaml of this folder.
func Mesh() (*mesh.Policy, error) { return mesh.ParsePolicy("mesh.yaml", text) }
