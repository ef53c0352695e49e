package xds_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh/xds"
)

// A client that was idle asks the control plane anew.
func TestIdle(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, nil)
	f.serve(t, second, nil)
	c.send(t, service(first)...)
	plane := c.plane(t)
	conn, err := plane.NewClient(f.join(t, "portico", destination), target, grpc.WithContextDialer(f.dial), grpc.WithIdleTimeout(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn, 1)
	eventually(t, "idle", func() bool { return conn.GetState() == connectivity.Idle })
	c.send(t, service(second)...)
	must(t, conn, 1)
	if a, b := f.count(first), f.count(second); a != 1 || b != 1 {
		t.Errorf("%d and %d calls", a, b)
	}
}

// A second server of the bootstrap configuration answers where the first is not to be
// reached, and each server keeps the credentials that are its own.
func TestFallbackServer(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, nil)
	c.send(t, service(first)...)
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	plane, err := xds.New(xds.Options{Bootstrap: fmt.Appendf(nil, `{
		"xds_servers": [
			{"server_uri": %q, "channel_creds": [{"type": "tls"}], "server_features": ["xds_v3"]},
			{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
		],
		"node": {"id": %q}
	}`, gone.Addr(), c.address, node)})
	if err != nil {
		t.Fatal(err)
	}
	must(t, f.connect(t, plane, f.join(t, "portico", destination)), 10)
}

// gRPC's outlier detection, above the mesh's balancer, takes endpoints from it.
func TestOutliersOfTheControlPlane(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, func() error { return status.Error(codes.Internal, "broken") })
	f.serve(t, second, nil)
	resources := service(first, second)
	cluster, _ := resources[2].(*clusterv3.Cluster)
	cluster.OutlierDetection = &clusterv3.OutlierDetection{
		Interval:                       durationpb.New(100 * time.Millisecond),
		MaxEjectionPercent:             wrapperspb.UInt32(50),
		EnforcingSuccessRate:           wrapperspb.UInt32(0),
		EnforcingFailurePercentage:     wrapperspb.UInt32(100),
		FailurePercentageThreshold:     wrapperspb.UInt32(50),
		FailurePercentageMinimumHosts:  wrapperspb.UInt32(1),
		FailurePercentageRequestVolume: wrapperspb.UInt32(5),
	}
	c.send(t, resources...)
	plane, m := c.plane(t), f.join(t, "portico", destination) // of INTERNAL the mesh ejects nobody
	conn := f.connect(t, plane, m)
	ready(t, m, conn, 2)
	ejected := func() bool {
		f.reset()
		for range 20 {
			_ = call(t.Context(), conn)
		}
		return f.count(first) == 0
	}
	eventually(t, "no calls to the failing endpoint", ejected)
	if got := plane.Ignored(); len(got) != 0 {
		t.Errorf("ignored: %v", got)
	}
	if got := m.Stats().Ejections; got != 0 {
		t.Errorf("the mesh itself has ejected %d", got)
	}
}
