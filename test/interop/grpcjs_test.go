package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const (
	// life is a certificate's. Renewals come every half of it, and calls go on for run.
	life = 4 * time.Second
	run  = 9 * time.Second

	echoMethod = "/mesh.test.Echo/Echo"
)

// policy lets the Node peer call.
const policy = `
kind: Authorization
name: node
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/node]}}]
  to: [{operation: {paths: [/mesh.test.Echo/*]}}]
`

// node returns the program and has its script's packages installed; a test without them is skipped,
// or fails if PORTICO_REQUIRE_ALL is 1.
func node(t *testing.T) string {
	t.Helper()
	program, err := findNode()
	if err == nil {
		return program
	}
	if os.Getenv("PORTICO_REQUIRE_ALL") == "1" {
		t.Fatalf("%v (required with PORTICO_REQUIRE_ALL=1)", err)
	}
	t.Skip(err)
	return ""
}

// findNode finds Node.js and installs grpc-js once for all tests: they run at the same time, and two
// npm ci in one folder remove each other's files.
var findNode = sync.OnceValues(func() (string, error) {
	program, err := exec.LookPath("node")
	if err != nil {
		return "", errors.New("no node: install Node.js to check the mesh against grpc-js")
	}
	if _, err := os.Stat("grpcjs/node_modules/@grpc/grpc-js/package.json"); err == nil {
		return program, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("no npm: install Node.js to check the mesh against grpc-js")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = "grpcjs"
	if said, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in test/interop/grpcjs: %w\n%s", err, said)
	}
	return program, nil
})

// start runs the peer and returns its output; it ends with the test.
func start(t *testing.T, program string, args ...string) *bufio.Scanner {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, append([]string{"grpcjs/peer.js"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return bufio.NewScanner(out)
}

// folders has the files of three workloads, which are renewed.
func folders(t *testing.T) string {
	t.Helper()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: "shop.test", TTL: life})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	dir := t.TempDir()
	if err := ca.WriteFiles(t.Context(), dir, "go", "node", "mallory"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// join makes the mesh of a workload with files.
func join(t *testing.T, folder string) *mesh.Mesh {
	t.Helper()
	identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{Dir: folder, Interval: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = identity.Close() })
	rules, err := mesh.ParsePolicy("policy", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mesh.New(t.Context(), mesh.Options{Identity: identity, Policy: rules, Idempotent: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// serials are those of the certificates that peers have shown.
type serials struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (s *serials) add(p *peer.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		s.seen[info.State.PeerCertificates[0].SerialNumber.String()] = true
	}
}

func (s *serials) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// serve starts a mesh server that echoes.
func serve(t *testing.T, m *mesh.Mesh, callers *serials) string {
	t.Helper()
	server := m.NewServer()
	echo := func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: echoMethod}, func(ctx context.Context, req any) (any, error) {
			if p, ok := peer.FromContext(ctx); ok {
				callers.add(p)
			}
			return req, nil
		})
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "mesh.test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
	}, nil)
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
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "localhost:" + port // Node warns of addresses as names
}

// A grpc-js client calls a mesh server over renewed certificates; it refuses another
// server, and the mesh another caller.
func TestGRPCJSCallsTheMesh(t *testing.T) {
	t.Parallel()
	program, dir := node(t), folders(t)
	callers := &serials{seen: map[string]bool{}}
	address := serve(t, join(t, filepath.Join(dir, "go")), callers)
	const server = "spiffe://shop.test/go"
	for _, test := range []struct{ name, folder, expect, wants string }{
		{"another caller", "mallory", server, "7 "},
		{"another server", "node", "spiffe://shop.test/fleet", "14 "},
	} {
		said := start(t, program, "call", filepath.Join(dir, test.folder), address, test.expect, "0")
		if !said.Scan() || !strings.HasPrefix(said.Text(), test.wants) {
			t.Errorf("%s: %q, want code %s", test.name, said.Text(), test.wants)
		}
	}
	said := start(t, program, "call", filepath.Join(dir, "node"), address, server, "9000")
	calls := 0
	for said.Scan() {
		if calls++; said.Text() != "0 hello" {
			t.Errorf("call %d: %q", calls, said.Text())
		}
	}
	if n := callers.count(); calls < 50 || n < 3 {
		t.Errorf("%d calls with %d certificates, want 50 at least, with renewed ones", calls, n)
	}
}

// A mesh client calls a grpc-js server over renewed certificates; it refuses another
// server, and grpc-js another caller.
func TestTheMeshCallsGRPCJS(t *testing.T) {
	t.Parallel()
	program, dir := node(t), folders(t)
	said := start(t, program, "serve", filepath.Join(dir, "node"), "spiffe://shop.test/go")
	if !said.Scan() {
		t.Fatal("the peer said no port")
	}
	port := said.Text()
	target := "static:///127.0.0.1:" + port
	dial := func(name, expect string) func() (*peer.Peer, error) {
		conn, err := join(t, filepath.Join(dir, name)).NewClient(target, mesh.ExpectIdentity(expect))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return func() (*peer.Peer, error) {
			at, reply := new(peer.Peer), new(wrapperspb.StringValue)
			err := conn.Invoke(t.Context(), echoMethod, wrapperspb.String("hello"), reply, grpc.Peer(at))
			if err == nil && reply.GetValue() != "hello" {
				err = errors.New("answered " + reply.GetValue())
			}
			return at, err
		}
	}
	const server = "spiffe://shop.test/node"
	if _, err := dial("mallory", server)(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another caller: %v, want PERMISSION_DENIED", err)
	}
	if _, err := dial("go", "spiffe://shop.test/fleet")(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "unexpected ID") {
		t.Errorf("another server: %v, want it refused", err)
	}
	call := dial("go", server)
	servers := &serials{seen: map[string]bool{}}
	for end := time.Now().Add(run); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		at, err := call()
		if err != nil {
			t.Errorf("call: %v", err)
			continue
		}
		servers.add(at)
	}
	if n := servers.count(); n < 3 {
		t.Errorf("%d certificates, want renewed ones", n)
	}
}
