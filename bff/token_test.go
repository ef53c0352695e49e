package bff

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
)

// Where nobody comes in without a token, WebSockets do that take one with their first message, and nothing else does.
func TestWhoComesInWithoutAToken(t *testing.T) {
	t.Parallel()
	h, token := doors(t, unaryConfig+"\nweb: {schema: [schema/shop/*.graphqls]}\n")
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	for _, test := range []struct {
		path string
		want int
	}{
		{"/graphql", http.StatusSwitchingProtocols},
		{"/graphql/", http.StatusUnauthorized},
		{"/graphql/schema", http.StatusUnauthorized},
		{"/%67raphql", http.StatusUnauthorized},
		{"/ws/shop.orders.v1.OrderService/WatchOrder", http.StatusSwitchingProtocols},
		{"/ws/shop.orders.v1.OrderService/GetOrder", http.StatusUnauthorized},
		{"/v1/orders/ord-0000007", http.StatusUnauthorized},
		{"/nowhere", http.StatusUnauthorized},
	} {
		conn, res, err := websocket.Dial(t.Context(), server.URL+test.path, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
		if err == nil {
			_ = conn.CloseNow()
		}
		if res == nil || res.StatusCode != test.want {
			t.Errorf("%s: %v, %v", test.path, res, err)
		}
	}
	for value, want := range map[string]int{"": http.StatusUnauthorized, "Bearer " + token: http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/graphql?query={__typename}", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", value)
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a query with %.10q: status %d, want %d", value, res.StatusCode, want)
		}
	}
}
