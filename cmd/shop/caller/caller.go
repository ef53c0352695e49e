// Package caller says on whose behalf a call is made. Portico knows the user and says so
// in the headers x-user-id and x-user-role; they count only in calls from Portico itself.
// From anybody else they are as good as absent.
package caller

import (
	"context"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/cmd/shop/refuse"
)

// Headers that Portico sets.
const (
	HeaderUser  = "x-user-id"
	HeaderRoles = "x-user-role"
)

// Roles of the shop.
const (
	RoleCustomer = "customer"
	RoleAdmin    = "admin"
	RoleIoT      = "iot"
)

// Caller is who a call comes from. The zero Caller is nobody. It is immutable.
type Caller struct {
	// Peer is the program at the other end, proven by its certificate.
	Peer spiffeid.ID
	// Subject is the user or service on whose behalf the peer calls; empty if none.
	Subject string
	// Roles of the subject.
	Roles []string
}

// Has reports whether the caller has any of the roles.
func (c Caller) Has(roles ...string) bool {
	return c.Subject != "" && slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(c.Roles, r) })
}

// Admin reports whether the caller runs the shop.
func (c Caller) Admin() bool { return c.Has(RoleAdmin) }

type key struct{}

// NewContext returns a context with the caller.
func NewContext(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// FromContext returns the context's caller: nobody, if none was set.
func FromContext(ctx context.Context) Caller {
	c, _ := ctx.Value(key{}).(Caller)
	return c
}

// User returns the caller if there is a user, else UNAUTHENTICATED.
func User(ctx context.Context) (Caller, error) {
	c := FromContext(ctx)
	if c.Subject == "" {
		return c, refuse.Unauthenticated()
	}
	return c, nil
}

// With returns the caller if it has one of the roles, else UNAUTHENTICATED or
// PERMISSION_DENIED.
func With(ctx context.Context, roles ...string) (Caller, error) {
	c, err := User(ctx)
	if err == nil && !c.Has(roles...) {
		err = refuse.Denied("this needs the role " + strings.Join(roles, " or "))
	}
	return c, err
}

// Incoming reads the caller of a call that a server received. The headers of the user
// count if peer is trusted, and if each of them was sent once: what is said twice is not
// said at all.
func Incoming(ctx context.Context, peer spiffeid.ID, trusted ...spiffeid.ID) Caller {
	c := Caller{Peer: peer}
	if peer.IsZero() || !slices.Contains(trusted, peer) {
		return c
	}
	md, _ := metadata.FromIncomingContext(ctx)
	user, roles := md.Get(HeaderUser), md.Get(HeaderRoles)
	if len(user) != 1 || len(roles) > 1 {
		return c
	}
	c.Subject = user[0]
	if len(roles) == 1 {
		for role := range strings.SplitSeq(roles[0], ",") {
			if role = strings.TrimSpace(role); role != "" {
				c.Roles = append(c.Roles, role)
			}
		}
	}
	return c
}
