package core

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/upstream"
)

func TestPrivateAnswersAreNotShared(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	req := userRequest(t, "usr-0001")
	for range 3 {
		for _, who := range []string{"usr-0001", "usr-0002"} {
			reply, err := s.get(as(t.Context(), who), t, getUser, req)
			if err != nil || string(reply.Message) != who {
				t.Errorf("%s got %q, %v", who, reply.Message, err)
			}
		}
	}
	if got := len(s.next.seen()); got != 2 {
		t.Errorf("%d calls, want 2: one a user", got)
	}
	// Another header, another request: other answers.
	if _, err := s.get(as(t.Context(), "usr-0001", "Accept-Language", "de"), t, getUser, req); err != nil {
		t.Error(err)
	}
	if _, err := s.get(as(t.Context(), "usr-0001"), t, getUser, userRequest(t, "usr-0009")); err != nil {
		t.Error(err)
	}
	if got := len(s.next.seen()); got != 4 {
		t.Errorf("%d calls, want 4", got)
	}
}

func TestPublicAnswersAreSharedAndCarryNoIdentity(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	for i, who := range []string{"usr-0001", "", "usr-0002"} {
		reply, err := s.get(as(t.Context(), who, "Authorization", "Bearer secret", "Accept-Language", "de"), t, getProduct, "")
		if err != nil {
			t.Fatal(err)
		}
		want := upstream.Fetched
		if i > 0 {
			want = upstream.Hit
		}
		if reply.Freshness.Source != want || !reply.Freshness.Public || reply.Freshness.MaxAge <= 29*time.Second {
			t.Errorf("%q: freshness %+v", who, reply.Freshness)
		}
	}
	calls := s.next.seen()
	if len(calls) != 1 {
		t.Fatalf("%d calls, want 1", len(calls))
	}
	for _, name := range []string{"x-user-id", "x-user-role", "authorization"} {
		if v := calls[0].md.Get(name); len(v) > 0 {
			t.Errorf("%s: %q reaches the service", name, v)
		}
	}
	if diff := cmp.Diff([]string{"de"}, calls[0].md.Get("accept-language")); diff != "" {
		t.Error(diff)
	}
	if _, err := s.get(as(t.Context(), "", "Accept-Language", "en"), t, getProduct, ""); err != nil || len(s.next.seen()) != 2 {
		t.Errorf("another language was answered from the cache, %v", err)
	}
}

func TestRuleRunsBeforePublicHit(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(o *Options) {
		o.Methods[getProduct] = MethodConfig{Allow: "principal.authenticated", Cache: &cache.Config{MaxAge: time.Minute, Scope: cache.Public}}
	})
	if _, err := s.get(as(t.Context(), "usr-0001"), t, getProduct, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.get(as(t.Context(), ""), t, getProduct, ""); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("nobody got %v", err)
	}
}

func TestUncachedMethodsAreCalledEveryTime(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	for range 3 {
		reply, err := s.get(as(t.Context(), "usr-0001"), t, getOrder, orderRequest(t, "ord-1"))
		if err != nil || reply.Freshness != (upstream.Freshness{}) || reply.Header != nil || reply.Trailer != nil {
			t.Errorf("got %+v, %v", reply, err)
		}
	}
	if got := len(s.next.seen()); got != 3 {
		t.Errorf("%d calls, want 3", got)
	}
}

func TestStampedeIsOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, nil)
		s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
			time.Sleep(time.Second)
			return upstream.Reply{Message: []byte("p")}, nil
		}
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				reply, err := s.get(as(t.Context(), ""), t, getProduct, "")
				if err != nil || string(reply.Message) != "p" {
					t.Errorf("got %q, %v", reply.Message, err)
				}
			})
		}
		wg.Wait()
		if got := len(s.next.seen()); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		s.cache.Close()
	})
}

func TestCancelledLeaderDoesNotFailOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, nil)
		s.next.invoke = func(ctx context.Context, _ *upstream.Method, _ []byte) (upstream.Reply, error) {
			select {
			case <-ctx.Done():
				return upstream.Reply{}, status.FromContextError(ctx.Err()).Err()
			case <-time.After(time.Second):
				return upstream.Reply{Message: []byte("p")}, nil
			}
		}
		leader, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.get(as(leader, ""), t, getProduct, ""); codeOf(t, err) != codes.Canceled {
				t.Errorf("the leader got %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				reply, err := s.get(as(t.Context(), ""), t, getProduct, "")
				if err != nil || reply.Freshness.Source != upstream.Coalesced {
					t.Errorf("got %+v, %v", reply, err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if got := len(s.next.seen()); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		s.cache.Close()
	})
}

func TestAgeAndStaleIfError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, func(o *Options) {
			o.Methods[getProduct] = MethodConfig{Allow: "true", Cache: &cache.Config{MaxAge: 10 * time.Second, StaleIfError: time.Minute, Scope: cache.Public}}
		})
		var fail error
		s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
			return upstream.Reply{Message: []byte("p")}, fail
		}
		steps := []struct {
			name   string
			wait   time.Duration
			fail   error
			source upstream.Source
			age    time.Duration
			code   codes.Code
		}{
			{"first", 0, nil, upstream.Fetched, 0, codes.OK},
			{"fresh", 9 * time.Second, nil, upstream.Hit, 9 * time.Second, codes.OK},
			{"old", time.Second, nil, upstream.Fetched, 0, codes.OK},
			{"outage", 15 * time.Second, status.Error(codes.Unavailable, "down"), upstream.Stale, 15 * time.Second, codes.OK},
			{"a real answer", time.Second, status.Error(codes.NotFound, "gone"), upstream.Fetched, 0, codes.NotFound},
			{"long outage", time.Minute, status.Error(codes.Unavailable, "down"), upstream.Fetched, 0, codes.Unavailable},
		}
		for _, step := range steps {
			time.Sleep(step.wait)
			fail = step.fail
			reply, err := s.get(as(t.Context(), ""), t, getProduct, "")
			if codeOf(t, err) != step.code || reply.Freshness.Source != step.source || reply.Freshness.Age != step.age {
				t.Errorf("%s: %+v, %v", step.name, reply.Freshness, err)
			}
		}
		s.cache.Close()
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{}, status.Error(codes.NotFound, "no product")
	}
	for range 2 {
		if _, err := s.get(as(t.Context(), ""), t, getProduct, ""); codeOf(t, err) != codes.NotFound {
			t.Errorf("got %v", err)
		}
	}
	if got := len(s.next.seen()); got != 2 {
		t.Errorf("%d calls, want 2", got)
	}
}

func TestPanicOfACallerIsInternal(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		panic("index out of range") //nolint:forbidigo // it is what is tested
	}
	_, err := s.get(as(t.Context(), ""), t, getProduct, "")
	if codeOf(t, err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	if errors.Unwrap(err) == nil || !strings.Contains(errors.Unwrap(err).Error(), "index out of range") {
		t.Errorf("cause %v", errors.Unwrap(err))
	}
}

// TestNextCoreKnowsAnswers wants the core that replaces another one to know its answers and counts where their settings
// stay, and only there.
func TestNextCoreKnowsAnswers(t *testing.T) {
	t.Parallel()
	strict := limit.Config{Per: limit.PerPrincipal, Rate: unit.Rate{Events: 1, Per: time.Hour}, Burst: 1}
	first := newShop(t, func(o *Options) { o.Limits = []limit.Config{strict} })
	ctx, req := as(t.Context(), "usr-0001"), userRequest(t, "usr-0001")
	if _, err := first.get(ctx, t, getUser, req); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Admit(ctx, Operation{}, 1); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change         func(*Options)
		known, counted bool
	}{
		"the same": {func(*Options) {}, true, true},
		"another rule": {func(o *Options) {
			o.Methods["shop.users.v1.UserService/*"] = MethodConfig{Allow: "true", Cache: &cache.Config{MaxAge: 30 * time.Second}}
		}, true, true},
		"another age": {func(o *Options) {
			o.Methods["shop.users.v1.UserService/*"] = MethodConfig{Allow: "true", Cache: &cache.Config{MaxAge: time.Minute}}
		}, false, true},
		"another target": {func(o *Options) {
			u := o.Upstreams["users"]
			u.Target = "elsewhere"
			o.Upstreams["users"] = u
		}, false, true},
		"another limit": {func(o *Options) { o.Limits[0].Burst = 2 }, true, false},
		"a limit twice": {func(o *Options) { o.Limits = append(o.Limits, strict) }, true, true},
	} {
		next := newShop(t, func(o *Options) {
			o.Previous, o.Limits = first.Core, []limit.Config{strict}
			test.change(o)
		})
		if _, err := next.get(ctx, t, getUser, req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(next.next.seen()) == 0; got != test.known {
			t.Errorf("%s: answers known: %v", name, got)
		}
		if _, err := next.Admit(ctx, Operation{}, 1); (err != nil) != test.counted {
			t.Errorf("%s: counts kept: %v", name, err)
		}
	}
}
