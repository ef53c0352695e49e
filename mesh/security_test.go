package mesh_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

const (
	portico = "spiffe://shop.test/portico"
	orders  = "spiffe://shop.test/orders"
)

// Who must not reach a server: none of them gets as far as a handler.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	reached := false
	server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)})
	_, listener := start(t, server, &echo{unary: func(_ context.Context, text string) (string, error) {
		reached = true
		return text, nil
	}})
	var n network
	n.add("a:1", listener)

	trusted, err := ca.Identity("portico")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newCA(t, "shop.test", time.Hour).Identity("portico")
	if err != nil {
		t.Fatal(err)
	}
	otherDomain, err := newCA(t, "evil.test", time.Hour).Identity("portico")
	if err != nil {
		t.Fatal(err)
	}
	pin := tlsconfig.AuthorizeID(spiffeid.RequireFromString(orders))
	withVersion := func(version uint16) credentials.TransportCredentials {
		config := tlsconfig.MTLSClientConfig(trusted, trusted, pin)
		config.MinVersion, config.MaxVersion = version, version
		return credentials.NewTLS(config)
	}
	for name, creds := range map[string]credentials.TransportCredentials{
		"plaintext":                       insecure.NewCredentials(),
		"no client certificate":           credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}),
		"an authority of the same domain": credentials.NewTLS(tlsconfig.MTLSClientConfig(foreign, trusted, pin)),
		"another trust domain":            credentials.NewTLS(tlsconfig.MTLSClientConfig(otherDomain, trusted, pin)),
		"TLS 1.2":                         withVersion(tls.VersionTLS12),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///a:1", grpc.WithTransportCredentials(creds), grpc.WithContextDialer(n.dial))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := call(ctx, conn, echoMethod, "x"); status.Code(err) != codes.Unavailable {
				t.Errorf("call: %v, want UNAVAILABLE", err)
			}
		})
	}
	if reached {
		t.Error("a refused client reached the handler")
	}
	conn, err := grpc.NewClient("passthrough:///a:1", grpc.WithTransportCredentials(withVersion(tls.VersionTLS13)), grpc.WithContextDialer(n.dial))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
		t.Errorf("a plain gRPC client with a good certificate: %v", err)
	}
}

// Whom a client must not talk to.
func TestClientRefuses(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	other := newCA(t, "shop.test", time.Hour)
	policy := parsePolicy(t, everybody+`---
kind: Destination
host: orders:7000
identities: [spiffe://shop.test/orders]
`)
	client := join(t, ca, "portico", mesh.Options{Policy: policy})
	var n network
	add := func(address string, ca *mesh.DevCA, name string) {
		_, listener := start(t, join(t, ca, name, mesh.Options{Policy: policy}), &echo{})
		n.add(address, listener)
	}
	add("right:1", ca, "orders")
	add("posing:1", ca, "fleet")
	add("foreign:1", other, "orders")
	plain := grpc.NewServer()
	register(plain, &echo{})
	listener := listen(t, &mesh.Server{Server: plain})
	n.add("plain:1", listener)
	n.add("orders:7000", n.listeners["right:1"])

	tests := []struct {
		name, target string
		expect       []string
		wants        string // part of the error; "" is success
	}{
		{"right", "static:///right:1", []string{orders}, ""},
		{"one of several", "static:///right:1", []string{portico, orders}, ""},
		{"pinned by policy", "passthrough:///orders:7000", nil, ""},
		{"the option before the policy", "passthrough:///orders:7000", []string{portico}, "unexpected ID"},
		{"right authority, wrong identity", "static:///posing:1", []string{orders}, "unexpected ID"},
		{"right name of a foreign authority", "static:///foreign:1", []string{orders}, "certificate"},
		{"plaintext server", "static:///plain:1", []string{orders}, "handshake"},
		{"nobody says who it is", "static:///right:1", nil, "no policy Destination"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var opts []grpc.DialOption
			if test.expect != nil {
				opts = append(opts, mesh.ExpectIdentity(test.expect...))
			}
			conn := connect(t, client, &n, test.target, opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := call(ctx, conn, writeMethod, "x")
			switch {
			case test.wants == "" && err != nil:
				t.Errorf("call: %v", err)
			case test.wants != "" && (status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), test.wants)):
				t.Errorf("call: %v, want UNAVAILABLE with %q", err, test.wants)
			}
		})
	}
}

func TestExpectedIdentityMustBeWhole(t *testing.T) {
	t.Parallel()
	m := join(t, newCA(t, "shop.test", time.Hour), "portico", mesh.Options{})
	for _, id := range []string{"", "orders", "spiffe://shop.test", "https://shop.test/orders"} {
		if _, err := m.NewClient("static:///a:1", mesh.ExpectIdentity(id)); err == nil {
			t.Errorf("identity %q was taken", id)
		}
	}
}

// frozen keeps the certificate it was given.
type frozen struct {
	mesh.Identity
	svid *x509svid.SVID
}

func (f frozen) GetX509SVID() (*x509svid.SVID, error) { return f.svid, nil }

// A certificate that has ended opens nothing, at either side.
func TestExpiredCertificates(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := newCA(t, "shop.test", 10*time.Second)
				stale := func(name string) mesh.Identity {
					identity, err := ca.Identity(name)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.HasPrefix(side, map[string]string{"portico": "client", "orders": "server"}[name]) {
						return identity
					}
					svid, err := identity.GetX509SVID()
					if err != nil {
						t.Fatal(err)
					}
					return frozen{identity, svid}
				}
				member := func(name string) *mesh.Mesh {
					m, err := mesh.New(t.Context(), mesh.Options{Identity: stale(name), Policy: parsePolicy(t, everybody)})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = m.Close() })
					return m
				}
				_, listener := start(t, member("orders"), &echo{})
				var n network
				n.add("a:1", listener)
				conn := connect(t, member("portico"), &n, "static:///a:1", mesh.ExpectIdentity(orders))
				if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
					t.Fatalf("while it is valid: %v", err)
				}
				time.Sleep(11 * time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if _, err := call(ctx, conn, writeMethod, "x"); status.Code(err) != codes.Unavailable {
					t.Errorf("after its end: %v, want UNAVAILABLE", err)
				}
			})
		})
	}
}
