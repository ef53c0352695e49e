package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// Bounds: so many requests at a time, one more that waits, and no more.
func TestTransportBreaks(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	release := make(chan bool)
	s := serveHTTP(t, ca, "users", http2, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	c, m := client(t, ca, s, pinned(s, "users", "{connectionPool: {http: {http2MaxRequests: 2, http1MaxPendingRequests: 1}}}"), mesh.Options{})
	done := make(chan error, 3)
	for range 3 {
		go func() {
			_, _, err := get(t, c, s, "/")
			for status.Code(errors.Unwrap(err)) == codes.Unavailable { // the probe below had the place in the queue
				_, _, err = get(t, c, s, "/")
			}
			done <- err
		}()
	}
	for s.total() < 2 {
		time.Sleep(time.Millisecond)
	}
	var err error
	for status.Code(errors.Unwrap(err)) != codes.Unavailable {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, _, err = fetch(c, request(t, http.MethodGet, s.url("/"), "").WithContext(ctx))
		cancel()
	}
	if !strings.Contains(err.Error(), "http1MaxPendingRequests") || m.Stats().Overflows == 0 {
		t.Errorf("error = %v, want the queue full", err)
	}
	close(release)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// maxConnections holds for HTTP/1.1, where each request at a time needs one.
func TestTransportMaxConnections(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	var now, most atomic.Int64
	s := serveHTTP(t, ca, "users", http1, repeat(2, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
	})...)
	c, _ := client(t, ca, s, pinned(s, "users", "{connectionPool: {tcp: {maxConnections: 4, connectTimeout: 5s}}}"), mesh.Options{})
	done := make(chan error, 40)
	for range cap(done) {
		go func() {
			_, _, err := get(t, c, s, "/")
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 4 || s.conns[0].Load()+s.conns[1].Load() > 4 {
		t.Errorf("%d requests at a time over %d and %d connections, want 4", most.Load(), s.conns[0].Load(), s.conns[1].Load())
	}
}

// A changed policy holds from the next request on.
func TestTransportReload(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("ok"))
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(text string) { writeFile(t, path, text) }
	write(pinned(s, "users", ""))
	loaded := make(chan bool, 10)
	m := join(t, ca, "portico", mesh.Options{PolicyFile: path, OnEvent: func(e mesh.Event) {
		if e.Kind == mesh.PolicyLoaded {
			loaded <- true
		}
	}})
	c := &http.Client{Transport: m.Transport(s.target())}
	if code, _, err := get(t, c, s, "/"); code != http.StatusOK || err != nil {
		t.Fatalf("answer = %d, %v", code, err)
	}
	write(pinned(s, "users", "") + routed(s, "{fault: {abort: {grpcStatus: UNAVAILABLE}}}"))
	<-loaded
	if _, _, err := get(t, c, s, "/"); status.Code(errors.Unwrap(err)) != codes.Unavailable {
		t.Errorf("error = %v, want the fault", err)
	}
	write(pinned(s, "users", "") + "---\nkind: Egress\nname: e\nhosts: [{host: elsewhere}]\n")
	<-loaded
	if _, _, err := get(t, c, s, "/"); status.Code(errors.Unwrap(err)) != codes.PermissionDenied || m.Stats().EgressDenied != 1 {
		t.Errorf("error = %v, want the egress refused", err)
	}
}

// Copies go to the subset of the mirror and disturb nobody; splits share requests out.
func TestTransportSplitsAndMirrors(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	bodies := make(chan string, 100)
	s := serveHTTP(t, ca, "users", http2, answer("v1"), func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		bodies <- r.Header.Get("X-Mesh-Mirror") + string(text)
		<-r.Context().Done()
	})
	const text = `
kind: Destination
host: users
identities: [spiffe://shop.test/users]
subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
kind: Route
hosts: [users]
http:
- match: [{uri: {exact: /.well-known/keys}, headers: {x-canary: {exact: "true"}}}]
  route: [{destination: {host: users, subset: v2}}]
  timeout: 50ms
- route: [{destination: {host: users, subset: v1}}]
  mirror: {host: users, subset: v2}
  timeout: 1s
`
	m := join(t, ca, "portico", mesh.Options{Policy: parsePolicy(t, text), Discovery: fixedList{
		{Address: s.addresses[0], Labels: map[string]string{"version": "v1"}},
		{Address: s.addresses[1], Labels: map[string]string{"version": "v2"}},
	}})
	c := &http.Client{Transport: m.Transport("mesh:///users")}
	for range 5 {
		if _, got, err := fetch(c, request(t, http.MethodPost, "https://users/a", "copied")); got != "v1" || err != nil {
			t.Fatalf("answer = %q, %v", got, err)
		}
		if copied := <-bodies; copied != "truecopied" {
			t.Errorf("copy = %q", copied)
		}
	}
	req := request(t, http.MethodGet, "https://users/.well-known/keys", "")
	req.Header.Set("X-Canary", "true")
	if _, _, err := fetch(c, req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the canary's", err)
	}
	if stats := m.Stats(); stats.Mirrors != 5 || stats.Ejections != 0 {
		t.Errorf("stats = %+v", stats)
	}
}

// Connections end before their certificates do, and no request is lost over it.
func TestTransportRotates(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", 2*time.Second)
	for name, speaks := range map[string]protocol{"http1": http1, "http2": http2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var expired atomic.Int64
			s := serveHTTP(t, ca, "users", speaks, func(_ http.ResponseWriter, r *http.Request) {
				if !time.Now().Before(r.TLS.PeerCertificates[0].NotAfter) {
					expired.Add(1)
				}
			})
			c, m := client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
			for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(2 * time.Millisecond) {
				if code, _, err := fetch(c, request(t, http.MethodPost, s.url("/"), "x")); code != http.StatusOK || err != nil {
					t.Fatalf("answer = %d, %v", code, err)
				}
			}
			if n := s.conns[0].Load(); expired.Load() > 0 || n < 3 {
				t.Errorf("%d requests over expired certificates, %d connections; want none, and new ones", expired.Load(), n)
			}
			if m.Stats().Retries > 0 {
				t.Errorf("%d retries", m.Stats().Retries)
			}
		})
	}
}

// A connection that has had its requests is replaced.
func TestTransportMaxRequestsPerConnection(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("ok"))
	c, _ := client(t, ca, s, pinned(s, "users", "{connectionPool: {http: {maxRequestsPerConnection: 5}}}"), mesh.Options{})
	for range 20 {
		if _, _, err := get(t, c, s, "/"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.conns[0].Load(); n != 4 {
		t.Errorf("%d connections for 20 requests, want 4", n)
	}
}

// A server outside of the mesh is known by its name, where the policy says so.
func TestTransportOutsideOfTheMesh(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	outside, roots := outsider(t, "login.test")
	find := func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	_, port, _ := strings.Cut(outside, ":")
	const text = "kind: Destination\nhost: login.test\ntrafficPolicy: {tls: {mode: SIMPLE, caCertificates: %q}}\n"
	dial := func(policy, url string) (int, error) {
		m := join(t, ca, "portico", mesh.Options{Policy: parsePolicy(t, policy), LookupHost: find})
		c := &http.Client{Transport: m.Transport("dns:///login.test:" + port)}
		code, _, err := fetch(c, request(t, http.MethodGet, url, ""))
		return code, err
	}
	trusting := strings.Replace(text, "%q", roots, 1)
	if code, err := dial(trusting, "https://login.test/keys"); code != http.StatusOK || err != nil {
		t.Errorf("answer = %d, %v", code, err)
	}
	for name, policy := range map[string]string{
		"certificate is valid for login.test, not other.test": strings.Replace(trusting, "SIMPLE,", "SIMPLE, sni: other.test,", 1),
		"certificate signed by unknown authority":             "kind: Destination\nhost: login.test\ntrafficPolicy: {tls: {mode: SIMPLE}}\n",
		"no such file":                           strings.Replace(text, "%q", roots+".missing", 1),
		"no policy Destination":                  everybody,
		"no SPIFFE":                              "",
		"does not allow the server name":         trusting + "---\nkind: Egress\nname: e\nhosts: [{host: login.test, sniHosts: [other.test]}]\n",
		"to allow it, add {host: \"login.test\"": trusting + "---\nkind: Egress\nname: e\nhosts: [{host: other.test}]\n",
	} {
		if name == "no SPIFFE" {
			policy, name = "kind: Destination\nhost: login.test\nidentities: [spiffe://shop.test/login]\n", "URI"
		}
		if _, err := dial(policy, "https://login.test/keys"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want %q", err, name)
		}
	}
}

// A route's circuit breaker holds for HTTP.
func TestTransportCircuitBreaker(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, fails(http.StatusServiceUnavailable))
	c, m := client(t, ca, s, pinned(s, "users", "{outlierDetection: {consecutiveGatewayErrors: 0}}")+
		routed(s, "{name: keys, retries: {attempts: 0}, circuitBreaker: {consecutiveGatewayErrors: 3, maxRequests: 1}}"), mesh.Options{})
	for range 3 {
		if code, _, err := get(t, c, s, "/"); code != http.StatusServiceUnavailable || err != nil {
			t.Fatalf("answer = %d, %v", code, err)
		}
	}
	if _, _, err := get(t, c, s, "/"); status.Code(errors.Unwrap(err)) != codes.Unavailable || !strings.Contains(err.Error(), "circuit breaker") {
		t.Errorf("error = %v, want the breaker open", err)
	}
	if n := s.total(); n != 3 || m.Stats().BreakerOpens != 1 {
		t.Errorf("%d requests, stats %+v", n, m.Stats())
	}
}

// 429 says nothing of the server's health: it breaks no row of failures. A fault counts
// like the failure that it stands for.
func TestTransportCircuitBreakerCounts(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	statuses := []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	var served atomic.Int64
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(statuses[served.Add(1)-1])
	})
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{retries: {attempts: 0}, circuitBreaker: {consecutiveGatewayErrors: 2}}"), mesh.Options{})
	for _, want := range statuses {
		if code, _, err := get(t, c, s, "/"); code != want || err != nil {
			t.Fatalf("answer = %d, %v; want %d", code, err, want)
		}
	}
	if got := m.Stats().Breakers[0].State; got != "open" {
		t.Errorf("it is %s", got)
	}
	c, m = client(t, ca, s, pinned(s, "users", "")+
		routed(s, "{fault: {abort: {grpcStatus: UNAVAILABLE}}, circuitBreaker: {consecutiveGatewayErrors: 2}}"), mesh.Options{})
	for _, want := range []string{"injects this fault", "injects this fault", "circuit breaker"} {
		if _, _, err := get(t, c, s, "/"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if stats := m.Stats(); stats.Faults != 2 || stats.Broken != 1 {
		t.Errorf("stats = %+v", stats)
	}
}

// A retry that would have too little time is not made, and not waited for.
func TestTransportMinRemainingTime(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "4")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{minRemainingTime: 5s}"), mesh.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if code, _, err := fetch(c, request(t, http.MethodGet, s.url("/"), "").WithContext(ctx)); code != http.StatusServiceUnavailable || err != nil {
		t.Errorf("answer = %d, %v", code, err)
	}
	if n := m.Stats().Retries; n != 0 {
		t.Errorf("%d retries", n)
	}
}

// The nearest endpoints have the requests, and where all are is seen.
func TestTransportZones(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("far"), answer("near"))
	m := join(t, ca, "portico", mesh.Options{Zone: "north/1", Discovery: fixedList{
		{Address: s.addresses[0], Zone: "south/1"}, {Address: s.addresses[1], Zone: "north/1"},
	}, Policy: parsePolicy(t, "kind: Destination\nhost: users\nidentities: [spiffe://shop.test/users]\n")})
	c := &http.Client{Transport: m.Transport("mesh:///users")}
	for range 10 {
		if _, text, err := fetch(c, request(t, http.MethodGet, "https://users/", "")); text != "near" || err != nil {
			t.Fatalf("answer = %q, %v", text, err)
		}
	}
	zones := map[string]string{}
	for _, e := range m.Stats().Endpoints {
		zones[e.Address] = e.Zone
	}
	if diff := cmp.Diff(map[string]string{s.addresses[0]: "south/1", s.addresses[1]: "north/1"}, zones); diff != "" {
		t.Error(diff)
	}
}

// A copy of a body that cannot be had again is not sent, rather than without it; a
// request may come without a header, as http.RoundTripper allows.
func TestTransportMirrorsWholeRequests(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("ok"))
	m := join(t, ca, "portico", mesh.Options{Policy: parsePolicy(t, `kind: Destination
host: users
identities: [spiffe://shop.test/users]
subsets: [{name: v1, labels: {version: v1}}]
---
kind: Route
hosts: [users]
http: [{mirror: {host: users, subset: v1}, timeout: 10s}]
`), Discovery: fixedList{{Address: s.addresses[0], Labels: map[string]string{"version": "v1"}}}})
	c := &http.Client{Transport: m.Transport("mesh:///users")}
	req := request(t, http.MethodPost, "https://users/", "x")
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	if _, text, err := fetch(c, req); text != "ok" || err != nil {
		t.Errorf("answer = %q, %v", text, err)
	}
	if stats := m.Stats(); stats.Mirrors != 0 || stats.MirrorsDropped != 1 {
		t.Errorf("stats = %+v, want the copy dropped", stats)
	}
	bare := request(t, http.MethodGet, "https://users/", "")
	bare.Header = nil
	resp, err := m.Transport("mesh:///users").RoundTrip(bare)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for s.total() < 3 {
		time.Sleep(time.Millisecond)
	}
}
