package core

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

func TestDenied(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	tests := []struct {
		name, who, method string
		want              codes.Code
	}{
		{"nobody where a token is needed", "", getOrder, codes.Unauthenticated},
		{"nobody where none is", "", getProduct, codes.OK},
		{"somebody", "usr-0001", getOrder, codes.OK},
		{"nobody at an unlisted method", "", "shop.payments.v1.PaymentService/Charge", codes.Unauthenticated},
		{"somebody at an unlisted method", "usr-0001", "shop.payments.v1.PaymentService/Charge", codes.PermissionDenied},
		{"a stream as a unary method", "usr-0001", watchReadings, codes.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := s.get(as(t.Context(), tt.who), t, tt.method, ""); codeOf(t, err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	other, _ := loadShop(t).Method(getProduct)
	if _, err := s.Invoke(as(t.Context(), ""), other, nil); codeOf(t, err) != codes.Internal {
		t.Errorf("a method of other descriptors: %v", err)
	}
	for _, c := range s.next.seen() {
		if c.method != getProduct && c.method != getOrder {
			t.Errorf("%s was called", c.method)
		}
	}
}

func TestErrorsOfServices(t *testing.T) {
	t.Parallel()
	detailed, err := status.New(codes.ResourceExhausted, "slow down").WithDetails(&errdetails.ErrorInfo{Reason: "X"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		err      error
		composed bool
		code     codes.Code
		blame    fault.Blame
		public   string
	}{
		{"not found", status.Error(codes.NotFound, "no order ord-1"), false, codes.NotFound, fault.Client, "no order ord-1"},
		{"our credentials", status.Error(codes.Unauthenticated, "bad certificate"), false, codes.Internal, fault.Config, "something went wrong on our side"},
		{"invalid, by the client", status.Error(codes.InvalidArgument, "bad id"), false, codes.InvalidArgument, fault.Client, "bad id"},
		{"invalid, by us", status.Error(codes.InvalidArgument, "bad id"), true, codes.Internal, fault.Config, "something went wrong on our side"},
		{"internal", status.Error(codes.Internal, "SQL"), false, codes.Internal, fault.Upstream, "something went wrong on our side"},
		{"unavailable", status.Error(codes.Unavailable, "10.0.0.7: refused"), false, codes.Unavailable, fault.Network, "temporarily unavailable, please try again"},
		{"upstream's own timeout", status.Error(codes.DeadlineExceeded, "x"), false, codes.DeadlineExceeded, fault.Network, "the answer did not come in time"},
		{"exhausted", detailed.Err(), false, codes.ResourceExhausted, fault.Client, "slow down"},
		{"no status", errors.New("boom"), false, codes.Internal, fault.Config, "something went wrong on our side"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, nil)
			s.next.invoke = func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
				return upstream.Reply{}, tt.err
			}
			ctx := as(t.Context(), "usr-0001")
			if tt.composed {
				ctx = fault.Composed(ctx)
			}
			_, err := s.get(ctx, t, getOrder, "")
			if codeOf(t, err) != tt.code {
				t.Fatalf("got %v, want %s", err, tt.code)
			}
			if f := fault.From(err); f.Blame != tt.blame || f.Public != tt.public || !errors.Is(err, tt.err) {
				t.Errorf("blame %s, public %q, cause %v", f.Blame, f.Public, f.Cause)
			}
		})
	}
}

func TestEndOfTheClientsContext(t *testing.T) {
	t.Parallel()
	for _, method := range []string{getOrder, getUser} { // not cached, cached
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, nil)
			s.next.invoke = func(ctx context.Context, _ *upstream.Method, _ []byte) (upstream.Reply, error) {
				<-ctx.Done()
				return upstream.Reply{}, status.FromContextError(ctx.Err()).Err()
			}
			ctx, cancel := context.WithTimeout(as(t.Context(), "usr-0001"), time.Second)
			defer cancel()
			start := time.Now()
			if _, err := s.get(ctx, t, method, ""); codeOf(t, err) != codes.DeadlineExceeded || time.Since(start) != time.Second {
				t.Errorf("%s: got %v after %v", method, err, time.Since(start))
			}
			ctx, cancel = context.WithCancel(as(t.Context(), "usr-0001"))
			time.AfterFunc(time.Second, cancel)
			if _, err := s.get(ctx, t, method, "x"); codeOf(t, err) != codes.Canceled {
				t.Errorf("%s: got %v", method, err)
			}
			s.cache.Close()
		})
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := newShop(t, func(o *Options) { o.Metrics = reg })
	ctx, err := s.Authenticate(t.Context(), auth.Credentials{Door: request.Web})
	if err != nil || auth.FromContext(ctx).Kind != auth.Anonymous {
		t.Errorf("without auth: %+v, %v", auth.FromContext(ctx), err)
	}
	if _, err := s.Authenticate(t.Context(), auth.Credentials{Bearer: "x", Door: "a door that a client made up"}); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("without auth, a token: %v", err)
	}
	want := `
# HELP portico_auth_total Credentials checked, by the door and the outcome: the principal's kind or the code of the refusal.
# TYPE portico_auth_total counter
portico_auth_total{door="none",result="UNAUTHENTICATED"} 1
portico_auth_total{door="web",result="anonymous"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "portico_auth_total"); err != nil {
		t.Error(err)
	}

	a, err := auth.New(t.Context(), auth.Config{}, auth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	strict := newShop(t, func(o *Options) { o.Auth = a })
	if _, err := strict.Authenticate(t.Context(), auth.Credentials{}); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("nobody where nobody is admitted: %v", err)
	}
	if failing := strict.Ready(t.Context()); len(failing) != 0 {
		t.Errorf("Ready = %v", failing)
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, func(o *Options) {
			o.Limits = []limit.Config{
				{Per: limit.PerDoor, Rate: unit.Rate{Events: 100, Per: time.Second}, Burst: 100},
				{Per: limit.PerPrincipal, Rate: unit.Rate{Events: 1, Per: time.Second}, Burst: 3},
				{Per: limit.PerDevice, Rate: unit.Rate{Events: 1, Per: time.Second}, Burst: 1},
			}
		})
		op := Operation{Name: "home", Door: request.Mobile}
		user := as(t.Context(), "usr-0001")
		for left := 2; left >= 0; left-- {
			r, err := s.Admit(user, op, 1)
			if err != nil || r.Limit != 3 || r.Remaining != left {
				t.Errorf("got %+v, %v, want %d of 3 left", r, err, left)
			}
		}
		r, err := s.Admit(user, op, 1)
		f := fault.From(err)
		if codeOf(t, err) != codes.ResourceExhausted || f.RetryAfter != time.Second || r.Allowed || r.RetryAfter != time.Second {
			t.Errorf("got %+v, %v", r, err)
		}
		if _, err := s.Admit(user, op, 4); codeOf(t, err) != codes.ResourceExhausted || fault.From(err).RetryAfter != 0 {
			t.Errorf("more than the burst: %v", err)
		}
		// Another user has a burst of their own; a refusal has taken nothing from the door's.
		if r, err := s.Admit(as(t.Context(), "usr-0002"), op, 3); err != nil || r.Remaining != 0 {
			t.Errorf("got %+v, %v", r, err)
		}
		if left := s.limits[0].Take(string(request.Mobile), 1).Remaining; left != 100-3-3-1 {
			t.Errorf("the door has %d left, want %d", left, 100-3-3-1)
		}
		// A device has one request, whatever its principal still has.
		device := auth.NewContext(t.Context(), &auth.Principal{Subject: "box-1", Kind: auth.Device, Authenticated: true})
		if _, err := s.Admit(device, op, 1); err != nil {
			t.Error(err)
		}
		if _, err := s.Admit(device, op, 1); codeOf(t, err) != codes.ResourceExhausted {
			t.Errorf("a device: %v", err)
		}
		// Nobody is limited by address.
		for i := range 4 {
			if _, err := s.Admit(as(t.Context(), ""), op, 1); (err == nil) != (i < 3) {
				t.Errorf("nobody, request %d: %v", i, err)
			}
		}
		s.cache.Close()
	})
	unlimited := newShop(t, nil)
	if r, err := unlimited.Admit(t.Context(), Operation{}, 7); err != nil || !r.Allowed || r.Limit != 0 {
		t.Errorf("without limits: %+v, %v", r, err)
	}
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for a, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := addressKey(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	o := shopOptions(t)
	o.Next = &services{}
	o.Methods["shop.users.v1.UserService/GetUsr"] = MethodConfig{Allow: "true"}
	o.Methods[getOrder] = MethodConfig{Allow: "principal.", Cache: &cache.Config{}}
	o.Upstreams["bad"] = upstream.Config{Headers: upstream.Headers{
		Forward: []string{"x-user-id", "Connection", "a b", "ok", "Ok", "grpc-timeout"},
		Set:     map[string]string{"X-User-ID": "{principal.subjct}", "x-request-id": "1", "x-a": "{", "x-b": "}", "x-c": "", "X-D": "1", "x-d": "2"},
	}}
	o.Limits = []limit.Config{{Per: limit.PerDoor, Rate: unit.Rate{Events: 1, Per: time.Second}}, {Per: "x"}}
	_, err := New(o)
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, strings.Join(m.Path, " "))
	}
	want := []string{
		"methods " + getOrder + " cache max_age",
		"methods shop.users.v1.UserService/GetUsr",
		"methods " + getOrder + " allow",
		"upstreams bad headers set X-User-ID", "upstreams bad headers set x-a", "upstreams bad headers set x-b",
		"upstreams bad headers set x-c", "upstreams bad headers set x-d", "upstreams bad headers set x-request-id",
		"upstreams bad headers forward 0", "upstreams bad headers forward 1", "upstreams bad headers forward 2",
		"upstreams bad headers forward 4", "upstreams bad headers forward 5",
		"limits 1 per", "limits 1 rate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := newShop(t, func(o *Options) { o.Metrics = reg })
	for range 2 {
		if _, err := s.get(as(t.Context(), ""), t, getProduct, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.get(as(t.Context(), ""), t, getOrder, ""); err == nil {
		t.Fatal("nobody was let through")
	}
	want := `
# HELP portico_cache_total Lookups of answers in the cache: hit, miss, coalesced or stale. Rows of batches count one by one.
# TYPE portico_cache_total counter
portico_cache_total{result="hit",rpc="` + getProduct + `"} 1
portico_cache_total{result="miss",rpc="` + getProduct + `"} 1
# HELP portico_calls_total Calls of methods, by the door they came through and the code they ended with.
# TYPE portico_calls_total counter
portico_calls_total{code="OK",door="mobile",rpc="` + getProduct + `"} 2
portico_calls_total{code="UNAUTHENTICATED",door="mobile",rpc="` + getOrder + `"} 1
# HELP portico_faults_total Calls that went wrong, by who is to blame.
# TYPE portico_faults_total counter
portico_faults_total{blame="policy",rpc="` + getOrder + `"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "portico_cache_total", "portico_calls_total", "portico_faults_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	// The core of the next configuration counts on.
	after := newShop(t, func(o *Options) { o.Metrics = reg })
	if _, err := after.get(as(t.Context(), ""), t, getProduct, ""); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(s.metrics.calls.WithLabelValues("mobile", getProduct, "OK")); got != 3 {
		t.Errorf("%v calls after a reload, want 3", got)
	}
	clash := prometheus.NewRegistry()
	clash.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "portico_calls_total", Help: "Another."}))
	o := shopOptions(t)
	o.Next, o.Metrics = s.next, clash
	if _, err := New(o); err == nil {
		t.Error("a metric of another kind was taken for ours")
	}
}

func BenchmarkInvoke(b *testing.B) {
	for _, bb := range []struct{ name, method string }{{"uncached", getOrder}, {"private hit", getUser}, {"public hit", getProduct}} {
		b.Run(bb.name, func(b *testing.B) {
			s := newShop(b, nil)
			next := upstream.Reply{Message: []byte("x")}
			s.Core.next = quick{next}
			ctx, m, req := as(b.Context(), "usr-0001", "Accept-Language", "de"), s.method(b, bb.method), []byte(userRequest(b, "usr-0001"))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Invoke(ctx, m, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// quick answers at once and keeps no record.
type quick struct{ reply upstream.Reply }

func (q quick) Invoke(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
	return q.reply, nil
}

func (q quick) Open(context.Context, *upstream.Method) (upstream.Stream, error) {
	return nil, errors.New("no streams")
}
