package mesh_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// events gathers what a mesh tells.
type events struct {
	mu   sync.Mutex
	list []mesh.Event
}

func (e *events) add(event mesh.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

// of returns the events of one kind.
func (e *events) of(kind mesh.EventKind) []mesh.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []mesh.Event
	for _, event := range e.list {
		if event.Kind == kind {
			list = append(list, event)
		}
	}
	return list
}

func allowing(name string) string {
	return strings.ReplaceAll(everybody, `"*"`, "spiffe://shop.test/"+name)
}

// A changed policy holds for the next call, on the same connection; a bad one
// changes nothing and is reported once.
func TestPolicyReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			t.Error(err)
		}
	}
	write(allowing("portico"))
	synctest.Test(t, func(t *testing.T) {
		var seen events
		ca := newCA(t, "shop.test", time.Hour)
		server := join(t, ca, "orders", mesh.Options{PolicyFile: file, OnEvent: seen.add})
		_, listener := start(t, server, &echo{})
		var n network
		n.add("a:1", listener)
		conns := map[string]func() codes.Code{}
		for _, name := range []string{"portico", "payments"} {
			conn := connect(t, join(t, ca, name, mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
			conns[name] = func() codes.Code {
				_, err := call(t.Context(), conn, echoMethod, "x")
				return status.Code(err)
			}
		}
		want := func(step string, porticoGets, paymentsGets codes.Code) {
			t.Helper()
			if got := conns["portico"](); got != porticoGets {
				t.Errorf("%s: portico got %v, want %v", step, got, porticoGets)
			}
			if got := conns["payments"](); got != paymentsGets {
				t.Errorf("%s: payments got %v, want %v", step, got, paymentsGets)
			}
		}
		want("at first", codes.OK, codes.PermissionDenied)
		write(allowing("payments"))
		time.Sleep(1100 * time.Millisecond)
		want("changed", codes.PermissionDenied, codes.OK)
		write("kind: Authorisation")
		time.Sleep(5 * time.Second)
		want("bad", codes.PermissionDenied, codes.OK)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		want("gone", codes.PermissionDenied, codes.OK)
		write(allowing("portico"))
		time.Sleep(1100 * time.Millisecond)
		want("good again", codes.OK, codes.PermissionDenied)

		if got := seen.of(mesh.PolicyRefused); len(got) != 2 || !strings.Contains(got[0].Err.Error(), "mesh.yaml:1:7: ") {
			t.Errorf("refusals: %+v, want one for the bad text and one for the missing file", got)
		}
		if s := server.Stats(); s.PolicyLoads != 2 || s.PolicyErrors != 2 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	identity, err := newCA(t, "shop.test", time.Hour).Identity("orders")
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(bad, []byte("kind: Rout"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]mesh.Options{
		"no identity":     {},
		"two policies":    {Identity: identity, PolicyFile: bad, Policy: parsePolicy(t, everybody)},
		"no policy file":  {Identity: identity, PolicyFile: "nowhere.yaml"},
		"bad policy file": {Identity: identity, PolicyFile: bad},
	} {
		if m, err := mesh.New(t.Context(), o); err == nil {
			t.Errorf("%s: made %v", name, m)
		}
	}
}

// The file is looked at as often as is asked for.
func TestPolicyInterval(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(everybody)
	synctest.Test(t, func(t *testing.T) {
		m := join(t, newCA(t, "shop.test", time.Hour), "orders", mesh.Options{PolicyFile: file, PolicyInterval: time.Minute})
		write(allowing("portico"))
		time.Sleep(59 * time.Second)
		if got := m.Stats().PolicyLoads; got != 0 {
			t.Errorf("%d loads before the interval is over", got)
		}
		time.Sleep(2 * time.Second)
		if got := m.Stats().PolicyLoads; got != 1 {
			t.Errorf("%d loads after the interval, want one", got)
		}
	})
}
