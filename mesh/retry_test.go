package mesh_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// cluster is some replicas of one service, and a client of all.
type cluster struct {
	client *mesh.Mesh
	conn   *grpc.ClientConn
	calls  []atomic.Int64 // that reached each replica's handler
}

// newCluster starts replicas in memory; handle answers for replica i.
func newCluster(t *testing.T, replicas int, policy string, handle func(i int, ctx context.Context) error) *cluster {
	t.Helper()
	ca := newCA(t, "shop.test", time.Hour)
	c := &cluster{calls: make([]atomic.Int64, replicas)}
	var n network
	addresses := make([]string, replicas)
	allow := parsePolicy(t, everybody)
	for i := range replicas {
		address := fmt.Sprintf("replica-%d:1", i)
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: allow}), &echo{unary: func(ctx context.Context, text string) (string, error) {
			c.calls[i].Add(1)
			return text, handle(i, ctx)
		}})
		n.add(address, listener)
		addresses[i] = address
	}
	target := "static:///" + strings.Join(addresses, ",")
	text := "kind: Destination\nhost: " + target + "\nidentities: [" + orders + "]\n" + policy
	c.client = join(t, ca, "portico", mesh.Options{Policy: parsePolicy(t, text)})
	c.conn = connect(t, c.client, &n, target)
	c.settle(t)
	return c
}

// settle waits until every replica is connected, so that counts are exact.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	c.conn.Connect()
	for range 1000 {
		ready := 0
		for _, e := range c.client.Stats().Endpoints {
			if e.Ready {
				ready++
			}
		}
		if ready == len(c.calls) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the replicas did not connect")
}

func (c *cluster) total() int64 {
	var n int64
	for i := range c.calls {
		n += c.calls[i].Load()
	}
	return n
}

const noReserve = `trafficPolicy: {retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 0, ttl: 10s}}
`

// When every replica fails, retries add a fifth to the load and no more.
func TestRetryBudgetWhenAllFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, noReserve, func(int, context.Context) error {
			return status.Error(codes.Unavailable, "down")
		})
		const calls = 2000
		for range calls {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); status.Code(err) != codes.Unavailable {
				t.Fatalf("call: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
		extra := c.total() - calls
		t.Logf("%d calls, %d extra attempts", calls, extra)
		if extra > calls/5 || extra < calls/6 {
			t.Errorf("%d extra attempts for %d calls, want a fifth at most and little less", extra, calls)
		}
		if s := c.client.Stats(); s.Retries != uint64(extra) || s.RetriesRefused == 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// One of three always fails: its calls are repeated elsewhere, it is ejected, and
// probed in vain.
func TestFailingReplicaIsEjected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, "", func(i int, _ context.Context) error {
			if i == 1 {
				return status.Error(codes.Unavailable, "down")
			}
			return nil
		})
		const calls = 3000
		for i := range calls {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		// 30 s: five errors in a row, then perhaps one probe.
		if n := c.calls[1].Load(); n < 5 || n > 6 {
			t.Errorf("the failing replica got %d of %d calls, want 5 and a probe at most", n, calls)
		}
		for _, e := range c.client.Stats().Endpoints {
			if e.Ejected != (e.Address == "replica-1:1") {
				t.Errorf("endpoint %+v", e)
			}
		}
		time.Sleep(2 * time.Second)
		if a, b := c.calls[0].Load(), c.calls[2].Load(); a < b*9/10 || b < a*9/10 {
			t.Errorf("the others got %d and %d, want about the same", a, b)
		}
	})
}

// A replica that recovers is in use again after its ejection.
func TestRecoveredReplicaReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		c := newCluster(t, 2, "trafficPolicy: {outlierDetection: {baseEjectionTime: 5s}}\n", func(i int, _ context.Context) error {
			if i == 0 && down.Load() {
				return status.Error(codes.Unavailable, "down")
			}
			return nil
		})
		for range 100 {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		before := c.calls[0].Load()
		if before != 5 {
			t.Errorf("the failing replica got %d calls before its ejection, want 5", before)
		}
		down.Store(false)
		time.Sleep(6 * time.Second)
		for range 100 {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.calls[0].Load() - before; n < 48 || n > 52 {
			t.Errorf("after its return it got %d of 100 calls", n)
		}
	})
}

// Which failures are tried again.
func TestWhatIsRetried(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, policy string
		code                 codes.Code
		pushback             string
		attempts             int64
		waits                time.Duration // at least
	}{
		{name: "unavailable", method: echoMethod, code: codes.Unavailable, attempts: 3},
		{name: "not idempotent", method: writeMethod, code: codes.Unavailable, attempts: 1},
		{name: "another code", method: echoMethod, code: codes.Internal, attempts: 1},
		{name: "not found", method: echoMethod, code: codes.NotFound, attempts: 1},
		{name: "told to stop", method: echoMethod, code: codes.Unavailable, pushback: "-1", attempts: 1},
		{name: "told nonsense", method: echoMethod, code: codes.Unavailable, pushback: "soon", attempts: 1},
		{name: "told to wait", method: echoMethod, code: codes.Unavailable, pushback: "700", attempts: 3, waits: 1400 * time.Millisecond},
		{name: "told to wait beyond the deadline", method: echoMethod, code: codes.Unavailable, pushback: "60000", attempts: 1},
		{name: "by route, 5xx", method: echoMethod, code: codes.Internal, attempts: 5, policy: `---
kind: Route
hosts: ["static:///replica-0:1"]
http:
- match: [{uri: {exact: /mesh.test.Echo/Echo}}]
  retries: {attempts: 4, retryOn: 5xx, backoff: 100ms}
`, waits: time.Second},
		{name: "by route, never", method: echoMethod, code: codes.Unavailable, attempts: 1, policy: `---
kind: Route
hosts: ["static:///replica-0:1"]
http:
- retries: {attempts: 0}
`},
		{name: "unimplemented is no 5xx", method: echoMethod, code: codes.Unimplemented, attempts: 1, policy: `---
kind: Route
hosts: ["static:///replica-0:1"]
http:
- retries: {attempts: 4, retryOn: 5xx}
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, test.policy, func(_ int, ctx context.Context) error {
					if test.pushback != "" {
						if err := grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", test.pushback)); err != nil {
							return err
						}
					}
					return status.Error(test.code, "no")
				})
				began := time.Now()
				_, err := call(t.Context(), c.conn, test.method, "x")
				if status.Code(err) != test.code {
					t.Errorf("call: %v, want %v", err, test.code)
				}
				if n := c.total(); n != test.attempts {
					t.Errorf("%d attempts, want %d", n, test.attempts)
				}
				if took := time.Since(began); took < test.waits {
					t.Errorf("took %v, want at least %v", took, test.waits)
				}
			})
		})
	}
}

// A replica that swallows calls costs a try each, until it is ejected.
func TestPerTryTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, `---
kind: Route
hosts: ["static:///replica-0:1,replica-1:1,replica-2:1"]
http:
- timeout: 2s
  retries: {attempts: 2, perTryTimeout: 100ms}
`, func(i int, ctx context.Context) error {
			if i == 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		for i := range 300 {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		if n := c.calls[2].Load(); n != 5 {
			t.Errorf("the silent replica got %d calls, want 5", n)
		}
	})
}

// The earlier of a route's timeout and the caller's deadline counts.
func TestRouteTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, "---\nkind: Route\nhosts: [\"static:///replica-0:1\"]\nhttp: [{timeout: 2s}]\n", func(_ int, ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		for deadline, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Minute: 2 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			began := time.Now()
			_, err := call(ctx, c.conn, echoMethod, "x")
			if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != want {
				t.Errorf("with %v, after %v: %v", deadline, took, err)
			}
			cancel()
		}
	})
}

// A caller without a deadline gets one; one with a deadline keeps it.
func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, "", func(_ int, ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		_, err := call(t.Context(), c.conn, echoMethod, "x")
		if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != 15*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		for _, deadline := range []time.Duration{time.Second, time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			began = time.Now()
			_, err = call(ctx, c.conn, echoMethod, "x")
			if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != deadline {
				t.Errorf("with %v, after %v: %v", deadline, took, err)
			}
			cancel()
		}
	})
}

// Of three replicas on real sockets one is killed under load: no idempotent call
// fails, and the dead one is not asked again.
func TestKilledReplica(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	allow := parsePolicy(t, everybody)
	var servers []*mesh.Server
	var addresses []string
	for range 3 {
		server := join(t, ca, "orders", mesh.Options{Policy: allow}).NewServer()
		register(server, &echo{unary: func(_ context.Context, text string) (string, error) {
			time.Sleep(2 * time.Millisecond)
			return text, nil
		}})
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		serve(t, server, listener)
		servers = append(servers, server)
		addresses = append(addresses, listener.Addr().String())
	}
	client := join(t, ca, "portico", mesh.Options{})
	conn, err := client.NewClient("static:///"+strings.Join(addresses, ","), mesh.ExpectIdentity(orders))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	failed := make(chan error, 16)
	var calls atomic.Int64
	for range cap(failed) {
		go func() {
			var first error
			for range 200 {
				if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil && first == nil {
					first = err
				}
				if calls.Add(1) == 1000 {
					servers[1].Stop()
				}
			}
			failed <- first
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Errorf("a call failed: %v", err)
		}
	}
	out := 0
	for _, e := range client.Stats().Endpoints {
		if !e.Ready || e.Ejected {
			out++
		}
	}
	if out != 1 {
		t.Errorf("%d replicas are out of use, want 1: %+v", out, client.Stats().Endpoints)
	}
	t.Logf("%d retries", client.Stats().Retries)
}
