package edge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub knows the token "good", and admits as its function says.
type stub struct {
	admit func() (limit.Result, error)
}

func (s stub) Identify(_ context.Context, cred auth.Credentials) (*auth.Principal, error) {
	switch cred.Bearer {
	case "":
		return &auth.Principal{Kind: auth.Anonymous}, nil
	case "good":
		return &auth.Principal{Subject: "ada", Kind: auth.User, Authenticated: true}, nil
	}
	return nil, fault.New(codes.Unauthenticated, "the token is not valid")
}

func (s stub) Admit(context.Context, core.Operation, int) (limit.Result, error) {
	if s.admit == nil {
		return limit.Result{Allowed: true}, nil
	}
	return s.admit()
}

// harness is a handler behind the whole chain.
type harness struct {
	http.Handler
	log   *buffer
	spans *tracetest.SpanRecorder
	reg   *prometheus.Registry
}

// buffer is a bytes.Buffer that several goroutines may use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func behind(cfg edge.Config, c edge.Core, h http.HandlerFunc) *harness {
	out := &harness{log: &buffer{}, spans: tracetest.NewSpanRecorder(), reg: prometheus.NewRegistry()}
	out.Handler = h
	chain := edge.Chain(cfg, edge.Options{
		Core: c, Logger: slog.New(slog.NewJSONHandler(out.log, nil)), Metrics: out.reg,
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(out.spans)),
		Door:   func(*http.Request) request.Door { return request.Mobile },
	})
	for _, middleware := range slices.Backward(chain) {
		out.Handler = middleware(out.Handler)
	}
	return out
}

func (h *harness) do(t *testing.T, line, body string, header ...string) *http.Response {
	t.Helper()
	httpMethod, target, _ := strings.Cut(line, " ")
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(t.Context(), httpMethod, target, reader)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// line is the one line of the log.
func (h *harness) line(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(h.log.String()), &m); err != nil {
		t.Fatalf("log %q: %v", h.log, err)
	}
	return m
}

func ok(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, auth.FromContext(r.Context()).Subject)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		header    []string
		status    int
		body      string
		challenge string
	}{
		{"none", nil, 200, "", ""},
		{"good", []string{"Authorization", "Bearer good"}, 200, "ada", ""},
		{"other case", []string{"Authorization", "bearer  good"}, 200, "ada", ""},
		{"bad", []string{"Authorization", "Bearer bad"}, 401, `"detail":"the token is not valid"`, `Bearer error="invalid_token"`},
		{"other scheme", []string{"Authorization", "Basic Z29vZA=="}, 401, `"code":"UNAUTHENTICATED"`, `Bearer error="invalid_request"`},
		{"empty", []string{"Authorization", "Bearer "}, 401, `"code":"UNAUTHENTICATED"`, `Bearer error="invalid_request"`},
		{"two", []string{"Authorization", "Bearer good", "Authorization", "Bearer good"}, 401, `"code":"UNAUTHENTICATED"`, `Bearer error="invalid_request"`},
		{"subprotocol", []string{"Sec-WebSocket-Protocol", "portico.json, bearer.good"}, 200, "ada", ""},
		{"bad subprotocol", []string{"Sec-WebSocket-Protocol", "bearer.bad"}, 401, "the token is not valid", `Bearer error="invalid_token"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := behind(edge.Config{}, stub{}, func(w http.ResponseWriter, r *http.Request) {
				if p := r.Header.Get("Sec-WebSocket-Protocol"); strings.Contains(p, "bearer") {
					t.Errorf("the handler sees the token in %q", p)
				}
				ok(w, r)
			})
			r := h.do(t, "GET /x", "", test.header...)
			body := text(t, r)
			if r.StatusCode != test.status || !strings.Contains(body, test.body) || r.Header.Get("WWW-Authenticate") != test.challenge {
				t.Errorf("status %d, challenge %q, body %s", r.StatusCode, r.Header.Get("WWW-Authenticate"), body)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	result := limit.Result{Allowed: true, Limit: 200, Remaining: 199, Window: 2 * time.Second, Reset: 10 * time.Millisecond}
	h := behind(edge.Config{}, stub{admit: func() (limit.Result, error) { return result, nil }}, ok)
	r := h.do(t, "GET /x", "")
	if p, l := r.Header.Get("Ratelimit-Policy"), r.Header.Get("Ratelimit"); p != `"default";q=200;w=2` || l != `"default";r=199;t=1` {
		t.Errorf("policy %q, limit %q", p, l)
	}
	result.Allowed, result.Remaining = false, 0
	h = behind(edge.Config{}, stub{admit: func() (limit.Result, error) {
		return result, fault.New(codes.ResourceExhausted, "too many requests", fault.WithRetryAfter(1500*time.Millisecond))
	}}, func(http.ResponseWriter, *http.Request) { t.Error("the handler runs") })
	r = h.do(t, "GET /x", "")
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "2" || r.Header.Get("Ratelimit") != `"default";r=0;t=1` {
		t.Errorf("status %d, headers %v", r.StatusCode, r.Header)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	for sent, kept := range map[string]bool{
		"abc-123_X.y": true, "": false, "a b": false, "a\"b": false, strings.Repeat("x", 65): false, "é": false,
	} {
		var seen string
		h := behind(edge.Config{}, stub{}, func(_ http.ResponseWriter, r *http.Request) { seen = request.FromContext(r.Context()).ID })
		r := h.do(t, "GET /x", "", "X-Request-Id", sent)
		if got := r.Header.Get("X-Request-ID"); got != seen || (got == sent) != kept || got == "" {
			t.Errorf("sent %q: answered %q, handler saw %q", sent, got, seen)
		}
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	var info *request.Info
	h := behind(edge.Config{}, stub{}, func(_ http.ResponseWriter, r *http.Request) { info = request.FromContext(r.Context()) })
	h.do(t, "PUT /a%2Fb/c%20d?x=1", "", "Accept-Language", "de")
	if info.Door != request.Mobile || info.Method != http.MethodPut || info.Path != "/a%2Fb/c d" || info.Header.Get("Accept-Language") != "de" ||
		info.Remote.String() != "192.0.2.1" {
		t.Errorf("info is %+v", info)
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	h := behind(edge.Config{}, stub{}, func(w http.ResponseWriter, r *http.Request) {
		rec := record.FromContext(r.Context())
		rec.Route, rec.Operation = "/v1/orders/{order_id}", "shop.Orders/Get"
		_, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "hello")
	})
	h.do(t, "POST /v1/orders/7?token=secret", "body", "Authorization", "Bearer good", "User-Agent", "tester",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	line := h.line(t)
	for key, want := range map[string]any{
		"msg": "request", "door": "mobile", "route": "/v1/orders/{order_id}", "method": "POST", "path": "/v1/orders/7", "status": 201.0,
		"grpc_code": "OK", "bytes_in": 4.0, "bytes_out": 5.0, "ip": "192.0.2.1", "ua": "tester", "operation": "shop.Orders/Get",
		"client_id": "ada", "trace_id": "0af7651916cd43dd8448eb211c80319c", "level": "INFO",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	if strings.Contains(h.log.String(), "secret") || strings.Contains(h.log.String(), "good") {
		t.Errorf("a secret is logged: %s", h.log)
	}
	spans := h.spans.Ended()
	if len(spans) != 1 || spans[0].Name() != "POST /v1/orders/{order_id}" || spans[0].Parent().SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("spans are %v", spans)
	}
	if n := testutil.CollectAndCount(h.reg, "http_server_request_duration_seconds"); n != 1 {
		t.Errorf("%d series", n)
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	t.Run("before the answer", func(t *testing.T) {
		t.Parallel()
		h := behind(edge.Config{}, stub{}, func(http.ResponseWriter, *http.Request) { panic("secret words") }) //nolint:forbidigo // what the test is about
		r := h.do(t, "GET /x", "")
		if body := text(t, r); r.StatusCode != http.StatusInternalServerError || !strings.Contains(body, `"code":"INTERNAL"`) || strings.Contains(body, "secret") {
			t.Errorf("status %d, body %s", r.StatusCode, body)
		}
		if log := h.log.String(); !strings.Contains(log, "secret words") || !strings.Contains(log, "edge_test.go") || !strings.Contains(log, `"status":500`) {
			t.Errorf("log is %s", log)
		}
	})
	for name, value := range map[string]any{"after the answer began": "words", "on purpose": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := behind(edge.Config{}, stub{}, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusOK)
				panic(value) //nolint:forbidigo // what the test is about
			})
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
					t.Errorf("recovered %v", err)
				}
				if !strings.Contains(h.log.String(), `"msg":"request"`) {
					t.Errorf("log is %s", h.log)
				}
			}()
			h.do(t, "GET /x", "")
		})
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	reading := func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		if _, ok := errors.AsType[*http.MaxBytesError](err); !ok {
			t.Errorf("reading ended with %v", err)
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
	cfg := edge.Config{Body: 10}
	h := behind(cfg, stub{}, func(http.ResponseWriter, *http.Request) { t.Error("the handler runs") })
	if r := h.do(t, "POST /x", "01234567890"); r.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(text(t, r), "larger than 10 bytes") {
		t.Errorf("status %d", r.StatusCode)
	}
	server := httptest.NewServer(behind(cfg, stub{}, reading))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.MultiReader(strings.NewReader("01234567890"))) // no length
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
	server.Client().CloseIdleConnections()
}

// A body that does not come ends with 408; one that came leaves the handler all the time it needs.
func TestBodyTime(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(behind(edge.Config{ReadTimeout: 200 * time.Millisecond}, stub{}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			fault.WriteProblem(w, r, err)
			return
		}
		select {
		case <-r.Context().Done():
			t.Error("the request was cancelled while its handler worked")
		case <-time.After(400 * time.Millisecond):
		}
	}))
	defer server.Close()
	for body, status := range map[string]string{"all of it.": "HTTP/1.1 200 OK", "part": "HTTP/1.1 408 Request Timeout"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"+body); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		if got, _, _ := strings.Cut(string(answer), "\r\n"); got != status {
			t.Errorf("body %q: got %q, want %q", body, got, status)
		}
		conn.Close()
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	h := behind(edge.Config{}, stub{}, ok)
	for target, status := range map[string]int{"/a/b": 200, "/a/../b": 400, "/%2e%2e/b": 400, "/a%00": 400, "/%ff": 400, "/a%2Fb": 200, "//": 200} {
		if r := h.do(t, "GET http://x"+target, ""); r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", target, r.StatusCode, status)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	plain := edge.Config{}
	open := edge.Config{CORS: &edge.CORS{Origins: []string{"https://app.test", "https://*.good.test"}}}
	for _, test := range []struct {
		name   string
		cfg    edge.Config
		line   string
		header []string
		status int
		allow  string
	}{
		{"no browser", plain, "POST /x", nil, 200, ""},
		{"same origin", plain, "POST /x", []string{"Sec-Fetch-Site", "same-origin"}, 200, ""},
		{"foreign page writes", plain, "POST /x", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, 403, ""},
		{"foreign page reads", plain, "GET /x", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, 200, ""},
		{"allowed page", open, "POST /x", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.test"}, 200, "https://app.test"},
		{"allowed by pattern", open, "DELETE /x", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://a.good.test"}, 200, "https://a.good.test"},
		{"not allowed", open, "POST /x", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, 403, ""},
		{"preflight", open, "OPTIONS /x", []string{"Origin", "https://app.test", "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization"}, 204, "https://app.test"},
		{"preflight not allowed", open, "OPTIONS /x", []string{"Origin", "https://evil.test", "Access-Control-Request-Method", "PATCH"}, 204, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := behind(test.cfg, stub{}, ok).do(t, test.line, "", test.header...)
			if r.StatusCode != test.status || r.Header.Get("Access-Control-Allow-Origin") != test.allow {
				t.Errorf("status %d, allowed %q", r.StatusCode, r.Header.Get("Access-Control-Allow-Origin"))
			}
			if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("headers are %v", r.Header)
			}
		})
	}
}

// Pages of other origins may read what the configuration lists, and what we send ourselves.
func TestExposedHeaders(t *testing.T) {
	t.Parallel()
	cfg := edge.Config{CORS: &edge.CORS{Origins: []string{"https://app.test"}, Expose: []string{"X-Region"}}}
	r := behind(cfg, stub{}, ok).do(t, "GET /x", "", "Origin", "https://app.test")
	if got := r.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "X-Region") || !strings.Contains(got, "Retry-After") {
		t.Errorf("exposed are %q", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  edge.Config
		want []string
	}{
		{edge.Config{}, nil},
		{edge.Config{CORS: &edge.CORS{Origins: []string{"*"}}}, nil},
		{
			edge.Config{Body: -1, ReadTimeout: -1, CORS: &edge.CORS{
				Origins: []string{"*", "app.test", "https://x/y", "https://*.a.*"}, Credentials: true, MaxAge: -1,
			}},
			[]string{
				"body: ", "read_timeout: ", "cors.origins.0: every origin", `cors.origins.1: "app.test" is no origin`, "cors.origins.2: ",
				"cors.origins.3: ", "cors.max_age: ",
			},
		},
		{edge.Config{CORS: &edge.CORS{}}, []string{"cors.origins: no origins"}},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (len(test.want) == 0) {
			t.Errorf("%+v: %v", test.cfg, err)
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not contain %q", err, want)
			}
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := edge.Server(edge.Config{Header: 4 << 10}, http.NotFoundHandler())
	if s.MaxHeaderBytes != 4<<10 || s.ReadHeaderTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.ReadTimeout != 0 {
		t.Errorf("server is %+v", s)
	}
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What a browser may show as a page cannot be framed; data go without the headers that say so.
func TestDocumentHeaders(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"": "DENY", "text/html; charset=utf-8": "DENY", "image/svg+xml": "DENY", "application/pdf": "DENY", "application/xml": "DENY",
		"application/problem+json": "DENY", "Application/JSON": "DENY", // nobody here writes it so
		"application/json": "", "application/json; charset=utf-8": "", "text/event-stream": "", "application/protobuf": "",
	} {
		for _, explicit := range []bool{false, true} {
			r := behind(edge.Config{}, stub{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if contentType != "" {
					w.Header().Set("Content-Type", contentType)
				}
				if explicit {
					w.WriteHeader(http.StatusOK)
				}
				_, _ = w.Write([]byte("<p>"))
			})).do(t, "GET /x", "")
			if r.Header.Get("X-Frame-Options") != want || (r.Header.Get("Referrer-Policy") == "no-referrer") != (want != "") ||
				r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%q: headers are %v", contentType, r.Header)
			}
		}
	}
}
