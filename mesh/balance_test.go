package mesh_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
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

// A header decides where a call goes, and keeps deciding so.
func TestConsistentHash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var last atomic.Int64
		c := newCluster(t, 5, "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}\n", func(i int, _ context.Context) error {
			last.Store(int64(i))
			return nil
		})
		used := map[int64]bool{}
		for user := range 40 {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-user", fmt.Sprint("user-", user))
			first := int64(-1)
			for range 5 {
				if _, err := call(ctx, c.conn, echoMethod, "x"); err != nil {
					t.Fatal(err)
				}
				if got := last.Load(); first >= 0 && got != first {
					t.Fatalf("user %d went to replica %d, then to %d", user, first, got)
				}
				first = last.Load()
			}
			used[first] = true
		}
		if len(used) != 5 {
			t.Errorf("40 users went to %d replicas, want all 5", len(used))
		}
	})
}

// A replica that fails at once does not draw calls to itself; nothing is ejected here.
func TestPeakEWMA(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, "trafficPolicy: {loadBalancer: {simple: PEAK_EWMA}}\n", func(i int, ctx context.Context) error {
			if i == 1 {
				return status.Error(codes.Internal, "fast")
			}
			time.Sleep(5 * time.Millisecond)
			return ctx.Err()
		})
		const calls = 1500
		var work sync.WaitGroup
		for range calls {
			work.Go(func() { _, _ = call(t.Context(), c.conn, writeMethod, "x") })
			time.Sleep(2 * time.Millisecond)
		}
		work.Wait()
		if failing := c.calls[1].Load(); failing == 0 || failing >= calls/100 {
			t.Errorf("%d of %d calls went to the failing replica", failing, calls)
		}
	})
}

// zoned are endpoints in three zones: a:1 and b:1 here, c:1 in the region, d:1 in
// another one.
func zoned() []mesh.Endpoint {
	return []mesh.Endpoint{
		{Address: "a:1", Zone: "north/1"}, {Address: "b:1", Zone: "north/1"}, {Address: "c:1", Zone: "north/2"}, {Address: "d:1", Zone: "south/1"},
	}
}

// The nearest zone has all calls, until its endpoints are gone.
func TestZones(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "a:1", "b:1", "c:1", "d:1")
		var services list
		policy := parsePolicy(t, "kind: Destination\nhost: orders\nidentities: ["+orders+"]\n")
		client := join(t, ca, "portico", mesh.Options{Discovery: &services, Policy: policy, Zone: "north/1"})
		conn := connect(t, client, &f.network, "mesh:///orders")
		try := func() error {
			_, err := call(t.Context(), conn, echoMethod, "x")
			return err
		}
		if err := try(); err != nil {
			t.Fatal(err)
		}
		services.mu.Lock()
		update := services.updates["orders"]
		services.mu.Unlock()
		for want, endpoints := range map[string][]mesh.Endpoint{
			"a:1 b:1": zoned(),
			"c:1":     zoned()[2:],
			"d:1":     zoned()[3:],
		} {
			update(endpoints, nil)
			time.Sleep(time.Second)
			if got := f.reached(t, try); got != want {
				t.Errorf("calls reach %q, want %q", got, want)
			}
		}
	})
}

// Retries may leave the zone at once.
func TestRetryRemoteLocalities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		var mu sync.Mutex
		var went []string
		allow := parsePolicy(t, everybody)
		for _, e := range zoned()[:3] {
			_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: allow}), &echo{unary: func(context.Context, string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if went = append(went, e.Zone); e.Zone == "north/1" {
					return "", status.Error(codes.Unavailable, "down")
				}
				return "", nil
			}})
			n.add(e.Address, listener)
		}
		var services list
		policy := parsePolicy(t, "kind: Destination\nhost: orders\nidentities: ["+orders+"]\n---\nkind: Route\nhosts: [orders]\nhttp: [{retries: {attempts: 1, retryRemoteLocalities: true}}]\n")
		conn := connect(t, join(t, ca, "portico", mesh.Options{Discovery: &services, Policy: policy, Zone: "north/1"}), &n, "mesh:///orders")
		conn.Connect()
		synctest.Wait()
		services.mu.Lock()
		update := services.updates["orders"]
		services.mu.Unlock()
		update(zoned()[:3], nil)
		time.Sleep(time.Second)
		if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(went, " "); got != "north/1 north/2" {
			t.Errorf("attempts went to %q", got)
		}
	})
}

// At most so many attempts run and wait; the rest is refused at once, and not tried
// again. Streams count until they end.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		c := newCluster(t, 2, "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 4, http1MaxPendingRequests: 3}}}\n", func(int, context.Context) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			running.Add(-1)
			return nil
		})
		stream, err := openStream(t.Context(), c.conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		var done, refused atomic.Int64
		var work sync.WaitGroup
		for range 10 {
			work.Go(func() {
				switch _, err := call(t.Context(), c.conn, echoMethod, "x"); {
				case err == nil:
					done.Add(1)
				case status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "http2MaxRequests"):
					refused.Add(1)
				default:
					t.Errorf("call: %v", err)
				}
			})
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		work.Wait()
		if _, err := call(short, c.conn, echoMethod, "x"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a call without time: %v", err)
		}
		if done.Load() != 6 || refused.Load() != 4 || most.Load() != 3 || c.client.Stats().Overflows < 4 || c.client.Stats().Retries != 0 {
			t.Errorf("%d done, %d refused, %d at a time beside the stream; %+v", done.Load(), refused.Load(), most.Load(), c.client.Stats())
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_ = stream.RecvMsg(nil)
		for range 4 {
			work.Go(func() {
				if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil {
					t.Errorf("after the stream: %v", err)
				}
			})
		}
		work.Wait()
		if most.Load() != 4 {
			t.Errorf("%d at a time after the stream, want 4", most.Load())
		}
	})
}

func TestMaxConcurrentStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, "trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 2}}}\n", func(int, context.Context) error {
			time.Sleep(time.Second)
			return nil
		})
		var refused atomic.Int64
		var work sync.WaitGroup
		for range 6 {
			work.Go(func() {
				if _, err := call(t.Context(), c.conn, echoMethod, "x"); err != nil && strings.Contains(err.Error(), "maxConcurrentStreams") {
					refused.Add(1)
				}
			})
		}
		work.Wait()
		if refused.Load() != 2 || c.calls[0].Load() != 2 || c.calls[1].Load() != 2 {
			t.Errorf("%d refused, %d and %d calls", refused.Load(), c.calls[0].Load(), c.calls[1].Load())
		}
	})
}

// connections counts connections that are open.
type connections struct {
	*network
	open, made atomic.Int64
}

func (c *connections) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := c.network.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	c.made.Add(1)
	return &countedConn{Conn: conn, close: sync.OnceFunc(func() { c.open.Add(-1) })}, nil
}

type countedConn struct {
	net.Conn
	close func()
}

func (c *countedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// A connection is replaced after so many requests, and no request is lost by it.
func TestMaxRequestsPerConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "a:1")
		n := connections{network: &f.network}
		policy := parsePolicy(t, "kind: Destination\nhost: a\nidentities: ["+orders+"]\ntrafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 10}}}\n")
		client := join(t, ca, "portico", mesh.Options{Policy: policy})
		conn, err := client.NewClient("static:///a:1", grpc.WithContextDialer(n.dial))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := openStream(t.Context(), conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			synctest.Wait()
		}
		if made := n.made.Load(); made < 9 || made > 12 {
			t.Errorf("%d connections for 101 requests, want about one for ten", made)
		}
		if open := n.open.Load(); open != 2 {
			t.Errorf("%d connections are open, want the last one and the stream's", open)
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
		_ = stream.RecvMsg(nil)
		synctest.Wait()
		if open := n.open.Load(); open != 1 {
			t.Errorf("%d connections are open after the stream, want one", open)
		}
		_ = conn.Close()
		synctest.Wait()
		if open := n.open.Load(); open != 0 {
			t.Errorf("%d connections are open in the end", open)
		}
	})
}

// So many endpoints are connected to, one of each kind and then the nearest; a change
// of the policy holds at once.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	f := newFleet(t, ca, "a:1", "b:1", "c:1", "d:1")
	file := t.TempDir() + "/mesh.yaml"
	write := func(connections int) {
		writeFile(t, file, fmt.Sprintf("kind: Destination\nhost: orders\nidentities: [%s]\ntrafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}\n", orders, connections))
	}
	write(3)
	endpoints := zoned()
	endpoints[3].Labels = map[string]string{"version": "v2"} // which must not be left out
	services := fixedList(endpoints)
	client := join(t, ca, "portico", mesh.Options{Discovery: services, PolicyFile: file, Zone: "north/1"})
	conn := connect(t, client, &f.network, "mesh:///orders")
	try := func() error {
		_, err := call(t.Context(), conn, echoMethod, "x")
		return err
	}
	connected := func(want string) {
		t.Helper()
		var got []string
		for range 1000 {
			_ = try()
			got = got[:0]
			for _, e := range client.Stats().Endpoints {
				if e.Ready {
					got = append(got, e.Address)
				}
			}
			if strings.Join(got, " ") == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Errorf("connected to %q, want %q", got, want)
	}
	connected("a:1 b:1 d:1")
	write(4)
	connected("a:1 b:1 c:1 d:1")
	write(3)
	connected("a:1 b:1 d:1")
}

// writeFile replaces a file at once, as what renews files in production does.
// writeFile puts a file in place at once: half of one would be another.
func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

func TestExplainBalancing(t *testing.T) {
	t.Parallel()
	policy := parsePolicy(t, "kind: Destination\nhost: orders\nidentities: ["+orders+"]\ntrafficPolicy:\n"+
		"  loadBalancer: {consistentHash: {httpHeaderName: x-user}}\n  connectionPool: {tcp: {maxConnections: 3}, http: {http2MaxRequests: 2, http1MaxPendingRequests: 0}}\n")
	got := policy.Explain(mesh.Query{Target: "orders:7000", Method: echoMethod}).String()
	for _, want := range []string{
		"  balancing: CONSISTENT_HASH\n  by the header x-user\n",
		"  limits: http1MaxPendingRequests 0, http2MaxRequests 2, maxConnections 3\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nwithout %q", got, want)
		}
	}
}
