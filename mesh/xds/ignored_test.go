package xds_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/xds"
)

// wishes is a service with most of what proxies have and gRPC has not.
func wishes() []types.Resource {
	resources := service("10.0.0.1:7000", "10.0.0.2:7000")
	inner := listener()
	inner.ApiListener.ApiListener = pack(&hcmv3.HttpConnectionManager{
		StatPrefix:        "orders",
		StreamIdleTimeout: durationpb.New(time.Minute),
		RouteSpecifier:    &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "orders", ConfigSource: ads()}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "adaptive", IsOptional: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&adaptivev3.AdaptiveConcurrency{})}},
			{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})}},
		},
	})
	resources[0] = inner

	routes, _ := resources[1].(*routev3.RouteConfiguration)
	action := routes.GetVirtualHosts()[0].GetRoutes()[0].GetRoute()
	action.Timeout = durationpb.New(3 * time.Second)
	action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{GrpcTimeoutHeaderMax: durationpb.New(time.Minute)}
	action.RetryPolicy = &routev3.RetryPolicy{RetryOn: "unavailable", NumRetries: wrapperspb.UInt32(3), PerTryTimeout: durationpb.New(time.Second)}
	action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "v2"}, {Cluster: "v3"}}

	cluster, _ := resources[2].(*clusterv3.Cluster)
	cluster.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	cluster.ConnectTimeout = durationpb.New(time.Second)
	cluster.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: wrapperspb.UInt32(100), MaxPendingRequests: wrapperspb.UInt32(7), MaxRequests: wrapperspb.UInt32(1000),
	}}}
	cluster.OutlierDetection = &clusterv3.OutlierDetection{
		Consecutive_5Xx: wrapperspb.UInt32(5), ConsecutiveGatewayFailure: wrapperspb.UInt32(3), Interval: durationpb.New(time.Second),
	}
	cluster.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 40}}

	assignment, _ := resources[3].(*endpointv3.ClusterLoadAssignment)
	assignment.Policy = &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(200)}
	for _, e := range assignment.GetEndpoints()[0].GetLbEndpoints() {
		e.GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{PortValue: 8080}
	}
	assignment.Endpoints = append(assignment.Endpoints, &endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{Region: "north", Zone: "a"}, LbEndpoints: []*endpointv3.LbEndpoint{{}},
	})
	return resources
}

// Every field that is set and does nothing is named, and none that does something.
func TestIgnored(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	f.serve(t, "10.0.0.2:7000", nil)
	c.send(t, wishes()...)
	plane := c.plane(t)
	m := f.join(t, "portico", destination)
	conn := f.connect(t, plane, m)
	must(t, conn, 1)

	type short struct {
		Kind, Path string
		Count      int
	}
	var got []short
	all := plane.Ignored()
	for _, field := range all {
		got = append(got, short{field.Kind, field.Path, field.Count})
	}
	want := []short{
		{"Cluster", "circuit_breakers.thresholds[].max_connections", 1},
		{"Cluster", "circuit_breakers.thresholds[].max_pending_requests", 1},
		{"Cluster", "common_lb_config", 1},
		{"Cluster", "connect_timeout", 1},
		{"Cluster", "lb_policy", 1},
		{"Cluster", "outlier_detection.consecutive_5xx", 1},
		{"Cluster", "outlier_detection.consecutive_gateway_failure", 1},
		{"ClusterLoadAssignment", "endpoints[]", 1},
		{"ClusterLoadAssignment", "endpoints[].lb_endpoints[].endpoint.health_check_config", 2},
		{"ClusterLoadAssignment", "policy.overprovisioning_factor", 1},
		{"Listener", "api_listener.api_listener.http_filters[] adaptive", 1},
		{"Listener", "api_listener.api_listener.stream_idle_timeout", 1},
		{"RouteConfiguration", "virtual_hosts[].routes[].route.request_mirror_policies[]", 1},
		{"RouteConfiguration", "virtual_hosts[].routes[].route.retry_policy", 1},
		{"RouteConfiguration", "virtual_hosts[].routes[].route.timeout", 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var lines strings.Builder
	for _, field := range all {
		fmt.Fprintln(&lines, field)
		if field.Target != target || field.Resource != "orders" {
			t.Errorf("%+v", field)
		}
	}
	for _, line := range []string{
		`xds:///orders: Cluster "orders" outlier_detection.consecutive_5xx = {value:5}: the Destination's outlierDetection.consecutive5xxErrors`,
		`xds:///orders: RouteConfiguration "orders" virtual_hosts[].routes[].route.retry_policy = {retry_on:"unavailable" num_retries:{value:3} per_try_timeout:{seconds:1}}: retries are the mesh's: the Route's retries`,
		`xds:///orders: Cluster "orders" lb_policy = LEAST_REQUEST: the mesh's balancer picks the endpoints, as the Destination's loadBalancer says`,
		`endpoint.health_check_config = {port_value:8080} (and 1 more)`,
		`endpoints[] = locality north/a: without a load_balancing_weight, a locality gets no requests`,
	} {
		if !strings.Contains(lines.String(), line) {
			t.Errorf("%s\n does not say\n%s", &lines, line)
		}
	}
	// The mesh's Explain has them, too.
	if explained := m.Explain(mesh.Query{Target: target, Method: echoMethod}); len(explained.Ignored) != len(want) ||
		!strings.Contains(explained.String(), "ignored: ") {
		t.Errorf("explanation: %+v", explained)
	}

	// What the control plane takes back is forgotten, and so is what a closed client had.
	c.send(t, service("10.0.0.1:7000")...)
	eventually(t, "nothing ignored", func() bool { return len(plane.Ignored()) == 0 })
	c.send(t, wishes()...)
	eventually(t, "the same again", func() bool { return len(plane.Ignored()) == len(want) })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if left := plane.Ignored(); len(left) != 0 {
		t.Errorf("of a closed client: %v", left)
	}
}

// A cluster's own choice of a balancer is left to it, and told.
func TestBalancerOfTheControlPlane(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	resources := service("10.0.0.1:7000")
	cluster, _ := resources[2].(*clusterv3.Cluster)
	balance := func(name string, config *structpb.Struct) {
		cluster.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
			TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(&roundrobinv3.RoundRobin{})},
		}}}
		if config != nil {
			cluster.LoadBalancingPolicy.Policies[0].TypedExtensionConfig.TypedConfig = pack(typed(config))
		}
		c.send(t, resources...)
	}
	balance("round_robin", nil)
	plane := c.plane(t)
	m := f.join(t, "portico", destination)
	conn := f.connect(t, plane, m)
	must(t, conn, 1)
	if got := plane.Ignored(); len(got) != 1 || got[0].Path != "load_balancing_policy" || !strings.Contains(got[0].Why, "gRPC's own balancer") {
		t.Errorf("ignored: %v", got)
	}
	if got := m.Stats().Endpoints; len(got) != 0 {
		t.Errorf("the mesh has endpoints: %v", got)
	}
	// The mesh's, where the control plane asks for it by name.
	balance("portico", &structpb.Struct{})
	ready(t, m, conn, 1)
	eventually(t, "nothing to tell", func() bool { return len(plane.Ignored()) == 0 })
}

// What gRPC refuses is told with its reason, and calls go on as before.
func TestRefused(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	f.serve(t, "10.0.0.1:7000", nil)
	good := service("10.0.0.1:7000")
	c.send(t, good...)
	plane := c.plane(t)
	conn := f.connect(t, plane, f.join(t, "portico", destination))
	must(t, conn, 1)
	bad := clusterOf("orders")
	bad.LbPolicy = clusterv3.Cluster_MAGLEV
	c.send(t, good[0], good[1], bad, good[3])
	refused := func() []xds.Field {
		var list []xds.Field
		for _, field := range plane.Ignored() {
			if field.Path == "" {
				list = append(list, field)
			}
		}
		return list
	}
	eventually(t, "the refusal", func() bool { return len(refused()) == 1 })
	if got := refused()[0]; got.Kind != "Cluster" || !strings.Contains(got.Why, "MAGLEV") {
		t.Errorf("refused: %v", got)
	}
	must(t, conn, 10)
	c.send(t, good...)
	eventually(t, "no refusal", func() bool { return len(refused()) == 0 })
}
