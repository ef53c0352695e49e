package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh"
)

// Silence is the server's fault where the policy says how long it may last, and the
// caller's where the caller does. A breaker and an ejection that one failure is enough
// for show which.
func TestTransportBlamesSilence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entry    string
		deadline time.Duration // the caller's; zero: none
		cancel   time.Duration // when it leaves; zero: it does not
		want     string
	}{
		"the caller's cancellation":                   {entry: "retries: {attempts: 0}", cancel: 50 * time.Millisecond, want: "closed"},
		"the caller's deadline":                       {entry: "retries: {attempts: 0}", deadline: 50 * time.Millisecond, want: "closed"},
		"the caller's deadline, before the attempt's": {entry: "retries: {attempts: 0, perTryTimeout: 2s}", deadline: 50 * time.Millisecond, want: "closed"},
		"the attempt's, before the caller's deadline": {entry: "retries: {attempts: 0, perTryTimeout: 50ms}", deadline: 10 * time.Second, want: "open"},
		"the route's timeout":                         {entry: "timeout: 50ms, retries: {attempts: 0}", want: "open"},
		"the attempt's":                               {entry: "retries: {attempts: 0, perTryTimeout: 50ms}", want: "open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
			s := serveHTTP(t, ca, "users", http2, silent, silent)
			c, m := client(t, ca, s, pinned(s, "users", "{outlierDetection: {consecutiveGatewayErrors: 1}}")+routed(s, "{"+test.entry+", circuitBreaker: {consecutiveGatewayErrors: 1}}"), mesh.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, test.deadline)
				defer cancel()
			}
			if test.cancel > 0 {
				time.AfterFunc(test.cancel, cancel)
			}
			if _, _, err := fetch(c, request(t, http.MethodGet, s.url("/"), "").WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want the end of the time", err)
			}
			stats := m.Stats()
			if got := stats.Breakers[0].State; got != test.want {
				t.Errorf("the breaker is %s, want %s", got, test.want)
			}
			if got := slices.ContainsFunc(stats.Endpoints, func(e mesh.EndpointStats) bool { return e.Ejected }); got != (test.want == "open") {
				t.Errorf("the endpoint is ejected: %v", got)
			}
		})
	}
}

// Nor is it the server's fault when a request has waited for one of the connections
// that the policy allows.
func TestTransportBlamesNobodyForWaiting(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c, m := client(t, ca, s, pinned(s, "users", "{connectionPool: {tcp: {maxConnections: 1}}}")+
		routed(s, "{match: [{uri: {exact: /wait}}], timeout: 50ms, circuitBreaker: {consecutiveGatewayErrors: 1}}"), mesh.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hold := request(t, http.MethodGet, s.url("/hold"), "").WithContext(ctx)
	var work sync.WaitGroup
	work.Go(func() { _, _, _ = fetch(c, hold) })
	for s.total() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := get(t, c, s, "/wait"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the route's timeout", err)
	}
	if got := m.Stats().Breakers[0].State; got != "closed" || s.total() != 1 {
		t.Errorf("the breaker is %s after %d requests", got, s.total())
	}
	cancel()
	work.Wait()
}

// An answer counts when its header is there, however long its body is.
func TestTransportJudgesByTheHeader(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{retries: {attempts: 0}, circuitBreaker: {consecutiveGatewayErrors: 1, maxRequests: 5}}"), mesh.Options{})
	resp, err := c.Do(request(t, http.MethodGet, s.url("/"), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Stats().Breakers[0]; got.State != "open" || got.Running != 1 {
		t.Errorf("%+v, want it open, with the request that is still read", got)
	}
	_ = resp.Body.Close()
	if got := m.Stats().Breakers[0].Running; got != 0 {
		t.Errorf("%d requests after the body was closed", got)
	}
}

// A policy that secures connections otherwise holds for the next request, and ends the
// connections that were made before.
func TestTransportReloadOfTLS(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	outside, roots := outsider(t, "login.test")
	_, port, _ := strings.Cut(outside, ":")
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	loaded, revoked := make(chan bool, 1), make(chan bool, 1)
	write := func(sni string) {
		t.Helper()
		text := fmt.Sprintf("kind: Destination\nhost: login.test\ntrafficPolicy: {tls: {mode: SIMPLE, caCertificates: %q, sni: %s}}\n", roots, sni)
		writeFile(t, path, text)
	}
	write("login.test")
	m := join(t, ca, "portico", mesh.Options{
		PolicyFile: path, PolicyInterval: 10 * time.Millisecond,
		LookupHost: func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil },
		OnEvent: func(e mesh.Event) {
			switch e.Kind {
			case mesh.PolicyLoaded:
				loaded <- true
			case mesh.ConnectionRevoked:
				revoked <- true
			default:
			}
		},
	})
	c := &http.Client{Transport: m.Transport("dns:///login.test:" + port)}
	try := func(want string) {
		t.Helper()
		code, _, err := fetch(c, request(t, http.MethodGet, "https://login.test/", ""))
		if want == "" && (code != http.StatusOK || err != nil) {
			t.Fatalf("answer = %d, %v", code, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	const wrong = "not other.test"
	try("")
	write("other.test")
	<-loaded
	<-revoked
	try(wrong)
	write("login.test")
	<-loaded
	try("")
	write("other.test")
	<-loaded
	try(wrong) // though the connection may be there for another second
}

// shifting is a Discovery of one service that says what it is told to.
type shifting chan []mesh.Endpoint

func (s shifting) Watch(ctx context.Context, _ string, update func([]mesh.Endpoint, error)) {
	for {
		select {
		case list := <-s:
			update(list, nil)
		case <-ctx.Done():
			return
		}
	}
}

// An endpoint that is gone has its requests to the end, and then no connection.
func TestTransportLeavesEndpoints(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	release := make(chan bool)
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, "old")
	}, answer("new"))
	places := make(shifting)
	m := join(t, ca, "portico", mesh.Options{Discovery: places, Policy: parsePolicy(t, "kind: Destination\nhost: users\nidentities: [spiffe://shop.test/users]\n")})
	c := &http.Client{Transport: m.Transport("mesh:///users")}
	fetching := func() (string, error) {
		_, text, err := fetch(c, request(t, http.MethodGet, "https://users/", ""))
		return text, err
	}
	first := make(chan string, 1)
	go func() {
		text, _ := fetching()
		first <- text
	}()
	places <- []mesh.Endpoint{{Address: s.addresses[0]}}
	for s.hits[0].Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	places <- []mesh.Endpoint{{Address: s.addresses[1]}}
	for m.Stats().Endpoints[0].Address != s.addresses[1] {
		time.Sleep(time.Millisecond)
	}
	if text, err := fetching(); text != "new" || err != nil {
		t.Errorf("answer = %q, %v", text, err)
	}
	close(release)
	if text := <-first; text != "old" {
		t.Errorf("answer = %q, want that of the endpoint that is gone", text)
	}
	for until := time.Now().Add(10 * time.Second); s.open[0].Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d connections to it are left", s.open[0].Load())
		}
	}
}
