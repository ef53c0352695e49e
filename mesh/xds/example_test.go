package xds_test

import (
	"context"
	"fmt"
	"net"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/xds"
)

// A control plane, a service and its client in one process. The control plane wants
// ejections that gRPC does not have, and is told where the mesh has them.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ca.Close() }()
	policy, err := mesh.ParsePolicy("mesh.yaml", []byte(`
kind: Authorization
name: health
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/portico]}}]
  to: [{operation: {paths: [/grpc.health.v1.Health/Check]}}]
---
kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	join := func(name string) *mesh.Mesh {
		identity, err := ca.Identity(name)
		if err != nil {
			panic(err)
		}
		m, err := mesh.New(ctx, mesh.Options{Identity: identity, Policy: policy})
		if err != nil {
			panic(err)
		}
		return m
	}
	listen := func() net.Listener {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		return listener
	}

	// The service.
	orders := join("orders")
	defer func() { _ = orders.Close() }()
	server := orders.NewServer()
	defer server.Stop()
	at := listen()
	go func() { _ = server.Serve(at) }()

	// The control plane.
	cluster := clusterOf("orders")
	cluster.OutlierDetection = &clusterv3.OutlierDetection{Consecutive_5Xx: wrapperspb.UInt32(5)}
	snapshot, err := cachev3.NewSnapshot("1", map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: {listener()},
		resourcev3.RouteType:    {routesTo(map[string]uint32{"orders": 1})},
		resourcev3.ClusterType:  {cluster},
		resourcev3.EndpointType: {assign("orders", endpoint{address: at.Addr().String()})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	snapshots := cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil)
	if err := snapshots.SetSnapshot(ctx, "portico-1", snapshot); err != nil {
		fmt.Println(err)
		return
	}
	control := grpc.NewServer()
	defer control.Stop()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(control, serverv3.NewServer(ctx, snapshots, nil))
	controlAt := listen()
	go func() { _ = control.Serve(controlAt) }()

	// The client.
	plane, err := xds.New(xds.Options{Bootstrap: fmt.Appendf(nil, `{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": "portico-1"}
	}`, controlAt.Addr())})
	if err != nil {
		fmt.Println(err)
		return
	}
	portico := join("portico")
	defer func() { _ = portico.Close() }()
	conn, err := plane.NewClient(portico, "xds:///orders")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(reply.GetStatus(), err)
	for _, field := range plane.Ignored() {
		fmt.Println(field)
	}
	// Output:
	// SERVING <nil>
	// xds:///orders: Cluster "orders" outlier_detection.consecutive_5xx = {value:5}: the Destination's outlierDetection.consecutive5xxErrors
}
