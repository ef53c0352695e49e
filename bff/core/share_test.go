package core

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// Calls share a key only if the service could not tell them apart and the principal is the same.
func TestShareKeys(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	m := s.method(t, watchReadings)
	principal := func(change func(*auth.Principal), headers ...string) context.Context {
		p := &auth.Principal{
			Subject: "ann", Kind: auth.User, Authenticated: true, Issuer: "a", Roles: []string{"x", "y"}, Scopes: []string{"z"},
			Expires: time.Now().Add(time.Hour), Claims: map[string]any{"jti": "1"},
		}
		change(p)
		return auth.NewContext(as(t.Context(), "", headers...), p)
	}
	same := func(*auth.Principal) {}
	key := func(ctx context.Context, req string) cache.Key {
		k, err := s.Share(ctx, m, []byte(req))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := key(principal(same), "r")
	// A fresh token, another request id, a header that is not passed on: all the same.
	if key(principal(func(p *auth.Principal) {
		p.Expires = p.Expires.Add(time.Hour)
		p.Claims = map[string]any{"jti": "2"}
	}, "X-Other", "1"), "r") != base {
		t.Error("a fresh token changes the key")
	}
	seen := map[cache.Key]string{base: "the first"}
	for name, k := range map[string]cache.Key{
		"request":    key(principal(same), "s"),
		"no request": key(principal(same), ""),
		"subject":    key(principal(func(p *auth.Principal) { p.Subject = "bob" }), "r"),
		"kind":       key(principal(func(p *auth.Principal) { p.Kind = auth.Device }), "r"),
		"issuer":     key(principal(func(p *auth.Principal) { p.Issuer = "b" }), "r"),
		"fewer":      key(principal(func(p *auth.Principal) { p.Roles = []string{"x"} }), "r"),
		"joined":     key(principal(func(p *auth.Principal) { p.Roles = []string{"x,y"} }), "r"),
		"moved":      key(principal(func(p *auth.Principal) { p.Roles, p.Scopes = []string{"x"}, []string{"y", "z"} }), "r"),
		"scopes":     key(principal(func(p *auth.Principal) { p.Scopes = nil }), "r"),
		"header":     key(principal(same, "Accept-Language", "de"), "r"),
		"token":      key(principal(same, "Authorization", "Bearer 2"), "r"),
	} {
		if other, ok := seen[k]; ok {
			t.Errorf("%s shares with %s", name, other)
		}
		seen[k] = name
	}
}

func TestShareIsAuthorized(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Methods[watchReadings] = MethodConfig{Allow: `principal.authenticated && request.message.box_id == "box-1"`}
	})
	m := s.method(t, watchReadings)
	box := func(id string) []byte { return marshal(t, &fleetv1.WatchReadingsRequest{BoxId: id}) }
	for name, test := range map[string]struct {
		ctx  context.Context //nolint:containedctx // a row of the table
		box  string
		want codes.Code
	}{
		"allowed":       {as(t.Context(), "ann"), "box-1", codes.OK},
		"another box":   {as(t.Context(), "ann"), "box-2", codes.PermissionDenied},
		"anonymous":     {as(t.Context(), ""), "box-1", codes.Unauthenticated},
		"broken header": {as(t.Context(), "ann", "X-Trace-Bin", "?"), "box-1", codes.InvalidArgument},
	} {
		if _, err := s.Share(test.ctx, m, box(test.box)); codeOf(t, err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, other := range []string{getOrder, track} {
		if _, err := s.Share(as(t.Context(), "ann"), s.method(t, other), nil); codeOf(t, err) != codes.Internal {
			t.Errorf("%s: %v", other, err)
		}
	}
	if got := len(s.next.seen()); got != 0 {
		t.Errorf("%d calls", got)
	}
}
