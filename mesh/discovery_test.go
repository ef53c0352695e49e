package mesh_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh"
)

// names is a name server.
type names struct {
	mu        sync.Mutex
	addresses []string
	err       error
	lookups   int
}

func (n *names) set(err error, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.addresses = err, addresses
}

func (n *names) lookup(_ context.Context, host string) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	if host != "orders.shop" {
		return nil, errors.New("no such host")
	}
	return slices.Clone(n.addresses), n.err
}

// fleet starts servers in memory and tells which of them calls reach.
type fleet struct {
	network
	seen map[string]bool
	mu   sync.Mutex
}

func newFleet(t *testing.T, ca *mesh.DevCA, addresses ...string) *fleet {
	t.Helper()
	f := &fleet{seen: map[string]bool{}}
	for _, address := range addresses {
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{
			unary: func(_ context.Context, text string) (string, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.seen[address] = true
				return text, nil
			},
		})
		f.add(address, listener)
	}
	return f
}

// reached returns what calls reach now.
func (f *fleet) reached(t *testing.T, try func() error) string {
	t.Helper()
	f.mu.Lock()
	clear(f.seen)
	f.mu.Unlock()
	for range 30 {
		if err := try(); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(f.seen)), " ")
}

// New addresses are found while the connections are healthy, and a name server
// that fails or knows nothing takes no endpoint away.
func TestDNSIsPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "10.0.0.1:7000", "10.0.0.2:7000", "[fd00::3]:7000")
		var server names
		client := join(t, ca, "portico", mesh.Options{LookupHost: server.lookup, OnEvent: seen.add})
		conn := connect(t, client, &f.network, "dns:///orders.shop:7000", mesh.ExpectIdentity(orders))
		try := func() error {
			_, err := call(t.Context(), conn, echoMethod, "x")
			return err
		}

		server.set(errors.New("not yet"))
		if err := try(); err == nil || !strings.Contains(err.Error(), "not yet") {
			t.Errorf("without any answer: %v", err)
		}
		steps := []struct {
			name      string
			err       error
			addresses []string
			want      string
		}{
			{"first", nil, []string{"10.0.0.1"}, "10.0.0.1:7000"},
			{"grown", nil, []string{"10.0.0.2", "10.0.0.1", "fd00::3"}, "10.0.0.1:7000 10.0.0.2:7000 [fd00::3]:7000"},
			{"empty", nil, nil, "10.0.0.1:7000 10.0.0.2:7000 [fd00::3]:7000"},
			{"failing", errors.New("server failure"), nil, "10.0.0.1:7000 10.0.0.2:7000 [fd00::3]:7000"},
			{"shrunk", nil, []string{"10.0.0.2"}, "10.0.0.2:7000"},
		}
		for _, step := range steps {
			server.set(step.err, step.addresses...)
			time.Sleep(6 * time.Second)
			if got := f.reached(t, try); got != step.want {
				t.Errorf("%s: calls reach %q, want %q", step.name, got, step.want)
			}
		}
		if got := client.Stats(); got.DiscoveryErrors < 3 || len(seen.of(mesh.DiscoveryFailed)) != int(got.DiscoveryErrors) {
			t.Errorf("stats %+v, events %+v", got, seen.of(mesh.DiscoveryFailed))
		}
		if got := client.Stats().Endpoints; len(got) != 1 || got[0].Address != "10.0.0.2:7000" || !got[0].Ready {
			t.Errorf("endpoints %+v", got)
		}
	})
}

// A lost connection asks at once, but no more than once a second.
func TestDNSAfterALostConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		m := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)})
		first, listener := start(t, m, &echo{})
		_, other := start(t, m, &echo{})
		var n network
		n.add("10.0.0.1:7000", listener)
		n.add("10.0.0.2:7000", other)
		var server names
		server.set(nil, "10.0.0.1")
		conn := connect(t, join(t, ca, "portico", mesh.Options{LookupHost: server.lookup, DNSInterval: time.Hour}), &n, "orders.shop:7000", mesh.ExpectIdentity(orders))
		if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
			t.Fatal(err)
		}
		server.set(nil, "10.0.0.2")
		time.Sleep(time.Minute)
		first.Stop()
		time.Sleep(5 * time.Second)
		if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
			t.Errorf("after the move: %v", err)
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		if server.lookups > 6 {
			t.Errorf("%d lookups in 5s", server.lookups)
		}
	})
}

// list is a Discovery that is told what to say.
type list struct {
	mu      sync.Mutex
	updates map[string]func([]mesh.Endpoint, error)
}

func (l *list) Watch(ctx context.Context, service string, update func([]mesh.Endpoint, error)) {
	l.mu.Lock()
	if l.updates == nil {
		l.updates = map[string]func([]mesh.Endpoint, error){}
	}
	l.updates[service] = update
	l.mu.Unlock()
	update([]mesh.Endpoint{{Address: "a:1"}}, nil)
	<-ctx.Done()
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "a:1", "b:1")
		var services list
		policy := parsePolicy(t, "kind: Destination\nhost: orders\nidentities: ["+orders+"]\n")
		conn := connect(t, join(t, ca, "portico", mesh.Options{Discovery: &services, Policy: policy}), &f.network, "mesh:///orders")
		try := func() error {
			_, err := call(t.Context(), conn, echoMethod, "x")
			return err
		}
		if got := f.reached(t, try); got != "a:1" {
			t.Errorf("at first calls reach %q", got)
		}
		services.mu.Lock()
		update := services.updates["orders"]
		services.mu.Unlock()
		update([]mesh.Endpoint{{Address: "a:1"}, {Address: "b:1"}}, nil)
		synctest.Wait()
		if got := f.reached(t, try); got != "a:1 b:1" {
			t.Errorf("later calls reach %q", got)
		}
	})
}

func TestTargets(t *testing.T) {
	t.Parallel()
	m := join(t, newCA(t, "shop.test", time.Hour), "portico", mesh.Options{})
	for target, good := range map[string]bool{
		"dns:///orders:7000":          true,
		"orders:7000":                 true,
		"10.0.0.1:7000":               true,
		"dns://10.0.0.53/orders:7000": true,
		"static:///a:1,b:2":           true,
		"unix:///run/orders.sock":     true,
		"passthrough:///orders:7000":  true,
		"dns:///orders":               false,
		"orders":                      false,
		"static:///a":                 false,
		"static:///":                  false,
		"mesh:///orders":              false, // nothing to look it up in
		"":                            false,
	} {
		conn, err := m.NewClient(target, mesh.ExpectIdentity(orders))
		if (err == nil) != good {
			t.Errorf("%q: %v", target, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}
