package edge_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// strict admits nobody without a token.
type strict struct{ stub }

func (s strict) Identify(ctx context.Context, cred auth.Credentials) (*auth.Principal, error) {
	if cred.Bearer == "" {
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	}
	return s.stub.Identify(ctx, cred)
}

// Without credentials only those come in who begin a WebSocket that takes a token, and they as nobody who may do
// anything.
func TestPendingWebSockets(t *testing.T) {
	t.Parallel()
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := auth.FromContext(r.Context())
		if p.Pending == p.Authenticated {
			t.Errorf("%s: principal %+v", r.URL, p)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	chain := edge.Chain(edge.Config{}, edge.Options{
		Core: strict{}, Door: func(*http.Request) request.Door { return request.Mobile },
		TakesToken: func(r *http.Request) bool { return r.URL.Path == "/socket" },
	})
	for _, middleware := range slices.Backward(chain) {
		h = middleware(h)
	}
	upgrade := http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}}
	for _, test := range []struct {
		name, method, path string
		header             http.Header
		want               int
	}{
		{"a socket", http.MethodGet, "/socket", upgrade, http.StatusNoContent},
		{"a socket that takes none", http.MethodGet, "/other", upgrade, http.StatusUnauthorized},
		{"no socket", http.MethodGet, "/socket", nil, http.StatusUnauthorized},
		{"half a handshake", http.MethodGet, "/socket", http.Header{"Upgrade": {"websocket"}}, http.StatusUnauthorized},
		{"another protocol", http.MethodGet, "/socket", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}, http.StatusUnauthorized},
		{"another method", http.MethodPost, "/socket", upgrade, http.StatusUnauthorized},
		{"a bad token", http.MethodGet, "/socket", with(upgrade, "Authorization", "Bearer bad"), http.StatusUnauthorized},
		{"a bad subprotocol", http.MethodGet, "/socket", with(upgrade, "Sec-Websocket-Protocol", "bearer.bad"), http.StatusUnauthorized},
		{"no token at all", http.MethodGet, "/socket", with(upgrade, "Authorization", "Basic YTpi"), http.StatusUnauthorized},
		{"a good token", http.MethodGet, "/other", with(upgrade, "Authorization", "Bearer good"), http.StatusNoContent},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, http.NoBody)
		if test.header != nil {
			r.Header = test.header.Clone()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s: status %d, want %d", test.name, w.Code, test.want)
		}
	}
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Set(name, value)
	return h
}
