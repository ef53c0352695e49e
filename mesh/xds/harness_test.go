package xds_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	node       = "test-node"
	echoMethod = "/mesh.test.Echo/Echo"
	orders     = "spiffe://shop.test/orders"
	target     = "xds:///orders"

	serviceName = "orders"
)

// control is a control plane in this process.
type control struct {
	cache   cachev3.SnapshotCache
	address string
	version int

	server *grpc.Server
	work   sync.WaitGroup
}

// newControl starts one.
func newControl(t *testing.T) *control {
	t.Helper()
	c := &control{cache: cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil), address: "127.0.0.1:0"}
	c.start(t)
	t.Cleanup(func() { c.kill() })
	return c
}

// start serves, at the same address as before.
func (c *control) start(t *testing.T) {
	t.Helper()
	var listener net.Listener
	var err error
	for range 100 { // the port may be busy for a moment
		if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", c.address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.address = listener.Addr().String()
	c.server = grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(c.server, serverv3.NewServer(context.WithoutCancel(t.Context()), c.cache, nil))
	server := c.server
	c.work.Go(func() { _ = server.Serve(listener) })
}

// kill ends it without a word to anybody.
func (c *control) kill() {
	c.server.Stop()
	c.work.Wait()
}

// plane is what a program makes of the control plane's address.
func (c *control) plane(t *testing.T) *xds.ControlPlane {
	t.Helper()
	plane, err := xds.New(xds.Options{Bootstrap: c.bootstrap("")})
	if err != nil {
		t.Fatal(err)
	}
	return plane
}

// bootstrap is the bootstrap configuration, with more fields at its end.
func (c *control) bootstrap(more string) []byte {
	return fmt.Appendf(nil, `{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "unheard_of"}, {"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": %q}%s
	}`, c.address, node, more)
}

// send replaces everything that the control plane says.
func (c *control) send(t *testing.T, resources ...types.Resource) {
	t.Helper()
	c.version++
	byType := map[resourcev3.Type][]types.Resource{}
	for _, r := range resources {
		var kind resourcev3.Type
		switch r.(type) {
		case *listenerv3.Listener:
			kind = resourcev3.ListenerType
		case *routev3.RouteConfiguration:
			kind = resourcev3.RouteType
		case *clusterv3.Cluster:
			kind = resourcev3.ClusterType
		case *endpointv3.ClusterLoadAssignment:
			kind = resourcev3.EndpointType
		}
		byType[kind] = append(byType[kind], r)
	}
	snapshot, err := cachev3.NewSnapshot(strconv.Itoa(c.version), byType)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cache.SetSnapshot(t.Context(), node, snapshot); err != nil {
		t.Fatal(err)
	}
}

// pack packs a message: one that cannot be packed is nil, which no peer takes.
func pack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil {
		return nil
	}
	return packed
}

// ads says that a resource comes over the same stream.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// listener is the orders service's; its routes have the same name.
func listener() *listenerv3.Listener {
	return &listenerv3.Listener{Name: serviceName, ApiListener: &listenerv3.ApiListener{ApiListener: pack(&hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: serviceName, ConfigSource: ads()}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	})}}
}

// routesTo sends the service's calls to clusters, by their weights.
func routesTo(weights map[string]uint32) *routev3.RouteConfiguration {
	var clusters []*routev3.WeightedCluster_ClusterWeight
	for name, weight := range weights {
		clusters = append(clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(weight)})
	}
	return &routev3.RouteConfiguration{Name: serviceName, VirtualHosts: []*routev3.VirtualHost{{
		Name: serviceName, Domains: []string{serviceName},
		Routes: []*routev3.Route{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: clusters}},
			}},
		}},
	}}}
}

func clusterOf(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	}
}

// endpoint is one of an assignment.
type endpoint struct {
	address  string
	weight   uint32
	zone     string // region/zone
	priority uint32
}

// assign gives a cluster its endpoints. Localities have a weight of one each.
func assign(cluster string, list ...endpoint) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: cluster}
	localities := map[string]*endpointv3.LocalityLbEndpoints{}
	for _, e := range list {
		key := fmt.Sprint(e.zone, e.priority)
		l := localities[key]
		if l == nil {
			region, zone, _ := strings.Cut(e.zone, "/")
			l = &endpointv3.LocalityLbEndpoints{
				Locality: &corev3.Locality{Region: region, Zone: zone}, LoadBalancingWeight: wrapperspb.UInt32(1), Priority: e.priority,
			}
			localities[key] = l
			a.Endpoints = append(a.Endpoints, l)
		}
		host, port, _ := net.SplitHostPort(e.address)
		number, _ := strconv.Atoi(port)
		lb := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
			}}},
		}}}
		if e.weight > 0 {
			lb.LoadBalancingWeight = wrapperspb.UInt32(e.weight)
		}
		l.LbEndpoints = append(l.LbEndpoints, lb)
	}
	return a
}

// service is all resources of the orders service, with one cluster.
func service(addresses ...string) []types.Resource {
	list := make([]endpoint, len(addresses))
	for i, a := range addresses {
		list[i].address = a
	}
	return []types.Resource{listener(), routesTo(map[string]uint32{serviceName: 1}), clusterOf(serviceName), assign(serviceName, list...)}
}

// fleet is servers in memory, by address, that count their calls.
type fleet struct {
	ca *mesh.DevCA

	mu    sync.Mutex
	calls map[string]*atomic.Int64
	peers map[string]string // the last caller of each
	at    map[string]*bufconn.Listener
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	return &fleet{ca: ca, calls: map[string]*atomic.Int64{}, peers: map[string]string{}, at: map[string]*bufconn.Listener{}}
}

// join makes the mesh of one workload.
func (f *fleet) join(t *testing.T, name, policy string) *mesh.Mesh {
	t.Helper()
	identity, err := f.ca.Identity(name)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mesh.ParsePolicy("mesh.yaml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mesh.New(t.Context(), mesh.Options{
		Identity: identity, Policy: parsed, Idempotent: func(string) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

const everybody = `
kind: Authorization
name: everybody
action: ALLOW
rules:
- from: [{source: {principals: ["*"]}}]
`

// serve starts a server at an address, with the identity of orders; answer may be nil.
func (f *fleet) serve(t *testing.T, address string, answer func() error) {
	t.Helper()
	f.serveAs(t, "orders", address, answer)
}

func (f *fleet) serveAs(t *testing.T, workload, address string, answer func() error) {
	t.Helper()
	f.listen(t, f.join(t, workload, everybody).NewServer().Server, address, answer)
}

// listen serves the echo service at an address.
func (f *fleet) listen(t *testing.T, server *grpc.Server, address string, answer func() error) {
	t.Helper()
	count := new(atomic.Int64)
	register(server, func(ctx context.Context, text string) (string, error) {
		count.Add(1)
		id, _ := mesh.Peer(ctx)
		f.mu.Lock()
		f.peers[address] = id.String()
		f.mu.Unlock()
		if answer != nil {
			return text, answer()
		}
		return text, nil
	})
	listener := bufconn.Listen(64 << 10)
	f.mu.Lock()
	f.calls[address], f.at[address] = count, listener
	f.mu.Unlock()
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		work.Wait()
	})
}

func (f *fleet) dial(ctx context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	l := f.at[address]
	f.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens on %s", address)
	}
	return l.DialContext(ctx)
}

// count is the calls that reached a server, since the last reset.
func (f *fleet) count(address string) int64 { return f.calls[address].Load() }

// peer is who has called a server last.
func (f *fleet) peer(address string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peers[address]
}

func (f *fleet) reset() {
	for _, c := range f.calls {
		c.Store(0)
	}
}

// connect makes a client of the orders service.
func (f *fleet) connect(t *testing.T, plane *xds.ControlPlane, m *mesh.Mesh) *grpc.ClientConn {
	t.Helper()
	conn, err := plane.NewClient(m, target, grpc.WithContextDialer(f.dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func register(s grpc.ServiceRegistrar, echo func(context.Context, string) (string, error)) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "mesh.test.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				in := new(wrapperspb.StringValue)
				if err := decode(in); err != nil {
					return nil, err
				}
				serve := func(ctx context.Context, _ any) (any, error) {
					text, err := echo(ctx, in.GetValue())
					return wrapperspb.String(text), err
				}
				if intercept == nil {
					return serve(ctx, in)
				}
				return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: echoMethod}, serve)
			},
		}},
	}, nil)
}

// call makes a call.
func call(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	reply := new(wrapperspb.StringValue)
	return conn.Invoke(ctx, echoMethod, wrapperspb.String("x"), reply)
}

// must makes calls, none of which may fail.
func must(t *testing.T, conn *grpc.ClientConn, calls int) {
	t.Helper()
	for i := range calls {
		if err := call(t.Context(), conn); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 1000 {
		if so() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("still not: %s", what)
}

// ready waits until so many endpoints are connected.
func ready(t *testing.T, m *mesh.Mesh, conn *grpc.ClientConn, n int) {
	t.Helper()
	conn.Connect()
	eventually(t, fmt.Sprint(n, " endpoints connected"), func() bool {
		connected := 0
		for _, e := range m.Stats().Endpoints {
			if e.Ready {
				connected++
			}
		}
		return connected == n && len(m.Stats().Endpoints) == n
	})
}

// canary marks a call.
func canary(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-canary", "true")
}

// echo registers a service that answers with its input.
func echo(s grpc.ServiceRegistrar) {
	register(s, func(_ context.Context, text string) (string, error) { return text, nil })
}
