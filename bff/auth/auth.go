// Package auth finds out who is calling and what they may do.
//
// An [Authenticator] turns [Credentials] into a [Principal]: so far from JWTs, whose keys it fetches and keeps. [Rules]
// decide, with CEL expressions compiled at load, whether a principal may call a method. Both fail closed: what cannot
// be judged is refused.
//
// The package does not read requests: doors hand it credentials.
package auth

import (
	"context"
	"crypto/x509"
	"net/netip"

	"github.com/portico-bff/portico/bff/auth/principal"
	"github.com/portico-bff/portico/bff/request"
)

// Principal is who is calling.
type Principal = principal.Principal

// Kind says what sort of caller a principal is.
type Kind = principal.Kind

// The kinds.
const (
	Anonymous = principal.Anonymous
	User      = principal.User
	Service   = principal.Service
	Device    = principal.Device
)

// NewContext returns a context that carries p.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return principal.NewContext(ctx, p)
}

// FromContext returns the principal in ctx, or the anonymous one; never nil.
func FromContext(ctx context.Context) *Principal { return principal.FromContext(ctx) }

// Credentials are what a client has shown. The zero value is a client that has shown nothing.
type Credentials struct {
	// Bearer is a token, without the word Bearer.
	Bearer string
	// APIKey is an API key.
	APIKey string
	// Certificates is the verified certificate chain of the client's TLS connection, leaf first.
	Certificates []*x509.Certificate
	// Door is the door that the client stands at.
	Door request.Door
	// Remote is the client's address.
	Remote netip.Addr
}
