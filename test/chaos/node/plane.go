package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"strconv"
	"strings"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"                     // in listeners
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3" // in listeners
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// planeNode is how clients call themselves towards the control plane.
const planeNode = "chaos"

// Bootstrap is the bootstrap configuration of clients of the control plane at an address.
func Bootstrap(address string) string {
	return fmt.Sprintf(`{
		"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": %q}
	}`, address, planeNode)
}

// Plane is a node that is an xDS control plane, and nothing else. It knows nothing until
// it is told.
type Plane struct {
	listener net.Listener
	server   *grpc.Server
	cache    cachev3.SnapshotCache
	versions int
}

func newPlane(ctx context.Context, address string) (*Plane, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	p := &Plane{listener: listener, server: grpc.NewServer(), cache: cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil)}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(p.server, serverv3.NewServer(context.WithoutCancel(ctx), p.cache, nil))
	return p, nil
}

// runPlane serves until its input ends.
func runPlane(ctx context.Context, address string, in io.ReadCloser, out io.Writer) error {
	p, err := newPlane(ctx, address)
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	remote := rpc.NewServer()
	if err := remote.RegisterName("Node", p); err != nil {
		return errors.Join(err, p.listener.Close())
	}
	var work sync.WaitGroup
	work.Go(func() { _ = p.server.Serve(p.listener) })
	remote.ServeConn(pipe{in, out})
	p.server.Stop()
	work.Wait()
	return nil
}

// Address tells where it serves.
func (p *Plane) Address(_ None, out *string) error {
	*out = p.listener.Addr().String()
	return nil
}

// Publication is a service and where it is.
type Publication struct {
	Service   string
	Addresses []string
}

// Publish tells all clients of one service, instead of what they have been told before.
// There is one caller at a time.
func (p *Plane) Publish(in Publication, _ *None) error {
	var list []string
	for _, address := range in.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		list = append(list, fmt.Sprintf(`{"endpoint": {"address": {"socketAddress": {"address": %q, "portValue": %s}}}}`, host, port))
	}
	named := strings.NewReplacer("SERVICE", in.Service, "ENDPOINTS", strings.Join(list, ", "))
	resources := map[resourcev3.Type][]types.Resource{}
	for kind, one := range map[resourcev3.Type]struct {
		message types.Resource
		text    string
	}{
		resourcev3.ListenerType: {&listenerv3.Listener{}, listener},
		resourcev3.RouteType:    {&routev3.RouteConfiguration{}, route},
		resourcev3.ClusterType:  {&clusterv3.Cluster{}, cluster},
		resourcev3.EndpointType: {&endpointv3.ClusterLoadAssignment{}, assignment},
	} {
		if err := protojson.Unmarshal([]byte(named.Replace(one.text)), one.message); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		resources[kind] = []types.Resource{one.message}
	}
	p.versions++
	snapshot, err := cachev3.NewSnapshot(strconv.Itoa(p.versions), resources)
	if err != nil {
		return err
	}
	return p.cache.SetSnapshot(context.Background(), planeNode, snapshot)
}

// The resources of one service with one cluster of its name.
const (
	listener = `{"name": "SERVICE", "apiListener": {"apiListener": {
		"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"rds": {"routeConfigName": "SERVICE", "configSource": {"ads": {}}},
		"httpFilters": [{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
	}}}`
	route = `{"name": "SERVICE", "virtualHosts": [{
		"name": "SERVICE", "domains": ["SERVICE"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "SERVICE"}}]
	}]}`
	cluster    = `{"name": "SERVICE", "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}}`
	assignment = `{"clusterName": "SERVICE", "endpoints": [{
		"locality": {"region": "north", "zone": "1"}, "loadBalancingWeight": 1, "lbEndpoints": [ENDPOINTS]
	}]}`
)
