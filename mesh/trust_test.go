package mesh_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// When a trust domain is not federated any more, its connections end, and only they.
func TestRevokedDomain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca, partner := newCA(t, "shop.test", time.Hour), newCA(t, "partner.test", time.Hour)
		own := &trusting{Identity: identityOf(t, ca, "orders")}
		own.set("partner.test", bundleOf(t, partner, "partner.test"))
		var told atomic.Pointer[mesh.Event]
		server := joinAs(t, own, mesh.Options{Policy: parsePolicy(t, partners), OnEvent: func(e mesh.Event) {
			if e.Kind == mesh.ConnectionRevoked {
				told.Store(&e)
			}
		}})
		_, listener := start(t, server, &echo{})
		var near, far network
		near.add("a:1", listener)
		far.add("a:1", listener)
		foreign := &trusting{Identity: identityOf(t, partner, "portico")}
		foreign.set("shop.test", bundleOf(t, ca, "shop.test"))
		theirs := connect(t, joinAs(t, foreign, mesh.Options{}), &far, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
		ours := connect(t, join(t, ca, "portico", mesh.Options{}), &near, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
		stream, err := openStream(t.Context(), theirs, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(2 * time.Second)
			if _, err := call(t.Context(), theirs, writeMethod, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := call(t.Context(), ours, writeMethod, "x"); err != nil {
				t.Fatal(err)
			}
		}
		own.set("partner.test", nil)
		time.Sleep(2 * time.Second)
		if err := stream.RecvMsg(nil); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v, want UNAVAILABLE", err)
		}
		if _, err := call(t.Context(), theirs, writeMethod, "x"); status.Code(err) != codes.Unavailable {
			t.Errorf("call = %v, want the connection refused", err)
		}
		if _, err := call(t.Context(), ours, writeMethod, "x"); err != nil || near.dialled() != 1 {
			t.Errorf("the own domain: %v over %d connections", err, near.dialled())
		}
		e := told.Load()
		if n := server.Stats().Revoked; n != 1 || e == nil || e.Peer.String() != "spiffe://partner.test/portico" || e.Err == nil {
			t.Errorf("%d revoked, event %+v", n, e)
		}
	})
}

// When the policy pins another identity, the connections to the last one end.
func TestRevokedPin(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(identity, more string) {
		if err := os.WriteFile(path, []byte("kind: Destination\nhost: \"a:1\"\nidentities: [spiffe://shop.test/"+identity+"]\n"+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("orders", "")
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{})
		var n network
		n.add("a:1", listener)
		m := join(t, ca, "portico", mesh.Options{PolicyFile: path})
		conn := connect(t, m, &n, "static:///a:1")
		step := func(name string, want codes.Code, dials int, revoked uint64) {
			t.Helper()
			time.Sleep(3 * time.Second)
			if _, err := call(t.Context(), conn, writeMethod, "x"); status.Code(err) != want || m.Stats().Revoked != revoked || n.dialled() < dials {
				t.Errorf("%s: %v, %d revoked, %d dialled; want %v, %d, %d", name, err, m.Stats().Revoked, n.dialled(), want, revoked, dials)
			}
		}
		step("pinned", codes.OK, 1, 0)
		write("orders", "---\nkind: Route\nhosts: [a]\nhttp: [{timeout: 1s}]\n")
		step("another route", codes.OK, 1, 0)
		if n.dialled() != 1 {
			t.Error("a policy that trusts the same cost a connection")
		}
		write("users", "")
		step("another pin", codes.Unavailable, 2, 1)
		write("orders", "")
		time.Sleep(20 * time.Second) // gRPC's backoff
		step("pinned again", codes.OK, 3, 1)
	})
}

// The same of HTTP.
func TestTransportRevokedPin(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("ok"))
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	writeFile(t, path, pinned(s, "users", ""))
	revoked := make(chan mesh.Event, 1)
	m := join(t, ca, "portico", mesh.Options{PolicyFile: path, OnEvent: func(e mesh.Event) {
		if e.Kind == mesh.ConnectionRevoked {
			revoked <- e
		}
	}})
	c := &http.Client{Transport: m.Transport(s.target())}
	if _, _, err := get(t, c, s, "/"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, pinned(s, "orders", ""))
	if e := <-revoked; e.Endpoint != s.addresses[0] || e.Peer.String() != "spiffe://shop.test/users" {
		t.Errorf("event = %+v", e)
	}
	if _, _, err := get(t, c, s, "/"); err == nil || !strings.Contains(err.Error(), "unexpected ID") {
		t.Errorf("error = %v, want the identity refused", err)
	}
}
