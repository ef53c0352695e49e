package events

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	watchReadings = "shop.fleet.v1.FleetService/WatchReadings"
	fleetService  = "shop.fleet.v1.FleetService"
)

// service is a Caller whose calls the test answers. A principal with the role "none" is refused.
type service struct {
	refuse func() error // if set, what calls end with at once

	mu    sync.Mutex
	calls []*call
}

// call is the service's end of a call.
type call struct {
	ctx      context.Context //nolint:containedctx // a stream lives as long as its context
	subject  string
	request  string
	messages chan string
	end      chan error
	over     atomic.Bool // the caller's configuration is no more
}

func (s *service) Share(ctx context.Context, m *upstream.Method, req []byte) (cache.Key, error) {
	who := auth.FromContext(ctx)
	if slices.Contains(who.Roles, "none") {
		return cache.Key{}, fault.New(codes.PermissionDenied, "no")
	}
	b := cache.NewKey(nil)
	b.AddString(m.Name)
	b.AddString(who.Subject)
	b.Add(req)
	return b.Key(), nil
}

func (s *service) Open(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
	if s.refuse != nil {
		return nil, s.refuse()
	}
	c := &call{ctx: ctx, subject: auth.FromContext(ctx).Subject, messages: make(chan string), end: make(chan error, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	return c, nil
}

// seen returns the calls so far.
func (s *service) seen() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*call(nil), s.calls...)
}

// nth waits for the nth call, and returns it.
func (s *service) nth(tb testing.TB, n int) *call {
	tb.Helper()
	for range 5000 {
		if calls := s.seen(); len(calls) >= n {
			return calls[n-1]
		}
		time.Sleep(time.Millisecond)
	}
	tb.Fatalf("there is no call %d", n)
	return nil
}

func (c *call) Send(msg []byte) error {
	c.request = string(msg)
	return nil
}
func (c *call) CloseSend() error { return nil }

// Over reports what the test says.
func (c *call) Over() bool { return c.over.Load() }

func (c *call) Recv() ([]byte, error) {
	select {
	case m := <-c.messages:
		return []byte(m), nil
	case err := <-c.end:
		return nil, err
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}
func (c *call) Header() (metadata.MD, error) { return metadata.Pairs("x-shelf", "7"), nil }
func (c *call) Trailer() metadata.MD         { return nil }

// say sends messages; each is taken before the next.
func (c *call) say(tb testing.TB, messages ...string) {
	tb.Helper()
	for _, m := range messages {
		select {
		case c.messages <- m:
		case <-c.ctx.Done():
			tb.Errorf("the call has ended before %q", m)
		case <-time.After(5 * time.Second):
			tb.Errorf("nobody takes %q", m)
		}
	}
}

// hub makes a hub for WatchReadings.
func hub(tb testing.TB, cfg Config, reg prometheus.Registerer) (*Hub, *service, *upstream.Method) {
	tb.Helper()
	methods := fleet(tb)
	s := &service{}
	h, err := New(map[string]Config{watchReadings: cfg}, methods, Options{Caller: s, Metrics: reg})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	for _, m := range methods {
		if m.Name == watchReadings {
			return h, s, m
		}
	}
	tb.Fatal("no method")
	return nil, nil, nil
}

func fleet(tb testing.TB) []*upstream.Method {
	tb.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		tb.Fatal(err)
	}
	return d.Methods(fleetService)
}

// as is the context of a user.
func as(ctx context.Context, subject string, roles ...string) context.Context {
	return auth.NewContext(ctx, &auth.Principal{Subject: subject, Kind: auth.User, Authenticated: true, Roles: roles})
}

// attach attaches a reader that the test closes.
func attach(ctx context.Context, tb testing.TB, h *Hub, m *upstream.Method, req, last string) Reader {
	tb.Helper()
	r, err := h.Attach(ctx, m, []byte(req), last)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// next waits for the next event, which is written as its text, "gap REASON" or "end ERROR".
func next(tb testing.TB, r Reader) (string, Position) {
	tb.Helper()
	timeout := time.NewTimer(time.Hour) // in a bubble; elsewhere the test's own timeout comes first
	defer timeout.Stop()
	for {
		e, more, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return "end", e.Position
		case err != nil:
			return "end " + fault.Name(fault.From(err).Code), e.Position
		case e.Gap != "":
			return "gap " + string(e.Gap), e.Position
		case more == nil:
			return string(e.Message), e.Position
		}
		select {
		case <-more:
		case <-timeout.C:
			tb.Fatal("no event comes")
		}
	}
}

// expect wants these events next, and returns the position of the last.
func expect(tb testing.TB, r Reader, want ...string) string {
	tb.Helper()
	var at Position
	for _, w := range want {
		var got string
		if got, at = next(tb, r); got != w {
			tb.Fatalf("got %q, want %q", got, w)
		}
	}
	return at.String()
}

// silent wants no event.
func silent(tb testing.TB, r Reader) {
	tb.Helper()
	if e, more, err := r.Next(); more == nil || err != nil {
		tb.Fatalf("got %+v, %v; want nothing", e, err)
	}
}

// shut closes a hub at the end of a bubble.
func shut(tb testing.TB, h *Hub) {
	tb.Helper()
	if err := h.Close(tb.Context()); err != nil {
		tb.Error(err)
	}
}
