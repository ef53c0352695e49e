package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/mesh"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream"
)

// hedgingPolicy lets portico in, and hedges calls to two replicas.
const hedgingPolicy = `
kind: Authorization
name: portico
action: ALLOW
rules:
  - from: [{source: {principals: ["spiffe://test.local/portico"]}}]
    to: [{operation: {paths: ["/shop.orders.v1.OrderService/*"]}}]
---
kind: Route
hosts: ["%s"]
http:
- timeout: 10s
  hedging: {maxAttempts: 2, hedgingDelay: 20ms}
`

// meshDialer dials through a mesh.
type meshDialer struct{ *mesh.Mesh }

func (d meshDialer) NewClient(target, identity string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return d.Mesh.NewClient(target, append(opts, mesh.ExpectIdentity(identity))...)
}

// TestRawRepliesHedge calls two replicas, one of which hangs, through the mesh: each call has its answer from the other.
func TestRawRepliesHedge(t *testing.T) {
	t.Parallel()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "test.local"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		if listeners[i], err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	target := fmt.Sprintf("static:///%s,%s", listeners[0].Addr(), listeners[1].Addr())
	policy, err := mesh.ParsePolicy("policy.yaml", fmt.Appendf(nil, hedgingPolicy, target))
	if err != nil {
		t.Fatal(err)
	}
	member := func(name string) *mesh.Mesh {
		identity, err := ca.Identity(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mesh.New(t.Context(), mesh.Options{Identity: identity, Policy: policy, Idempotent: func(string) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(m.Close(), identity.Close()) })
		return m
	}
	for i, lis := range listeners {
		server := member("orders").NewServer()
		ordersv1.RegisterOrderServiceServer(server, &stub{getOrder: func(ctx context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
			if i == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &ordersv1.Order{OrderId: r.GetOrderId()}, nil
		}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(lis)
		}()
		t.Cleanup(func() {
			server.Stop()
			<-done
		})
	}
	d, portico := shop(t), member("portico")
	clients, err := upstream.NewClients(map[string]upstream.Config{"orders": {
		Target: target, Services: []string{orderService},
		TLS: upstream.TLS{Mode: upstream.TLSMesh, Identity: "spiffe://test.local/orders"},
	}}, d, meshDialer{portico})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = clients.Close() })
	get, req := method(t, d, orderService+"/GetOrder"), marshal(t, &ordersv1.GetOrderRequest{OrderId: "ord-1"})
	deadline := time.Now().Add(10 * time.Second)
	for connected := 0; connected < len(listeners); { // else both attempts may meet the replica that hangs
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d replicas are connected", connected, len(listeners))
		}
		clients.Ready(t.Context())
		connected = 0
		for _, e := range portico.Stats().Endpoints {
			if e.Ready {
				connected++
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	for range 6 { // round robin: half of them meet the replica that hangs
		began := time.Now()
		reply, err := clients.Invoke(t.Context(), get, req)
		order := new(ordersv1.Order)
		if err := errors.Join(err, proto.Unmarshal(reply.Message, order)); err != nil || order.GetOrderId() != "ord-1" {
			t.Fatalf("%v, %v", order, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a call took %s", took)
		}
	}
}
