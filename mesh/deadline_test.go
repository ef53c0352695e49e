package mesh_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// hops is a caller and three services, each of which calls the next with its own
// context. The last works until its context ends.
type hops struct {
	call   func(ctx context.Context) error
	mu     sync.Mutex       // guards left and ended
	left   [3]time.Duration // what each service's context had left when it was called
	ended  [3]time.Duration // how long that was there
	caller *mesh.Mesh
}

// newHops starts the services. routes are the caller's and those of the services but
// the last.
func newHops(t *testing.T, routes [3]string) *hops {
	t.Helper()
	ca := newCA(t, "shop.test", time.Hour)
	h := &hops{}
	var n network
	names := [...]string{"portico", "orders", "payments", "fleet"}
	onward := func(ctx context.Context) error { // of the last
		<-ctx.Done()
		return ctx.Err()
	}
	for i := 3; i > 0; i-- {
		address := fmt.Sprintf("hop-%d:1", i)
		next := onward
		served := join(t, ca, names[i], mesh.Options{Policy: parsePolicy(t, everybody)})
		_, listener := start(t, served, &echo{unary: func(ctx context.Context, text string) (string, error) {
			began := time.Now()
			if deadline, ok := ctx.Deadline(); ok {
				h.mu.Lock()
				h.left[i-1] = time.Until(deadline)
				h.mu.Unlock()
			}
			err := next(ctx)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ended[i-1] = time.Since(began)
			return text, err
		}})
		n.add(address, listener)
		route := fmt.Sprintf("kind: Route\nhosts: [%q]\nhttp: [%s]\n", address, routes[i-1])
		h.caller = join(t, ca, names[i-1], mesh.Options{Policy: parsePolicy(t, route)})
		conn := connect(t, h.caller, &n, "static:///"+address, mesh.ExpectIdentity("spiffe://shop.test/"+names[i]))
		onward = func(ctx context.Context) error {
			_, err := call(ctx, conn, echoMethod, "x")
			return err
		}
		conn.Connect()
	}
	h.call = onward
	time.Sleep(time.Second)
	return h
}

// Each service has less time than the one that called it, all work ends with the
// caller's, and nobody waits for longer than its route says.
func TestDeadlinesOverThreeHops(t *testing.T) {
	t.Parallel()
	const none = `{retries: {attempts: 0}}`
	ms := func(list ...int) (d [3]time.Duration) {
		for i, n := range list {
			d[i] = time.Duration(n) * time.Millisecond
		}
		return d
	}
	for name, test := range map[string]struct {
		routes   [3]string
		deadline time.Duration // the caller's; zero: none
		cancel   time.Duration // when it leaves; zero: it does not
		left     [3]time.Duration
		ended    [3]time.Duration
		want     codes.Code
		text     string
	}{
		"passed on": {
			routes: [3]string{none, none, none}, deadline: time.Second,
			left: ms(1000, 1000, 1000), ended: ms(1000, 1000, 1000), want: codes.DeadlineExceeded,
		},
		"minus a margin": {
			routes:   [3]string{none, `{timeoutMargin: 20ms, retries: {attempts: 0}}`, `{timeoutMargin: 30ms, retries: {attempts: 0}}`},
			deadline: time.Second, left: ms(1000, 980, 950), ended: ms(950, 950, 950), want: codes.DeadlineExceeded,
		},
		"capped": {
			routes: [3]string{none, `{timeout: 200ms, timeoutMargin: 20ms, retries: {attempts: 0}}`, none}, deadline: time.Second,
			left: ms(1000, 200, 200), ended: ms(200, 200, 200), want: codes.DeadlineExceeded,
		},
		"not stretched": {
			routes: [3]string{none, `{timeout: 10s, retries: {attempts: 0}}`, none}, deadline: time.Second,
			left: ms(1000, 1000, 1000), ended: ms(1000, 1000, 1000), want: codes.DeadlineExceeded,
		},
		"by default": {
			routes: [3]string{none, none, none}, left: ms(15000, 15000, 15000), ended: ms(15000, 15000, 15000), want: codes.DeadlineExceeded,
		},
		"cancelled": {
			routes: [3]string{none, none, none}, deadline: time.Second, cancel: 300 * time.Millisecond,
			left: ms(1000, 1000, 1000), ended: ms(300, 300, 300), want: codes.Canceled,
		},
		"too little for the last": {
			routes: [3]string{none, `{timeoutMargin: 50ms, retries: {attempts: 0}}`, `{minRemainingTime: 60ms, retries: {attempts: 2}}`}, deadline: 100 * time.Millisecond,
			left: ms(100, 50, 0), want: codes.DeadlineExceeded, text: "timeoutMargin takes 0s and minRemainingTime wants 60ms",
		},
		"less than the margin": {
			routes: [3]string{none, `{timeoutMargin: 200ms}`, none}, deadline: 100 * time.Millisecond,
			left: ms(100, 0, 0), want: codes.DeadlineExceeded, text: "not sent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHops(t, test.routes)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				if test.cancel > 0 {
					time.AfterFunc(test.cancel, cancel)
				}
				err := h.call(ctx)
				time.Sleep(time.Second) // the services hear it a moment later
				if status.Code(err) != test.want || !strings.Contains(err.Error(), test.text) {
					t.Errorf("%v, want %v %q", err, test.want, test.text)
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				if h.left != test.left || h.ended != test.ended {
					t.Errorf("they had %v left and ended after %v, want %v and %v", h.left, h.ended, test.left, test.ended)
				}
			})
		})
	}
}

// What has too little time left is not sent, be it a call or a stream, and a retry is
// not made that would have.
func TestTooLittleTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, `---
kind: Route
hosts: ["static:///replica-0:1,replica-1:1"]
http: [{minRemainingTime: 100ms, retries: {attempts: 5, backoff: 50ms}}]
`, func(int, context.Context) error { return status.Error(codes.Unavailable, "down") })
		try := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := call(ctx, c.conn, echoMethod, "x")
			return err
		}
		if err := try(99 * time.Millisecond); status.Code(err) != codes.DeadlineExceeded || c.total() != 0 {
			t.Errorf("%v after %d attempts", err, c.total())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 99*time.Millisecond)
		defer cancel()
		stream, err := openStream(ctx, c.conn, chatMethod)
		if err == nil {
			err = stream.RecvMsg(new(wrapperspb.StringValue))
		}
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a stream: %v", err)
		}
		if got := c.client.Stats().TooLate; got != 2 {
			t.Errorf("%d were too late, want 2", got)
		}
		if err := try(130 * time.Millisecond); status.Code(err) != codes.Unavailable || c.total() != 1 {
			t.Errorf("%v after %d attempts, want one", err, c.total())
		}
	})
}

func TestExplainDeadlines(t *testing.T) {
	t.Parallel()
	e := parsePolicy(t, "kind: Route\nhosts: [orders]\nhttp: [{timeoutMargin: 10ms, minRemainingTime: 20ms}]").Explain(mesh.Query{Target: "dns:///orders:1", Method: echoMethod})
	if e.TimeoutMargin != 10*time.Millisecond || e.MinRemainingTime != 20*time.Millisecond ||
		!strings.Contains(e.String(), "  margin: 10ms before the caller's deadline\n  not made with less than 20ms left\n") {
		t.Error(e)
	}
}
