package mesh_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// permissive lets anybody Echo, mesh peers Write but for mallory, and the server take
// plaintext.
const permissive = `
kind: PeerAuthentication
principals: [spiffe://shop.test/orders]
mtls: {mode: PERMISSIVE}
---
kind: Authorization
name: anybody
action: ALLOW
rules: [{to: [{operation: {paths: [/mesh.test.Echo/Echo, /mesh.test.Echo/Watch]}}]}]
---
kind: Authorization
name: peers
action: ALLOW
rules:
- from: [{source: {principals: ["*"]}}, {source: {notPrincipals: [spiffe://shop.test/nobody]}}]
  to: [{operation: {paths: [/mesh.test.Echo/Write]}}]
---
kind: Authorization
name: not-mallory
action: DENY
rules:
- from: [{source: {principals: [spiffe://shop.test/mallory]}}]
  to: [{operation: {paths: [/mesh.test.Echo/Watch]}}]
`

// plain is a client without TLS.
func plain(tb testing.TB, dial func(context.Context, string) (net.Conn, error), target string) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A permissive server has plaintext callers beside those of the mesh. They are nobody:
// no rule that allows principals allows them, and one that denies some denies them.
func TestPermissiveServer(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	var accepted atomic.Int64
	var known atomic.Bool
	reader := sdkmetric.NewManualReader()
	orders := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, permissive), MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), OnEvent: func(e mesh.Event) {
		if e.Kind == mesh.PlaintextAccepted && e.Endpoint != "" {
			accepted.Add(1)
		}
	}})
	_, listener := start(t, orders, &echo{unary: func(ctx context.Context, text string) (string, error) {
		_, ok := mesh.Peer(ctx)
		known.Store(ok)
		return text, nil
	}})
	var n network
	n.add("a:1", listener)
	outside := plain(t, n.dial, "passthrough:///a:1")
	if got, err := call(t.Context(), outside, echoMethod, "hello"); got != "hello" || err != nil || known.Load() {
		t.Errorf("plaintext call = %q, %v, from a peer: %v", got, err, known.Load())
	}
	if _, err := call(t.Context(), outside, writeMethod, "x"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a rule for principals let plaintext in: %v", err)
	}
	stream, err := openStream(t.Context(), outside, watchMethod)
	if err == nil {
		err = stream.RecvMsg(nil)
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a rule that denies a principal let plaintext past: %v", err)
	}
	stats := orders.Stats()
	if stats.Plaintext != 3 || !stats.Permissive || accepted.Load() != 1 || stats.Allowed != 1 || stats.Denied != 2 {
		t.Errorf("stats = %+v, %d accepted", stats, accepted.Load())
	}
	if got := read(t, reader)["mesh.server.plaintext"]; got != 3 {
		t.Errorf("the meter has %v calls, want 3", got)
	}
	inside := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
	if _, err := call(t.Context(), inside, writeMethod, "x"); err != nil || !known.Load() {
		t.Errorf("call over TLS = %v, from a peer: %v", err, known.Load())
	}
	if orders.Stats().Plaintext != 3 {
		t.Error("a call over TLS was counted as plaintext")
	}
}

// Whoever is not named, or serves at another port, stays strict.
func TestPermissiveByName(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	const anybody = "---\nkind: Authorization\nname: a\naction: ALLOW\nrules: [{to: [{operation: {paths: [\"*\"]}}]}]\n"
	ca := newCA(t, "shop.test", time.Hour)
	_ = listener.Close()
	for name, test := range map[string]struct {
		policy string
		want   codes.Code
	}{
		"default":       {"kind: Egress\nname: e\nhosts: []\n", codes.Unavailable},
		"strict":        {"kind: PeerAuthentication\nmtls: {mode: STRICT}\n", codes.Unavailable},
		"another":       {"kind: PeerAuthentication\nprincipals: [spiffe://shop.test/users]\nmtls: {mode: PERMISSIVE}\n", codes.Unavailable},
		"its port":      {"kind: PeerAuthentication\nprincipals: [spiffe://shop.test/orders]\nportLevelMtls: {" + port + ": {mode: PERMISSIVE}}\n", codes.OK},
		"another port":  {"kind: PeerAuthentication\nprincipals: [spiffe://shop.test/orders]\nportLevelMtls: {1: {mode: PERMISSIVE}}\n", codes.Unavailable},
		"but this port": {"kind: PeerAuthentication\nprincipals: [spiffe://shop.test/orders]\nmtls: {mode: PERMISSIVE}\nportLevelMtls: {" + port + ": {mode: STRICT}}\n", codes.Unavailable},
	} {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, test.policy+anybody)}).NewServer()
		register(server, &echo{})
		serve(t, server, listener)
		conn := plain(t, func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}, "passthrough:///127.0.0.1:"+port)
		if _, err := call(t.Context(), conn, echoMethod, "x"); status.Code(err) != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		server.Stop()
	}
}

// A server that turns strict takes no more calls over the plaintext it has.
func TestPermissiveEnds(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	loaded := make(chan bool, 1)
	write := func(text string) { writeFile(t, path, text) }
	write(permissive)
	_, listener := start(t, join(t, ca, "orders", mesh.Options{PolicyFile: path, OnEvent: func(e mesh.Event) {
		if e.Kind == mesh.PolicyLoaded {
			loaded <- true
		}
	}}), &echo{})
	var n network
	n.add("a:1", listener)
	conn := plain(t, n.dial, "passthrough:///a:1")
	if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(permissive, "PERMISSIVE", "STRICT", 1))
	<-loaded
	if _, err := call(t.Context(), conn, echoMethod, "x"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("error = %v, want the call refused", err)
	}
	if n.dialled() != 1 {
		t.Error("it was another connection")
	}
}

// Who connects and says nothing, or something else than TLS and HTTP/2, is cut off and
// holds up nobody.
func TestPermissiveServerSlowLoris(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var refused atomic.Int64
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, permissive), OnEvent: func(e mesh.Event) {
			if e.Kind == mesh.HandshakeRefused {
				refused.Add(1)
			}
		}}), &echo{})
		var n network
		n.add("a:1", listener)
		began := time.Now()
		for name, says := range map[string]string{"nothing": "", "another protocol": "GET / HTTP/1.1\r\n\r\n", "half a TLS record": "\x16\x03", "half a preface": "PRI * HT"} {
			conn, err := n.dial(t.Context(), "a:1")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, says); err != nil {
				t.Fatal(err)
			}
			if name == "nothing" {
				if _, err := call(t.Context(), plain(t, n.dial, "passthrough:///a:1"), echoMethod, "x"); err != nil {
					t.Errorf("a call beside one who says %s: %v", name, err)
				}
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("%s: %v, want the end", name, err)
			}
		}
		if took := time.Since(began); took > 30*time.Second || refused.Load() != 3 {
			t.Errorf("cut off after %v in all, %d refused; want at most 30s, and all but the preface's", took, refused.Load())
		}
	})
}

// Explain says of a target that its server is not of the mesh.
func TestExplainOutside(t *testing.T) {
	t.Parallel()
	e := parsePolicy(t, "kind: Destination\nhost: login\ntrafficPolicy: {tls: {mode: SIMPLE, sni: login.test}}\n").Explain(mesh.Query{Target: "dns:///login:443", Method: "/keys"})
	if !e.Outside || !strings.Contains(e.String(), "outside of the mesh, by its name login.test") {
		t.Errorf("explanation = %s", e)
	}
}

// Explain says of a target that its server takes plaintext.
func TestExplainPermissive(t *testing.T) {
	t.Parallel()
	policy := parsePolicy(t, permissive+"---\nkind: Destination\nhost: orders\nidentities: [spiffe://shop.test/orders]\n---\nkind: Destination\nhost: users\nidentities: [spiffe://shop.test/users]\n")
	for target, want := range map[string]bool{"dns:///orders:7000": true, "dns:///users:7000": false} {
		e := policy.Explain(mesh.Query{Target: target, Method: echoMethod})
		if e.Plaintext != want || strings.Contains(e.String(), "PERMISSIVE") != want {
			t.Errorf("%s: plaintext %v\n%s", target, e.Plaintext, e)
		}
	}
}
