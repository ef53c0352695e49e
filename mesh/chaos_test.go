package mesh_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh"
)

// load makes calls from so many callers at a time until the returned function is
// called, which gives the number of calls and the first error.
func load(t *testing.T, callers int, try func() error) func() (int64, error) {
	t.Helper()
	var calls atomic.Int64
	var stop atomic.Bool
	var work sync.WaitGroup
	failed := make(chan error, callers)
	for range callers {
		work.Go(func() {
			for !stop.Load() {
				calls.Add(1)
				if err := try(); err != nil {
					failed <- fmt.Errorf("call %d: %w", calls.Load(), err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() (int64, error) {
		stop.Store(true)
		work.Wait()
		select {
		case err := <-failed:
			return calls.Load(), err
		default:
			return calls.Load(), nil
		}
	}
}

// Three replicas on real sockets are drained and started again one after the
// other under load: no call fails, though none may be repeated.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	m := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody), DrainDelay: 50 * time.Millisecond})
	run := func(address string) (*mesh.Server, string) {
		server := m.NewServer()
		register(server, &echo{unary: func(_ context.Context, text string) (string, error) {
			time.Sleep(3 * time.Millisecond)
			return text, nil
		}})
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, server, listener)
		return server, listener.Addr().String()
	}
	servers, addresses := make([]*mesh.Server, 3), make([]string, 3)
	for i := range servers {
		servers[i], addresses[i] = run("127.0.0.1:0")
	}
	client := join(t, ca, "portico", mesh.Options{})
	conn, err := client.NewClient("static:///"+strings.Join(addresses, ","), mesh.ExpectIdentity(orders))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	end := load(t, 8, func() error {
		_, err := call(t.Context(), conn, writeMethod, "x")
		return err
	})
	for i, server := range servers {
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := server.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		cancel()
		run(addresses[i])
		if !becomesReady(client, addresses[i]) {
			t.Errorf("replica %d is not in use again after its restart", i)
		}
	}
	calls, err := end()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d calls", calls)
}

// becomesReady waits for an endpoint's connection.
func becomesReady(client *mesh.Mesh, address string) bool {
	for range 500 {
		for _, e := range client.Stats().Endpoints {
			if e.Address == address && e.Ready {
				return true
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// A policy that changes all the time disturbs no call and opens no connection.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	text := everybody + "---\nkind: Destination\nhost: orders\nidentities: [" + orders + "]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", 24*time.Hour)
		server := join(t, ca, "orders", mesh.Options{PolicyFile: file, MaxConnectionAge: time.Hour})
		_, listener := start(t, server, &echo{})
		var n network
		n.add("orders:1", listener)
		client := join(t, ca, "portico", mesh.Options{PolicyFile: file})
		conn := connect(t, client, &n, "passthrough:///orders:1")
		for i := range 200 {
			next := fmt.Sprintf("%s# %d\n", text, i)
			if err := os.WriteFile(file+".next", []byte(next), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".next", file); err != nil {
				t.Fatal(err)
			}
			for range 12 {
				if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
					t.Fatalf("reload %d: %v", i, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		if s, c := server.Stats(), client.Stats(); s.PolicyLoads != 200 || c.PolicyLoads != 200 {
			t.Errorf("%d and %d loads, want 200", s.PolicyLoads, c.PolicyLoads)
		}
		if dials := n.dialled(); dials != 1 {
			t.Errorf("%d connections were made, want one", dials)
		}
	})
}
