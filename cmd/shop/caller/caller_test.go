package caller_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/cmd/shop/caller"
)

func TestIncoming(t *testing.T) {
	t.Parallel()
	portico := spiffeid.RequireFromString("spiffe://shop.test/portico")
	orders := spiffeid.RequireFromString("spiffe://shop.test/orders")
	for _, tt := range []struct {
		name string
		peer spiffeid.ID
		md   metadata.MD
		want caller.Caller
	}{
		{
			"portico with a user", portico, metadata.Pairs("x-user-id", "usr-0003", "x-user-role", "customer"),
			caller.Caller{Peer: portico, Subject: "usr-0003", Roles: []string{"customer"}},
		},
		{
			"several roles", portico, metadata.Pairs("x-user-id", "u", "x-user-role", "customer, admin,"),
			caller.Caller{Peer: portico, Subject: "u", Roles: []string{"customer", "admin"}},
		},
		{"no roles", portico, metadata.Pairs("x-user-id", "u"), caller.Caller{Peer: portico, Subject: "u"}},
		{"anonymous", portico, metadata.Pairs("x-user-id", "", "x-user-role", ""), caller.Caller{Peer: portico}},
		{"nothing", portico, nil, caller.Caller{Peer: portico}},
		{"roles alone", portico, metadata.Pairs("x-user-role", "admin"), caller.Caller{Peer: portico}},
		{"user twice", portico, metadata.Pairs("x-user-id", "a", "x-user-id", "b", "x-user-role", "admin"), caller.Caller{Peer: portico}},
		{"roles twice", portico, metadata.Pairs("x-user-id", "a", "x-user-role", "x", "x-user-role", "admin"), caller.Caller{Peer: portico}},
		{"another program", orders, metadata.Pairs("x-user-id", "usr-0001", "x-user-role", "admin"), caller.Caller{Peer: orders}},
		{"no certificate", spiffeid.ID{}, metadata.Pairs("x-user-id", "usr-0001", "x-user-role", "admin"), caller.Caller{}},
	} {
		got := caller.Incoming(metadata.NewIncomingContext(t.Context(), tt.md), tt.peer, portico)
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b spiffeid.ID) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		caller     caller.Caller
		user, with codes.Code
	}{
		{"nobody", caller.Caller{}, codes.Unauthenticated, codes.Unauthenticated},
		{"roles without a subject", caller.Caller{Roles: []string{"admin"}}, codes.Unauthenticated, codes.Unauthenticated},
		{"a customer", caller.Caller{Subject: "u", Roles: []string{"customer"}}, codes.OK, codes.PermissionDenied},
		{"an admin", caller.Caller{Subject: "u", Roles: []string{"customer", "admin"}}, codes.OK, codes.OK},
		{"the boxes", caller.Caller{Subject: "s", Roles: []string{"iot"}}, codes.OK, codes.OK},
	} {
		ctx := caller.NewContext(t.Context(), tt.caller)
		if _, err := caller.User(ctx); status.Code(err) != tt.user {
			t.Errorf("%s: User gives %v", tt.name, err)
		}
		if _, err := caller.With(ctx, caller.RoleAdmin, caller.RoleIoT); status.Code(err) != tt.with {
			t.Errorf("%s: With gives %v", tt.name, err)
		}
	}
}
