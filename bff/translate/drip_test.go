package translate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate"
)

// drip is a body of single bytes.
type drip struct {
	every time.Duration
	stop  <-chan struct{}
}

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.stop:
		return 0, io.ErrUnexpectedEOF
	case <-time.After(d.every):
		return copy(p, "x"), nil
	}
}

// An upload has as long as any other body, all of it: a client that sends a byte now and then is told so and cut off, and
// the call that its parts have begun is cancelled.
func TestUploadDrip(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	for name, every := range map[string]time.Duration{
		"bytes that come much faster than the limit": 5 * time.Millisecond, "a byte that comes later than the limit": time.Hour,
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(map[bool]string{false: "HTTP/1.1, ", true: "HTTP/2, "}[h2]+name, func(t *testing.T) {
				t.Parallel()
				d := library(t)
				ended := make(chan error, 1)
				var parts bytes.Buffer // read when the call has ended
				rt, err := translate.New(d.Methods(libraryService), translate.Options{Resolver: d.Types(), Caller: serving(func(c *call) error {
					for {
						req, err := c.recv()
						if err != nil {
							ended <- err
							return err
						}
						parts.WriteString(jsonOf(t, method(t, d, "StoreRaw").Input, req))
					}
				})})
				if err != nil {
					t.Fatal(err)
				}
				server := exposeIn(t, edge.Config{ReadTimeout: limit}, rt, h2)
				stop := make(chan struct{})
				end := sync.OnceFunc(func() { close(stop) })
				defer end()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/v1/raw", io.MultiReader(bytes.NewReader([]byte("first")), drip{every, stop}))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				res, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < limit {
					t.Errorf("it was cut off after %v, less than %v", took, limit)
				}
				end() // a client of HTTP/2 that has its answer waits for its own body before it closes
				if got := text(t, res); res.StatusCode != http.StatusRequestTimeout || (res.ProtoMajor == 2) != h2 {
					t.Errorf("%s: status %d, body %s", res.Proto, res.StatusCode, got)
				}
				select {
				case err := <-ended:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("the call ended with %v", err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the call goes on")
				}
				if want := base64.StdEncoding.EncodeToString([]byte("first")); !bytes.Contains(parts.Bytes(), []byte(want)) {
					t.Errorf("the service saw %q, want %q in it", &parts, want)
				}
			})
		}
	}
}

// exposeIn serves a handler behind the edge, on a port.
func exposeIn(t *testing.T, cfg edge.Config, h http.Handler, h2 bool) *httptest.Server {
	t.Helper()
	chain := edge.Chain(cfg, edge.Options{Core: everybody{}, Door: func(*http.Request) request.Door { return request.Mobile }})
	for _, middleware := range slices.Backward(chain) {
		h = middleware(h)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = edge.Server(cfg, h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if server.EnableHTTP2 = h2; h2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}
