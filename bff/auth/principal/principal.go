// Package principal is who is calling, as every part of Portico sees it. It imports nothing of ours, so that plans
// and templates can read a principal without knowing how it came about; package auth makes them.
package principal

import (
	"context"
	"strings"
	"time"
)

// Kind says what sort of caller a principal is.
type Kind string

// The kinds.
const (
	Anonymous Kind = "anonymous"
	User      Kind = "user"
	Service   Kind = "service"
	Device    Kind = "device"
)

// Principal is who is calling. It is immutable once it is in a context.
type Principal struct {
	// Subject names the caller at its issuer; empty for the anonymous one.
	Subject string
	// Kind says what sort of caller this is.
	Kind Kind
	// Authenticated reports that credentials were checked and found good.
	Authenticated bool
	// Pending reports that the caller has yet to show its credentials, and until then may do nothing, not even what
	// everybody may.
	Pending bool
	// Roles and Scopes are what the issuer grants the caller.
	Roles, Scopes []string
	// Claims are all claims of the token, as JSON decodes them; nil without a token.
	Claims map[string]any
	// Expires is when the credentials end; zero if they do not.
	Expires time.Time
	// Issuer is who vouches for the caller.
	Issuer string
}

// Key is the key of a context's *[Principal], for contexts that hold it themselves; others use [NewContext].
type Key struct{}

// NewContext returns a context that carries p.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, Key{}, p)
}

// FromContext returns the principal in ctx, or the anonymous one; never nil.
func FromContext(ctx context.Context) *Principal {
	if p, ok := ctx.Value(Key{}).(*Principal); ok && p != nil {
		return p
	}
	return &Principal{Kind: Anonymous}
}

// Claim returns the claim of a name or, if there is none of that name, at a dotted path into objects; nil if there is
// none.
func (p *Principal) Claim(path string) any {
	if v, ok := p.Claims[path]; ok {
		return v
	}
	var v any = p.Claims
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}
