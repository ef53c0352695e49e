package bff_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// restOnly is a configuration with the REST door alone, before a service that is not there.
const restOnly = `
version: 1
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
descriptors: [{set: protos/gen/shop.binpb}]
upstreams:
  catalog: {target: "passthrough:///127.0.0.1:1", services: [shop.catalog.v1.CatalogService], tls: none}
auth: {anonymous: true}
methods:
  "shop.catalog.v1.CatalogService/*": {allow: "true"}
mobile: {services: [shop.catalog.v1.CatalogService]}
limits: [{per: address, rate: 1/h, burst: 3}]
limits_http: {body: 1KiB}
drain: 1s
`

// serve runs a server until the test ends and returns the base URL of its HTTP doors.
func serve(t *testing.T, text string, ext bff.Extensions) string {
	t.Helper()
	file, err := config.Parse("../test.yaml", []byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	server, err := bff.New(t.Context(), file, ext)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + server.Addresses().HTTP.String()
}

// TestMiddlewareIsAroundEveryDoor shows that a server with one door alone applies credentials, limits, bounds and the
// access log to it.
func TestMiddlewareIsAroundEveryDoor(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	wrapped := 0
	base := serve(t, restOnly, bff.Extensions{
		Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		Middleware: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				wrapped++
				next.ServeHTTP(w, r)
			})
		}},
	})
	do := func(path, token string) (int, http.Header) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header
	}
	if status, _ := do("/v1/products/a", "a.b.c"); status != http.StatusUnauthorized {
		t.Errorf("a bad token was answered with %d", status)
	}
	status, header := do("/v1/products/a", "")
	if status != http.StatusServiceUnavailable || header.Get("X-Request-ID") == "" || header.Get("Ratelimit") == "" {
		t.Errorf("answered %d with %v", status, header)
	}
	if status, _ := do("/nowhere", ""); status != http.StatusNotFound {
		t.Errorf("an unknown path was answered with %d", status)
	}
	for range 3 {
		status, _ = do("/v1/products/a", "")
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("beyond the limit: %d", status)
	}
	if wrapped == 0 {
		t.Error("the extension's middleware was not called")
	}
	if !strings.Contains(log.String(), `"route":"/v1/products/{product_id}"`) {
		t.Errorf("the access log says %s", log.String())
	}
}
