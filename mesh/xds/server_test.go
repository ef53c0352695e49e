package xds_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/xds"
)

// inbound is the listener of a server; denied says that RBAC lets nobody in.
func inbound(at net.Addr, denied bool) *listenerv3.Listener {
	host, port, _ := net.SplitHostPort(at.String())
	number, _ := strconv.Atoi(port)
	filters := []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})}}}
	if denied {
		filters = append([]*hcmv3.HttpFilter{{Name: "rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{
			TypedConfig: pack(&rbacv3.RBAC{Rules: &rbacpolicyv3.RBAC{Action: rbacpolicyv3.RBAC_ALLOW}}),
		}}}, filters...)
	}
	return &listenerv3.Listener{
		Name: "inbound/" + at.String(),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)},
		}}},
		ListenerFiltersTimeout: durationpb.New(time.Second),
		DefaultFilterChain: &listenerv3.FilterChain{Name: "all", Filters: []*listenerv3.Filter{{
			Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&hcmv3.HttpConnectionManager{
				HttpFilters: filters,
				RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
					Name: "inbound",
					VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
						Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
						Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
					}}}},
				}},
			})},
		}}},
	}
}

// A server serves once its listener has come; the control plane's RBAC and the mesh's
// authorization must both let a call in.
func TestServer(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	plane, err := xds.New(xds.Options{Bootstrap: c.bootstrap(`, "server_listener_resource_name_template": "inbound/%s"`)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := plane.NewServer(f.join(t, "orders", strings.Replace(everybody, `"*"`, "spiffe://shop.test/portico", 1)))
	if err != nil {
		t.Fatal(err)
	}
	echo(server)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		work.Wait()
	})

	try := func(workload string, pairs ...string) codes.Code {
		t.Helper()
		m := f.join(t, workload, destination)
		conn, err := m.NewClient("static:///"+listener.Addr().String(), mesh.ExpectIdentity(orders))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return status.Code(call(metadata.AppendToOutgoingContext(t.Context(), pairs...), conn))
	}
	if got := try("portico"); got != codes.Unavailable {
		t.Errorf("before there is a listener: %v", got)
	}
	c.send(t, inbound(listener.Addr(), false))
	eventually(t, "calls served", func() bool { return try("portico") == codes.OK })
	if got := try("mallory"); got != codes.PermissionDenied {
		t.Errorf("who has no rule: %v", got)
	}
	if got := try("portico", "x-much", strings.Repeat("x", 100<<10)); got == codes.OK {
		t.Error("metadata beyond the mesh's bound is taken")
	}
	if got := plane.Ignored(); len(got) != 1 || got[0].Path != "listener_filters_timeout" || got[0].Target != "server" {
		t.Errorf("ignored: %v", got)
	}
	c.send(t, inbound(listener.Addr(), true))
	eventually(t, "calls denied by RBAC", func() bool { return try("portico") == codes.PermissionDenied })
	server.GracefulStop()
	if got := plane.Ignored(); len(got) != 0 {
		t.Errorf("of a stopped server: %v", got)
	}
}

// Draining ends with the time that it is given, and what still runs with it.
func TestServerDrain(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	plane, err := xds.New(xds.Options{Bootstrap: c.bootstrap(`, "server_listener_resource_name_template": "inbound/%s"`)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := plane.NewServer(f.join(t, "orders", everybody))
	if err != nil {
		t.Fatal(err)
	}
	hangs := make(chan struct{}, 1)
	register(server, func(ctx context.Context, text string) (string, error) {
		hangs <- struct{}{}
		<-ctx.Done()
		return "", status.FromContextError(ctx.Err()).Err()
	})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.send(t, inbound(listener.Addr(), false))
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	defer work.Wait()
	once := "kind: Route\nhosts: [127.0.0.1]\nhttp:\n- retries: {attempts: 0}\n"
	conn, err := f.join(t, "portico", once).NewClient("static:///"+listener.Addr().String(), mesh.ExpectIdentity(orders))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answer := make(chan error, 1)
	work.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		answer <- conn.Invoke(ctx, echoMethod, wrapperspb.String("x"), new(wrapperspb.StringValue), grpc.WaitForReady(true))
	})
	<-hangs
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := server.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("draining with a call that hangs: %v", err)
	}
	if err := <-answer; err == nil {
		t.Error("the call that hung was answered")
	}
	if got := plane.Ignored(); len(got) != 0 {
		t.Errorf("of a drained server: %v", got)
	}
}

func TestServerWithoutTemplate(t *testing.T) {
	t.Parallel()
	f, c := newFleet(t), newControl(t)
	if _, err := c.plane(t).NewServer(f.join(t, "orders", everybody)); err == nil || !strings.Contains(err.Error(), "server_listener_resource_name_template") {
		t.Errorf("NewServer: %v", err)
	}
	plane, err := xds.New(xds.Options{Bootstrap: c.bootstrap(`, "certificate_providers": {"a": {"plugin_name": "file_watcher", "config": {}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plane.NewServer(f.join(t, "orders", everybody)); err == nil || !strings.Contains(err.Error(), "does not accept") {
		t.Errorf("NewServer with a bad provider: %v", err)
	}
}
