package mesh_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh"
)

// told is what a Discovery says.
type told struct {
	endpoints []mesh.Endpoint
	err       error
}

// watch runs a Discovery until the test ends.
func watch(t *testing.T, d mesh.Discovery, service string) <-chan told {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	updates := make(chan told, 100)
	var work sync.WaitGroup
	work.Go(func() {
		d.Watch(ctx, service, func(list []mesh.Endpoint, err error) { updates <- told{list, err} })
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return updates
}

// next waits for news.
func next(t *testing.T, updates <-chan told) told {
	t.Helper()
	select {
	case u := <-updates:
		return u
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is told")
		return told{}
	}
}

// expect waits for news and compares the endpoints.
func expect(t *testing.T, updates <-chan told, want ...mesh.Endpoint) {
	t.Helper()
	got := next(t, updates)
	if diff := cmp.Diff(want, got.endpoints); diff != "" || got.err != nil {
		t.Errorf("%v %s", got.err, diff)
	}
}

func TestFileDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "endpoints.yaml")
		writeFile(t, file, "services:\n  orders:\n  - {address: \"10.0.0.1:7000\", zone: north/1, labels: {version: v1}}\n  - {address: \"unix:/run/orders\"}\n")
		updates := watch(t, mesh.FileDiscovery(file), "orders")
		expect(t, updates, mesh.Endpoint{Address: "10.0.0.1:7000", Zone: "north/1", Labels: map[string]string{"version": "v1"}}, mesh.Endpoint{Address: "unix:/run/orders"})
		for text, want := range map[string]string{
			"services: {orders: [{place: a}]}":     "place",
			"services: {orders: [{address: a}]}":   `services.orders[0]: address "a", want host:port`,
			"services: {payments: []}":             `no service "orders"`,
			"services: [":                          "endpoints.yaml",
			"services: {orders: [{address: [1]}]}": "endpoints.yaml",
		} {
			writeFile(t, file, text)
			if got := next(t, updates); got.err == nil || !strings.Contains(got.err.Error(), want) {
				t.Errorf("%s: %+v, want %q", text, got, want)
			}
		}
		writeFile(t, file, `{"services": {"orders": [{"address": "10.0.0.2:7000"}]}}`)
		expect(t, updates, mesh.Endpoint{Address: "10.0.0.2:7000"})
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if got := next(t, updates); !errors.Is(got.err, os.ErrNotExist) {
			t.Errorf("without the file: %+v", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(updates) != 0 {
			t.Errorf("the same failure is told again: %+v", <-updates)
		}
	})
}

func TestSRV(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		f := newFleet(t, ca, "10.0.0.1:7000", "10.0.0.2:7001", "10.0.0.3:7000")
		var mu sync.Mutex
		records := []*net.SRV{{Target: "one.shop.", Port: 7000}, {Target: "two.shop.", Port: 7001}, {Target: "three.shop.", Port: 7000, Priority: 1}}
		client := join(t, ca, "portico", mesh.Options{
			LookupHost: func(_ context.Context, host string) ([]string, error) {
				return map[string][]string{"one.shop": {"10.0.0.1"}, "two.shop": {"10.0.0.2"}, "three.shop": {"10.0.0.3"}}[host], nil
			},
			LookupSRV: func(_ context.Context, name string) ([]*net.SRV, error) {
				mu.Lock()
				defer mu.Unlock()
				if name != "_grpc._tcp.orders.shop" || records == nil {
					return nil, errors.New("no such name")
				}
				return records, nil
			},
		})
		conn := connect(t, client, &f.network, "srv:///_grpc._tcp.orders.shop", mesh.ExpectIdentity(orders))
		try := func() error {
			_, err := call(t.Context(), conn, echoMethod, "x")
			return err
		}
		for _, step := range []struct {
			records []*net.SRV
			want    string
		}{{records, "10.0.0.1:7000 10.0.0.2:7001"}, {nil, "10.0.0.1:7000 10.0.0.2:7001"}, {records[2:], "10.0.0.3:7000"}} {
			mu.Lock()
			records = step.records
			mu.Unlock()
			conn.Connect()
			time.Sleep(6 * time.Second)
			if got := f.reached(t, try); got != step.want {
				t.Errorf("calls reach %q, want %q", got, step.want)
			}
		}
	})
}

// apiServer is a Kubernetes API server, as far as endpointslices go.
type apiServer struct {
	mu      sync.Mutex
	slices  []string
	status  int
	watches chan chan string // one for each watch: what it sends; closed, the watch ends
}

func (a *apiServer) set(status int, slices ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.slices = status, slices
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" ||
		r.URL.Query().Get("labelSelector") != "kubernetes.io/service-name=orders" || r.Header.Get("Authorization") != "Bearer secret" {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	if r.URL.Query().Get("watch") == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		w.WriteHeader(a.status)
		_, _ = fmt.Fprintf(w, `{"metadata": {"resourceVersion": "7"}, "items": [%s]}`, strings.Join(a.slices, ","))
		return
	}
	if r.URL.Query().Get("resourceVersion") != "7" || r.URL.Query().Get("allowWatchBookmarks") != "true" {
		http.Error(w, "bad watch", http.StatusBadRequest)
		return
	}
	events := make(chan string)
	_ = http.NewResponseController(w).Flush()
	select {
	case a.watches <- events:
	case <-r.Context().Done():
		return
	}
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return
			}
			_, _ = fmt.Fprintln(w, event)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func endpointSlice(name, family, endpoints string) string {
	return fmt.Sprintf(`{"metadata": {"name": %q, "labels": {"version": "v1"}}, "addressType": %q, "ports": [{"name": "grpc", "port": 7000}, {"name": "admin", "port": 7001}], "endpoints": [%s]}`, name, family, endpoints)
}

func startAPI(t *testing.T) (*apiServer, mesh.KubernetesOptions) {
	t.Helper()
	api := &apiServer{status: http.StatusOK, watches: make(chan chan string)}
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	o := mesh.KubernetesOptions{Server: server.URL + "/", Region: "north"}
	for name, text := range map[*string]string{
		&o.TokenFile: "secret\n", &o.NamespaceFile: "shop",
		&o.CAFile: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	} {
		*name = filepath.Join(t.TempDir(), "file")
		writeFile(t, *name, text)
	}
	return api, o
}

func TestKubernetesDiscovery(t *testing.T) {
	t.Parallel()
	api, o := startAPI(t)
	one := mesh.Endpoint{Address: "10.0.0.1:7000", Zone: "north/1", Labels: map[string]string{"version": "v1"}}
	two := mesh.Endpoint{Address: "10.0.0.2:7000", Zone: "north/2", Labels: one.Labels}
	first := endpointSlice("a", "IPv4", `{"addresses": ["10.0.0.1"], "zone": "1", "conditions": {"ready": true}}, {"addresses": ["10.0.0.9"], "conditions": {"ready": false}}`)
	second := endpointSlice("b", "IPv4", `{"addresses": ["10.0.0.2"], "zone": "2"}`)
	api.set(http.StatusOK, first, endpointSlice("six", "IPv6", `{"addresses": ["fd00::1"], "zone": "1"}`))
	updates := watch(t, mesh.KubernetesDiscovery(o), "orders:grpc")
	expect(t, updates, one)
	events := <-api.watches
	events <- `{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}`
	events <- `{"type": "ADDED", "object": ` + second + `}`
	expect(t, updates, one, two)
	events <- `{"type": "DELETED", "object": ` + first + `}`
	expect(t, updates, two)
	events <- `{"type": "MODIFIED", "object": ` + endpointSlice("b", "IPv4", "") + `}`
	expect(t, updates, mesh.Endpoint{Address: "[fd00::1]:7000", Zone: "north/1", Labels: one.Labels})

	// The version has become too old: everything is listed anew.
	api.set(http.StatusOK, first, second)
	events <- `{"type": "ERROR", "object": {"kind": "Status", "code": 410}}`
	if got := next(t, updates); got.err == nil || !strings.Contains(got.err.Error(), "410") {
		t.Errorf("after 410: %+v", got)
	}
	expect(t, updates, one, two)
	events = <-api.watches

	// The server goes away and comes back.
	api.set(http.StatusServiceUnavailable)
	close(events)
	if got := next(t, updates); got.err == nil || !strings.Contains(got.err.Error(), "503") {
		t.Errorf("without a server: %+v", got)
	}
	api.set(http.StatusOK, second)
	for {
		if got := next(t, updates); got.err == nil {
			if diff := cmp.Diff([]mesh.Endpoint{two}, got.endpoints); diff != "" {
				t.Error(diff)
			}
			break
		}
	}
}

func TestKubernetesMistakes(t *testing.T) {
	t.Parallel()
	api, o := startAPI(t)
	api.set(http.StatusOK, endpointSlice("a", "IPv4", `{"addresses": ["10.0.0.1"]}`))
	for service, want := range map[string]string{
		"orders":          "it has 2 ports; name one",
		"orders:http":     `it has no port "http"`,
		"orders.other:1":  "403",
		"orders.shop:999": `it has no port "999"`,
	} {
		if got := next(t, watch(t, mesh.KubernetesDiscovery(o), service)); got.err == nil || !strings.Contains(got.err.Error(), want) {
			t.Errorf("%s: %+v, want %q", service, got, want)
		}
	}
	for _, file := range []*string{&o.TokenFile, &o.NamespaceFile, &o.CAFile} {
		broken := o
		switch file {
		case &o.TokenFile:
			broken.TokenFile = "/nowhere"
		case &o.NamespaceFile:
			broken.NamespaceFile = "/nowhere"
		case &o.CAFile:
			broken.CAFile = o.TokenFile
		}
		if got := next(t, watch(t, mesh.KubernetesDiscovery(broken), "orders:7000")); got.err == nil || strings.Contains(fmt.Sprint(got.err), "secret") {
			t.Errorf("with a broken file: %+v", got)
		}
	}
}
