package core

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/cache"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
	"github.com/portico-bff/portico/upstream"
)

func userRows(tb testing.TB, s *shop) *upstream.Rows {
	tb.Helper()
	batch, get := s.method(tb, batchGetUsers), s.method(tb, getUser)
	field := func(m *upstream.Method, name protoreflect.Name) protoreflect.FieldDescriptor {
		fd := m.Input.Fields().ByName(name)
		if fd == nil {
			tb.Fatalf("%s has no field %s", m.Input.FullName(), name)
		}
		return fd
	}
	return &upstream.Rows{Batch: batch, Into: field(batch, "user_ids"), Get: get, GetField: field(get, "user_id")}
}

func keys(ids ...string) [][]byte {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = []byte(id)
	}
	return out
}

func TestRowsMeetTheSingleRowMethod(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	rows := userRows(t, s)
	ctx := as(t.Context(), "usr-0001")
	got, err := s.LookupRows(ctx, rows, nil, keys("a", "b"))
	if err != nil || !cmp.Equal(got, [][]byte{nil, nil}) {
		t.Fatalf("an empty cache: %q, %v", got, err)
	}
	answer := marshal(t, &usersv1.User{UserId: "a"})
	s.StoreRows(ctx, rows, nil, keys("a", "b", "empty"), [][]byte{answer, nil, {}})
	stored := string(answer)
	answer[0] = 0xff // rows are copied
	got, err = s.LookupRows(ctx, rows, nil, keys("b", "a", "empty"))
	if err != nil || !cmp.Equal(got, [][]byte{nil, []byte(stored), {}}) {
		t.Errorf("got %q, %v", got, err)
	}
	// REST's GetUser finds what GraphQL's join has brought ...
	reply, err := s.get(ctx, t, getUser, userRequest(t, "a"))
	if err != nil || reply.Freshness.Source != upstream.Hit || string(reply.Message) != stored {
		t.Errorf("GetUser: %+v, %v", reply, err)
	}
	// ... and the other way about.
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{Message: []byte("row b")}, nil
	}
	if _, err := s.get(ctx, t, getUser, userRequest(t, "b")); err != nil {
		t.Fatal(err)
	}
	got, err = s.LookupRows(ctx, rows, nil, keys("b"))
	if err != nil || !cmp.Equal(got, keys("row b")) {
		t.Errorf("got %q, %v", got, err)
	}
	// Another user, or more in the request than keys, meets none of it.
	for name, look := range map[string]func() ([][]byte, error){
		"another user": func() ([][]byte, error) {
			return s.LookupRows(as(t.Context(), "usr-0002"), rows, nil, keys("a", "b"))
		},
		"a base": func() ([][]byte, error) { return s.LookupRows(ctx, rows, []byte{0x10, 1}, keys("a", "b")) },
	} {
		if got, err := look(); err != nil || !cmp.Equal(got, [][]byte{nil, nil}) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	base := []byte{0x10, 1}
	s.StoreRows(ctx, rows, base, keys("c"), keys("row c"))
	if got, err := s.LookupRows(ctx, rows, base, keys("c")); err != nil || !cmp.Equal(got, keys("row c")) {
		t.Errorf("with a base: %q, %v", got, err)
	}
}

func TestRowsOfAnotherScopeAreNotShared(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Methods[batchGetUsers] = MethodConfig{Allow: "true", Cache: &cache.Config{MaxAge: time.Minute, Scope: cache.Public}}
		o.Methods[getUser] = MethodConfig{Allow: "true", Cache: &cache.Config{MaxAge: time.Minute}}
	})
	s.StoreRows(as(t.Context(), ""), userRows(t, s), nil, keys("a"), keys("public row"))
	reply, err := s.get(as(t.Context(), ""), t, getUser, userRequest(t, "a"))
	if err != nil || reply.Freshness.Source != upstream.Fetched {
		t.Errorf("got %+v, %v", reply, err)
	}
	if got, err := s.LookupRows(as(t.Context(), "usr-0001"), userRows(t, s), nil, keys("a")); err != nil || !cmp.Equal(got, keys("public row")) {
		t.Errorf("everybody shares public rows: %q, %v", got, err)
	}
}

func TestRowsAreAuthorized(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Methods[batchGetUsers] = MethodConfig{Allow: `request.message.user_ids.all(id, id.startsWith("usr-"))`, Cache: &cache.Config{MaxAge: time.Minute}}
	})
	rows := userRows(t, s)
	if _, err := s.LookupRows(as(t.Context(), "usr-0001"), rows, nil, keys("usr-1", "usr-2")); err != nil {
		t.Error(err)
	}
	if _, err := s.LookupRows(as(t.Context(), "usr-0001"), rows, nil, keys("usr-1", "adm-2")); codeOf(t, err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	// Without a cache the rule still runs.
	plain := newShop(t, func(o *Options) { o.Methods[batchGetUsers] = MethodConfig{Allow: "false"} })
	if _, err := plain.LookupRows(as(t.Context(), ""), userRows(t, plain), nil, keys("a")); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func TestGetRequestIsCanonical(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	rows := userRows(t, s)
	for _, id := range []string{"usr-0001", "", "\x00"} {
		if diff := cmp.Diff(userRequest(t, id), string(getRequest(rows.GetField, []byte(id)))); diff != "" {
			t.Errorf("%q: %s", id, diff)
		}
	}
}
