package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "portico_test_total", Help: "A test."})
	reg.MustRegister(counter)
	counter.Inc()
	var failing map[string]error
	h := Handler(Options{Metrics: reg, Ready: func(ctx context.Context) map[string]error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the checks have no deadline")
		}
		return failing
	}})
	tests := []struct {
		method, path string
		failing      map[string]error
		status       int
		contentType  string
		body         string // a part of it
	}{
		{"GET", "/healthz", map[string]error{"x": errors.New("y")}, 200, "text/plain; charset=utf-8", "ok\n"},
		{"GET", "/readyz", nil, 200, "application/json", `{"ready":true}` + "\n"},
		{"GET", "/readyz", map[string]error{"orders": nil}, 200, "application/json", `{"ready":true}` + "\n"},
		{
			"GET", "/readyz",
			map[string]error{"orders": errors.New("connecting"), "auth": errors.New(`no "keys"`), "users": nil},
			503, "application/json", `{"ready":false,"failing":{"auth":"no \"keys\"","orders":"connecting"}}` + "\n",
		},
		{"GET", "/metrics", nil, 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "portico_test_total 1\n"},
		{"GET", "/", nil, 404, "text/plain; charset=utf-8", ""},
		{"GET", "/healthz/x", nil, 404, "text/plain; charset=utf-8", ""},
		{"POST", "/healthz", nil, 405, "text/plain; charset=utf-8", ""},
		{"HEAD", "/readyz", nil, 200, "application/json", ""},
	}
	for _, tt := range tests {
		failing = tt.failing
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, http.NoBody))
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.contentType || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s %s: %d %s %q", tt.method, tt.path, w.Code, w.Header().Get("Content-Type"), w.Body.String())
		}
	}
	w := httptest.NewRecorder()
	Handler(Options{Metrics: prometheus.NewRegistry()}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
	if w.Code != http.StatusOK {
		t.Errorf("without checks: %d", w.Code)
	}
}
