package xds_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh/xds"
)

// destination pins the servers and nothing else.
const destination = `
kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
`

// Endpoints come, are replaced under load without an error, and leave.
func TestEndpointsAndUpdates(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	for _, a := range []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"} {
		f.serve(t, a, nil)
	}
	c.send(t, service("10.0.0.1:7000", "10.0.0.2:7000")...)
	m := f.join(t, "portico", destination+`---
kind: Route
hosts: [orders]
http:
- retries: {attempts: 0}
`)
	conn := f.connect(t, c.plane(t), m)
	ready(t, m, conn, 2)
	// The mesh's balancer takes turns, once the last connection is among its choices.
	eventually(t, "100 calls in turn", func() bool {
		f.reset()
		must(t, conn, 100)
		return f.count("10.0.0.1:7000") == 50 && f.count("10.0.0.2:7000") == 50
	})

	ctx, stop := context.WithCancel(t.Context())
	var failed atomic.Int64
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				if err := call(context.WithoutCancel(ctx), conn); err != nil {
					failed.Add(1)
					t.Errorf("during the update: %v", err)
				}
			}
		})
	}
	for range 10 {
		c.send(t, service("10.0.0.2:7000", "10.0.0.3:7000")...)
		time.Sleep(20 * time.Millisecond)
		c.send(t, service("10.0.0.1:7000", "10.0.0.3:7000")...)
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	work.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d calls failed without retries", failed.Load())
	}
	eventually(t, "calls to the last endpoints alone", func() bool {
		f.reset()
		must(t, conn, 10)
		return f.count("10.0.0.1:7000") == 5 && f.count("10.0.0.2:7000") == 0 && f.count("10.0.0.3:7000") == 5
	})
}

const first, second = "10.0.0.1:7000", "10.0.0.2:7000"

// share calls n times and returns the part that the first of two servers had.
func (f *fleet) share(t *testing.T, call func(int), n int) float64 {
	t.Helper()
	f.reset()
	call(n)
	a, b := f.count(first), f.count(second)
	if a+b != int64(n) {
		t.Errorf("%d calls made %d attempts", n, a+b)
	}
	return float64(a) / float64(n)
}

// near says whether a share of n draws is within four standard deviations of p.
func near(share, p float64, n int) bool {
	return math.Abs(share-p) <= 4*math.Sqrt(p*(1-p)/float64(n))
}

// Weights of clusters are the control plane's, each cluster with a balancer of the
// mesh's own beneath; so are weights of endpoints and localities.
func TestWeights(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, nil)
	f.serve(t, second, nil)
	m := f.join(t, "portico", destination)
	conn := f.connect(t, c.plane(t), m)
	const calls = 2000
	split := func(a, b uint32) {
		c.send(t, listener(), routesTo(map[string]uint32{"v1": a, "v2": b}),
			clusterOf("v1"), clusterOf("v2"),
			assign("v1", endpoint{address: first}), assign("v2", endpoint{address: second}))
	}
	split(90, 10)
	ready(t, m, conn, 2)
	all := func(n int) { must(t, conn, n) }
	if got := f.share(t, all, calls); !near(got, 0.9, calls) {
		t.Errorf("90/10 was %.3f", got)
	}
	split(30, 70)
	eventually(t, "30/70", func() bool { return near(f.share(t, all, 200), 0.3, 200) })
	if got := f.share(t, all, calls); !near(got, 0.3, calls) {
		t.Errorf("30/70 was %.3f", got)
	}

	for _, test := range []struct {
		name       string
		assignment *endpointv3.ClusterLoadAssignment
		want       float64
	}{
		{"endpoints", assign("orders", endpoint{address: first, weight: 80}, endpoint{address: second, weight: 20}), 0.8},
		{"localities", func() *endpointv3.ClusterLoadAssignment {
			a := assign("orders", endpoint{address: first, zone: "north/a"}, endpoint{address: second, zone: "south/a"})
			a.Endpoints[0].LoadBalancingWeight = wrapperspb.UInt32(1)
			a.Endpoints[1].LoadBalancingWeight = wrapperspb.UInt32(3)
			return a
		}(), 0.25},
		{"priorities", assign("orders", endpoint{address: first, priority: 1}, endpoint{address: second}), 0},
	} {
		c.send(t, listener(), routesTo(map[string]uint32{"orders": 1}), clusterOf("orders"), test.assignment)
		eventually(t, test.name, func() bool { return near(f.share(t, all, 200), test.want, 200) })
		if got := f.share(t, all, calls); !near(got, test.want, calls) {
			t.Errorf("%s: %.3f of the calls went to the first, want %.3f", test.name, got, test.want)
		}
	}
}

// Without its control plane the mesh goes on, and hears of updates once it is back.
func TestControlPlaneDown(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	f.serve(t, "10.0.0.2:7000", nil)
	c.send(t, service("10.0.0.1:7000")...)
	m := f.join(t, "portico", destination)
	conn := f.connect(t, c.plane(t), m)
	ready(t, m, conn, 1)
	c.kill()
	must(t, conn, 500)
	c.send(t, service("10.0.0.2:7000")...)
	must(t, conn, 500)
	if n := f.count("10.0.0.2:7000"); n != 0 {
		t.Errorf("%d calls by an update that nobody can have heard of", n)
	}
	c.start(t)
	eventually(t, "the update", func() bool {
		must(t, conn, 1)
		return f.count("10.0.0.2:7000") > 0
	})
}

// Whatever the control plane says of retries, N attempts are N.
func TestRetriesInOnePlace(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", func() error { return status.Error(codes.Unavailable, "down") })
	resources := service("10.0.0.1:7000")
	routes, _ := resources[1].(*routev3.RouteConfiguration)
	routes.VirtualHosts[0].Routes[0].GetRoute().RetryPolicy = &routev3.RetryPolicy{
		RetryOn: "unavailable", NumRetries: wrapperspb.UInt32(4),
	}
	c.send(t, resources...)
	m := f.join(t, "portico", destination+`---
kind: Route
hosts: [orders]
http:
- retries: {attempts: 2, backoff: 1ms}
`)
	conn := f.connect(t, c.plane(t), m)
	const calls = 4 // the reserve of the budget is a hundred
	for range calls {
		if err := call(t.Context(), conn); status.Code(err) != codes.Unavailable {
			t.Fatalf("call: %v", err)
		}
	}
	if n := f.count("10.0.0.1:7000"); n != 3*calls {
		t.Errorf("%d calls made %d attempts, want three each", calls, n)
	}
	if s := m.Stats(); s.Attempts != 3*calls || s.Retries != 2*calls {
		t.Errorf("stats: %+v", s)
	}
}

// A failing endpoint is ejected by the mesh, which gRPC alone would not do: the
// control plane has said nothing of outliers.
func TestEjection(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	addresses := []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"}
	for i, a := range addresses {
		f.serve(t, a, func() error {
			if i == 1 {
				return status.Error(codes.Unavailable, "down")
			}
			return nil
		})
	}
	c.send(t, service(addresses...)...)
	m := f.join(t, "portico", destination)
	conn := f.connect(t, c.plane(t), m)
	ready(t, m, conn, 3)
	must(t, conn, 300) // retries go elsewhere
	if n := f.count(addresses[1]); n != 5 {
		t.Errorf("the failing endpoint got %d attempts, want five", n)
	}
	for _, e := range m.Stats().Endpoints {
		if e.Ejected != (e.Address == addresses[1]) {
			t.Errorf("endpoint %+v", e)
		}
	}
	// An endpoint keeps its record over an update that it survives.
	c.send(t, service(addresses[:2]...)...)
	ready(t, m, conn, 2)
	must(t, conn, 100)
	if n := f.count(addresses[1]); n != 5 {
		t.Errorf("after the update it got %d attempts", n)
	}
}

// What the policy does not let out is not dialled, whoever knows its endpoints.
func TestEgress(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	c.send(t, service("10.0.0.1:7000")...)
	m := f.join(t, "portico", destination+`---
kind: Egress
name: portico
hosts: [{host: payments}]
`)
	conn := f.connect(t, c.plane(t), m)
	err := call(t.Context(), conn)
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "orders") {
		t.Errorf("call: %v", err)
	}
	if m.Stats().EgressDenied != 1 || f.count("10.0.0.1:7000") != 0 {
		t.Errorf("stats: %+v", m.Stats())
	}
}

// A service that the control plane does not know any more fails its calls at once, with a
// reason.
func TestUnknownService(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, nil)
	c.send(t, service(first)...)
	conn := f.connect(t, c.plane(t), f.join(t, "portico", destination+`---
kind: Route
hosts: [orders]
http:
- retries: {attempts: 0}
`))
	must(t, conn, 1)
	c.send(t)
	// The cluster may be gone before the listener is, to gRPC.
	eventually(t, "a call that fails for want of the service", func() bool {
		err := call(t.Context(), conn)
		if err != nil && (status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "orders")) {
			t.Errorf("call: %v", err)
		}
		return err != nil && strings.Contains(err.Error(), "Listener")
	})
}

// The bootstrap configuration comes from where gRPC looks for it, at the time of New.
func TestEnvironment(t *testing.T) {
	t.Setenv("GRPC_XDS_BOOTSTRAP", "")
	t.Setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "")
	if _, err := xds.New(xds.Options{}); err == nil || !strings.Contains(err.Error(), "no bootstrap configuration") {
		t.Errorf("without any: %v", err)
	}
	f, c := newFleet(t), newControl(t)
	f.serve(t, first, nil)
	c.send(t, service(first)...)
	for name, value := range map[string]string{
		"GRPC_XDS_BOOTSTRAP_CONFIG": string(c.bootstrap("")),
		"GRPC_XDS_BOOTSTRAP":        filepath.Join(t.TempDir(), "bootstrap.json"), // it comes first
	} {
		t.Setenv(name, value)
	}
	if _, err := xds.New(xds.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a file that is missing: %v", err)
	}
	if err := os.WriteFile(os.Getenv("GRPC_XDS_BOOTSTRAP"), c.bootstrap(""), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		plane, err := xds.New(xds.Options{})
		if err != nil {
			t.Fatal(err)
		}
		must(t, f.connect(t, plane, f.join(t, "portico", destination)), 1)
		t.Setenv("GRPC_XDS_BOOTSTRAP", "") // the text, then
	}
}

// insecureServers is n servers of a bootstrap configuration.
func insecureServers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"server_uri": "x:%d", "channel_creds": [{"type": "insecure"}]}`, i)
	}
	return strings.Join(list, ",")
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ bootstrap, want string }{
		"no JSON":          {`{`, "bootstrap configuration: unexpected end"},
		"no server":        {`{"node": {"id": "x"}}`, "want at least one"},
		"no credentials":   {`{"xds_servers": [{"server_uri": "x:1"}]}`, "server 0: channel_creds"},
		"unknown ones":     {`{"xds_servers": [{"server_uri": "x:1", "channel_creds": [{"type": "telepathy"}]}]}`, "that gRPC knows"},
		"of an authority":  {`{"authorities": {"a": {"xds_servers": [{}]}}}`, "authorities: a: server 0"},
		"the same twice":   {`{"xds_servers": [` + insecureServers(1) + "," + insecureServers(1) + `]}`, ""},
		"many servers":     {`{"xds_servers": [` + insecureServers(16) + `]}`, ""},
		"too many servers": {`{"xds_servers": [` + insecureServers(17) + `]}`, "more than 16 servers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := xds.New(xds.Options{Bootstrap: []byte(test.bootstrap)})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
		})
	}
	f, c := newFleet(t), newControl(t)
	m := f.join(t, "portico", destination)
	if _, err := c.plane(t).NewClient(m, "dns:///orders:1"); err == nil {
		t.Error("a client of a target that is not xds")
	}
	if _, err := m.NewClient(target); err == nil || !strings.Contains(err.Error(), "mesh/xds") {
		t.Errorf("a client without a control plane: %v", err)
	}
}
