package mesh

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// What the mesh adds to a call beyond gRPC, without gRPC: the interceptors of both
// sides with a route, a deadline, a budget, authorization and the expiry check, and
// the picker with its report.

// layer returns the two sides of a call of the mesh.
func layer(tb testing.TB) (client, server func()) {
	tb.Helper()
	ca, err := NewDevCA(DevCAOptions{TrustDomain: "shop.test"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ca.Close() })
	identity, err := ca.Identity("orders")
	if err != nil {
		tb.Fatal(err)
	}
	policy, err := ParsePolicy("mesh.yaml", []byte(`
kind: Authorization
name: callers
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/portico, spiffe://shop.test/orders]}}]
  to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
---
kind: RateLimit
name: callers
rules:
- to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
  tokenBucket: {maxTokens: 1000000, tokensPerFill: 1000000, fillInterval: 10ms}
---
kind: Overload
name: server
rules:
- gradientControllerConfig: {}
---
kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
trafficPolicy:
  loadBalancer: {simple: PEAK_EWMA}
  connectionPool:
    http: {http2MaxRequests: 1000, http1MaxPendingRequests: 1000, maxConcurrentStreams: 1000}
  outlierDetection:
    consecutiveGatewayErrors: 5
    consecutive5xxErrors: 5
    interval: 10s
    successRateEjection: {}
    baseEjectionTime: 30s
    maxEjectionPercent: 50
  retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10s}
---
kind: Route
hosts: [orders]
http:
- match: [{uri: {prefix: /shop.orders.v1.CartService/}}]
  timeout: 1s
- match: [{uri: {prefix: /shop.orders.v1.OrderService/}}]
  timeout: 10s
  retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}
---
kind: Egress
name: callers
hosts: [{host: orders}]
`))
	if err != nil {
		tb.Fatal(err)
	}
	m, err := New(tb.Context(), Options{Identity: identity, Policy: policy})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	const method = "/shop.orders.v1.OrderService/GetOrder"
	return clientLayer(tb, m, method), serverLayer(tb, m, identity, method)
}

func clientLayer(tb testing.TB, m *Mesh, method string) func() {
	tb.Helper()
	ch := &channel{mesh: m, target: "dns:///orders:7000", gate: gate.New(gate.Config{})}
	ch.pool = outlier.NewPool(ch.plan().destination.Outlier, ch.ejected)
	hosts := make([]picker.Member, 10)
	pickers := make([]balancer.Picker, len(hosts))
	for i := range hosts {
		hosts[i] = picker.Member{Host: ch.pool.Host(string(rune('a' + i))), Ready: true}
		pickers[i] = leaf{}
	}
	choose := &lbPicker{channel: ch, set: picker.New(hosts), pickers: pickers}
	invoke := func(ctx context.Context, method string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
		result, err := choose.Pick(balancer.PickInfo{FullMethodName: method, Ctx: ctx})
		if err != nil {
			return err
		}
		result.Done(balancer.DoneInfo{})
		return nil
	}
	ctx := tb.Context()
	return func() {
		if err := ch.unary(ctx, method, nil, nil, nil, invoke); err != nil {
			tb.Fatal(err)
		}
	}
}

// leaf is the picker of one connection.
type leaf struct{}

func (leaf) Pick(balancer.PickInfo) (balancer.PickResult, error) { return balancer.PickResult{}, nil }

func serverLayer(tb testing.TB, m *Mesh, identity Identity, method string) func() {
	tb.Helper()
	svid, err := identity.GetX509SVID()
	if err != nil {
		tb.Fatal(err)
	}
	info := credentials.TLSInfo{SPIFFEID: svid.ID.URL()}
	info.State.PeerCertificates = svid.Certificates
	m.lives.ends.Store(&info.State.PeerCertificates[0], time.Now().Add(time.Hour))
	ctx := peer.NewContext(tb.Context(), &peer.Peer{AuthInfo: info})
	handle := func(context.Context, any) (any, error) { return nil, nil } //nolint:nilnil // it stands for any handler
	called := &grpc.UnaryServerInfo{FullMethod: method}
	return func() {
		if _, err := m.serveUnary(ctx, nil, called, handle); err != nil {
			tb.Fatal(err)
		}
	}
}

//nolint:paralleltest // allocations of other tests would be counted
func TestAllocationsOfTheLayers(t *testing.T) {
	client, server := layer(t)
	if n := testing.AllocsPerRun(200, client); n > 14 {
		t.Errorf("%v allocations at the client, want 14 at most", n)
	}
	if n := testing.AllocsPerRun(200, server); n > 4 {
		t.Errorf("%v allocations at the server, want 4 at most", n)
	}
}

func BenchmarkLayers(b *testing.B) {
	client, server := layer(b)
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			client()
		}
	})
	b.Run("server", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			server()
		}
	})
}
