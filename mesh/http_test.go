package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh"
)

func TestTransportSpeaksBothProtocols(t *testing.T) {
	t.Parallel()
	for name, speaks := range map[string]protocol{"HTTP/1.1": http1, "HTTP/2.0": http2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			s := serveHTTP(t, ca, "users", speaks, func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				_, _ = io.WriteString(w, r.Proto+" "+r.Host+" "+r.URL.RequestURI()+" "+r.TLS.PeerCertificates[0].URIs[0].String()+" "+string(text))
			})
			c, m := client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
			code, text, err := fetch(c, request(t, http.MethodPost, s.url("/keys?x=1"), "hello"))
			want := name + " " + s.addresses[0] + " /keys?x=1 spiffe://shop.test/portico hello"
			if code != http.StatusOK || text != want || err != nil {
				t.Errorf("answer = %d %q, %v; want %q", code, text, err, want)
			}
			stats := m.Stats()
			if stats.Calls != 1 || stats.Attempts != 1 || len(stats.Endpoints) != 1 || !stats.Endpoints[0].Ready || stats.Endpoints[0].Active != 0 {
				t.Errorf("stats = %+v", stats)
			}
			for range 20 {
				if _, _, err := get(t, c, s, "/keys"); err != nil {
					t.Fatal(err)
				}
			}
			if n := s.conns[0].Load(); n != 1 {
				t.Errorf("%d connections, want one that is used again", n)
			}
		})
	}
}

// Of five endpoints one fails: with retries nobody notices, and it is ejected.
func TestTransportOneOfFiveFails(t *testing.T) {
	t.Parallel()
	for name, speaks := range map[string]protocol{"http1": http1, "http2": http2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			s := serveHTTP(t, ca, "users", speaks, append(repeat(4, answer("ok")), fails(http.StatusServiceUnavailable))...)
			c, m := client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
			for range 200 {
				if code, text, err := get(t, c, s, "/keys"); code != http.StatusOK || text != "ok" || err != nil {
					t.Fatalf("answer = %d %q, %v", code, text, err)
				}
			}
			if n := s.hits[4].Load(); n != 5 {
				t.Errorf("the failing endpoint had %d requests, want 5 and its ejection", n)
			}
			if stats := m.Stats(); stats.Retries != 5 || stats.Ejections != 1 {
				t.Errorf("retries %d, ejections %d; want 5 and 1", stats.Retries, stats.Ejections)
			}
		})
	}
}

// What cannot be repeated fails until the endpoint is ejected, with its own answer.
func TestTransportDoesNotRepeatUnsafeRequests(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, append(repeat(4, answer("ok")), fails(http.StatusServiceUnavailable))...)
	c, m := client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
	failed := 0
	for range 100 {
		code, _, err := fetch(c, request(t, http.MethodPost, s.url("/charge"), "1"))
		if err != nil {
			t.Fatal(err)
		}
		if code == http.StatusServiceUnavailable {
			failed++
		}
	}
	if failed != 5 || m.Stats().Retries != 0 {
		t.Errorf("%d failed, %d retries; want 5 until the ejection and none", failed, m.Stats().Retries)
	}
}

// When everything fails, the budget bounds the attempts.
func TestTransportBudget(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, repeat(5, fails(http.StatusBadGateway))...)
	c, m := client(t, ca, s, pinned(s, "users", "{retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 1, ttl: 10s}}")+routed(s, "{retries: {attempts: 3, backoff: 1ms}}"), mesh.Options{})
	const requests = 300
	for range requests {
		if code, _, err := get(t, c, s, "/keys"); code != http.StatusBadGateway || err != nil {
			t.Fatalf("answer = %d, %v; want the server's own", code, err)
		}
	}
	// A fifth, and a reserve of ten.
	if most := int64(requests + requests/5 + 10); s.total() > most || s.total() < requests+10 {
		t.Errorf("%d attempts for %d requests, want at most %d", s.total(), requests, most)
	}
	if m.Stats().RetriesRefused == 0 {
		t.Error("the budget refused nothing")
	}
}

// A body is sent again whole, if it can be had again.
func TestTransportRepeatsBodies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		method string
		header string
		once   bool // the body cannot be had again
		want   int
	}{
		{name: "put", method: http.MethodPut, want: http.StatusOK},
		{name: "post", method: http.MethodPost, want: http.StatusServiceUnavailable},
		{name: "post with a key", method: http.MethodPost, header: "Idempotency-Key", want: http.StatusOK},
		{name: "put of a stream", method: http.MethodPut, once: true, want: http.StatusServiceUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			var first atomic.Bool
			echo := func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				if first.CompareAndSwap(false, true) {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				_, _ = w.Write(text)
			}
			s := serveHTTP(t, ca, "users", http2, echo, echo)
			c, _ := client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
			body := strings.Repeat("x", 100_000)
			req := request(t, test.method, s.url("/"), body)
			if test.header != "" {
				req.Header.Set(test.header, "1")
			}
			closed := new(closeCounter)
			if test.once {
				closed.Reader = strings.NewReader(body)
				req.Body, req.GetBody = closed, nil
			}
			code, text, err := fetch(c, req)
			if code != test.want || text != body || err != nil {
				t.Errorf("answer = %d with %d bytes, %v; want %d with all of them", code, len(text), err, test.want)
			}
			for test.once && closed.closes.Load() == 0 { // perhaps a little later, as http.RoundTripper may
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// closeCounter is a body that knows whether it was closed.
type closeCounter struct {
	io.Reader

	closes atomic.Int64
}

func (c *closeCounter) Close() error {
	c.closes.Add(1)
	return nil
}

// A server that is of the mesh, but another one, is refused, and says nothing.
func TestTransportPinsTheServer(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "mallory", http2, answer("secret"))
	events := make(chan mesh.Event, 100)
	c, _ := client(t, ca, s, pinned(s, "users", ""), mesh.Options{OnEvent: func(e mesh.Event) { events <- e }})
	_, _, err := get(t, c, s, "/keys")
	if err == nil || !strings.Contains(err.Error(), "unexpected ID") || s.total() != 0 {
		t.Errorf("error = %v with %d requests served, want the identity refused", err, s.total())
	}
	if e := <-events; e.Kind != mesh.HandshakeRefused {
		t.Errorf("event = %+v, want the handshake refused", e)
	}
	foreign := newCA(t, "other.test", time.Hour)
	s = serveHTTP(t, foreign, "users", http2, answer("secret"))
	c, _ = client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
	if _, _, err := get(t, c, s, "/keys"); err == nil || s.total() != 0 {
		t.Errorf("error = %v, want the foreign domain refused", err)
	}
	s = serveHTTP(t, ca, "users", http2, answer("ok"))
	c, _ = client(t, ca, s, everybody, mesh.Options{})
	if _, _, err := get(t, c, s, "/keys"); err == nil || !strings.Contains(err.Error(), "no policy Destination says who serves") {
		t.Errorf("error = %v, want nobody expected", err)
	}
}

// An endpoint that nobody serves at costs nobody an answer, unsafe or not, and few
// attempts: it is asked last for a while, which grows.
func TestTransportGoesAroundDeadEndpoints(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, answer("ok"))
	s.addresses = append(s.addresses, "127.0.0.1:1", "127.0.0.1:2")
	c, m := client(t, ca, s, pinned(s, "users", "{outlierDetection: {consecutiveGatewayErrors: 0}}"), mesh.Options{})
	for range 100 {
		if code, _, err := fetch(c, request(t, http.MethodPost, s.url("/"), "x")); code != http.StatusOK || err != nil {
			t.Fatalf("answer = %d, %v", code, err)
		}
	}
	if n := m.Stats().Retries; n == 0 || n > 16 { // seven each in twelve seconds
		t.Errorf("%d retries, want a few", n)
	}
}

// The first answer of several attempts counts, the others are cancelled.
func TestTransportHedges(t *testing.T) {
	t.Parallel()
	for name, speaks := range map[string]protocol{"http1": http1, "http2": http2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			cancelled := make(chan bool, 100)
			slow := func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				cancelled <- true
			}
			s := serveHTTP(t, ca, "users", speaks, answer("ok"), slow)
			c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{hedging: {maxAttempts: 2, hedgingDelay: 20ms}}"), mesh.Options{})
			for range 10 {
				began := time.Now()
				if code, text, err := get(t, c, s, "/"); code != http.StatusOK || text != "ok" || err != nil || time.Since(began) > 5*time.Second {
					t.Fatalf("answer = %d %q, %v after %v", code, text, err, time.Since(began))
				}
			}
			if m.Stats().Hedges == 0 {
				t.Error("nothing was hedged")
			}
			// Some may have been cancelled before they got there.
			for int64(len(cancelled)) < s.hits[1].Load() {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// The delay may be what most requests of the entry take: after a hundred of those, a slow
// one is hedged long before hedgingDelay.
func TestTransportHedgesByPercentile(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	var slow atomic.Bool
	stall := func(w http.ResponseWriter, r *http.Request) {
		if slow.CompareAndSwap(true, false) {
			<-r.Context().Done()
		}
		answer("ok")(w, r)
	}
	s := serveHTTP(t, ca, "users", http2, stall, stall)
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{timeout: 1m, hedging: {maxAttempts: 2, hedgingDelay: 50s, hedgingPercentile: {value: 95}}}"), mesh.Options{})
	for range 100 {
		if _, _, err := get(t, c, s, "/"); err != nil {
			t.Fatal(err)
		}
	}
	slow.Store(true)
	began := time.Now()
	if code, _, err := get(t, c, s, "/"); code != http.StatusOK || err != nil || time.Since(began) > 20*time.Second || m.Stats().Hedges == 0 {
		t.Errorf("%d, %v after %v, %d hedges", code, err, time.Since(began), m.Stats().Hedges)
	}
}

// A limit for each attempt, a limit for all, and the caller's own.
func TestTransportTimeLimits(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s := serveHTTP(t, ca, "users", http2, answer("ok"), hang)
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{retries: {attempts: 2, perTryTimeout: 50ms, backoff: 1ms}}"), mesh.Options{})
	for range 6 {
		if code, _, err := get(t, c, s, "/"); code != http.StatusOK || err != nil {
			t.Fatalf("answer = %d, %v", code, err)
		}
	}
	if m.Stats().Retries == 0 {
		t.Error("no attempt was given up")
	}
	s = serveHTTP(t, ca, "users", http2, hang)
	c, _ = client(t, ca, s, pinned(s, "users", "")+routed(s, "{timeout: 50ms}"), mesh.Options{})
	if _, _, err := get(t, c, s, "/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want the route's timeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	c, m = client(t, ca, s, pinned(s, "users", ""), mesh.Options{})
	if _, _, err := fetch(c, request(t, http.MethodGet, s.url("/"), "").WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want the caller's cancellation", err)
	}
	if e := m.Stats().Endpoints[0]; e.Active != 0 {
		t.Errorf("endpoint = %+v, want it idle", e)
	}
}

// The body of an answer streams, for longer than any attempt may take, until the
// route's timeout.
func TestTransportStreams(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	next := make(chan bool)
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, r *http.Request) {
		flusher, _ := w.(http.Flusher)
		flusher.Flush()
		for {
			select {
			case <-next:
				_, _ = io.WriteString(w, "x")
				flusher.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	c, m := client(t, ca, s, pinned(s, "users", "")+routed(s, "{timeout: 10s, retries: {attempts: 1, perTryTimeout: 2s}}"), mesh.Options{})
	resp, err := c.Do(request(t, http.MethodGet, s.url("/"), ""))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next <- true
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.Stats().Endpoints[0].Active; n != 1 {
		t.Errorf("%d requests at the endpoint, want the stream", n)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if n := m.Stats().Endpoints[0].Active; n != 0 {
		t.Errorf("%d requests at the endpoint after Close", n)
	}
}

// 429 is waited out as the server asks; 500 is of "5xx"; 501 is nobody's failure.
func TestTransportStatuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		status  int
		after   string
		retryOn string
		want    int
	}{
		{name: "gateway errors", status: 504, retryOn: "gateway-error", want: 200},
		{name: "not 500 by default", status: 500, retryOn: "unavailable", want: 500},
		{name: "500 of 5xx", status: 500, retryOn: "5xx", want: 200},
		{name: "507 of 5xx", status: 507, retryOn: "5xx", want: 200},
		{name: "501 is no failure", status: 501, retryOn: "5xx", want: 501},
		{name: "429 that asks", status: 429, after: "0", retryOn: "unavailable", want: 200},
		{name: "429 that does not", status: 429, retryOn: "unavailable", want: 429},
		{name: "429 by name", status: 429, retryOn: "resource-exhausted", want: 200},
		{name: "later than the deadline", status: 503, after: "3600", retryOn: "unavailable", want: 503},
		{name: "not found", status: 404, retryOn: "5xx", want: 404},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ca := newCA(t, "shop.test", time.Hour)
			var failed atomic.Bool
			s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, _ *http.Request) {
				if failed.CompareAndSwap(false, true) {
					if test.after != "" {
						w.Header().Set("Retry-After", test.after)
					}
					w.WriteHeader(test.status)
				}
			})
			c, _ := client(t, ca, s, pinned(s, "users", "")+routed(s, `{retries: {attempts: 1, retryOn: "`+test.retryOn+`", backoff: 1ms}}`), mesh.Options{})
			if code, _, err := get(t, c, s, "/"); code != test.want || err != nil {
				t.Errorf("answer = %d, %v; want %d", code, err, test.want)
			}
		})
	}
}

// What is wrong with a request is not blamed on endpoints.
func TestTransportRefusesRequests(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	s := serveHTTP(t, ca, "users", http2, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil { // an answer could come before the body breaks
			answer("ok")(w, r)
		}
	})
	c, m := client(t, ca, s, pinned(s, "users", "{outlierDetection: {consecutiveGatewayErrors: 1}}"), mesh.Options{})
	for name, req := range map[string]*http.Request{
		`the URL's host is "evil.test"`:       request(t, http.MethodGet, "https://evil.test/", ""),
		"the mesh sends nothing in the clear": request(t, http.MethodGet, "http://"+s.addresses[0]+"/", ""),
		"invalid header field":                request(t, http.MethodGet, s.url("/"), ""),
		"the body is broken":                  request(t, http.MethodPut, s.url("/"), "x"),
	} {
		if strings.HasPrefix(name, "invalid") {
			req.Header["X-Bad"] = []string{"a\nb"}
		}
		if strings.HasPrefix(name, "the body") {
			req.Body, req.GetBody, req.ContentLength = io.NopCloser(broken{}), nil, 1
		}
		if _, _, err := fetch(c, req); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want %q", err, name)
		}
	}
	if stats := m.Stats(); stats.Ejections != 0 || stats.Retries != 0 {
		t.Errorf("stats = %+v, want nobody blamed", stats)
	}
	for _, target := range []string{"orders", "mesh:///orders", "static:///a"} {
		c := &http.Client{Transport: m.Transport(target)}
		if _, _, err := fetch(c, request(t, http.MethodGet, "https://orders/", "")); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("error for %q = %v", target, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the body is broken") }
