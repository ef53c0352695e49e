package mesh_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// Two workloads in one process: a server that lets one caller check its health,
// and clients that have the right identity and the wrong one.
func Example() {
	ctx := context.Background()
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

	orders := join("orders")
	defer func() { _ = orders.Close() }()
	server := orders.NewServer()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	for _, name := range []string{"portico", "fleet"} {
		m := join(name)
		conn, err := m.NewClient("static:///"+listener.Addr().String(), mesh.ExpectIdentity("spiffe://shop.test/orders"))
		if err != nil {
			fmt.Println(err)
			return
		}
		reply, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		fmt.Println(name, reply.GetStatus(), status.Code(err))
		_, _ = conn.Close(), m.Close()
	}

	drain, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	fmt.Println("drained:", server.Drain(drain), <-served)
	// Output:
	// portico SERVING OK
	// fleet UNKNOWN PermissionDenied
	// drained: <nil> <nil>
}

// A policy file is checked whole: each mistake has its place.
func ExampleLoadPolicy() {
	dir, err := os.MkdirTemp("", "mesh")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	text := `kind: Destination
host: orders
identities: [spiffe://shop.test]
trafficPolicy:
  loadBalancer: {simple: ROUND_ROBBIN}
`
	if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	_, err = mesh.LoadPolicy(filepath.Join(dir, "mesh.yaml"))
	fmt.Println(strings.ReplaceAll(err.Error(), dir+"/", ""))
	// Output:
	// mesh.yaml:3:14: identity: "spiffe://shop.test", want a whole SPIFFE id such as "spiffe://shop.test/orders"
	// mesh.yaml:5:26: simple: the mesh does not honour "ROUND_ROBBIN", want "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM" or "PEAK_EWMA"; did you mean "ROUND_ROBIN"?
}

// Containers get their identities as files that are renewed.
func ExampleFileIdentity() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "mesh")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ca.Close() }()
	if err := ca.WriteFiles(ctx, dir, "orders"); err != nil {
		fmt.Println(err)
		return
	}
	identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: filepath.Join(dir, "orders")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = identity.Close() }()
	svid, err := identity.GetX509SVID()
	fmt.Println(svid.ID, err)
	// Output: spiffe://shop.test/orders <nil>
}
