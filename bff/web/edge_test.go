package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// The door behind the middleware that stands in front of it in the server.
func TestBehindEdge(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	r.authenticate = func(ctx context.Context, cred auth.Credentials) (context.Context, error) {
		switch cred.Bearer {
		case "":
			return ctx, nil
		case "good":
			return auth.NewContext(ctx, &auth.Principal{Subject: "ada", Kind: auth.User, Authenticated: true}), nil
		}
		return nil, fault.New(codes.Unauthenticated, "the token is not accepted")
	}
	chain := edge.Chain(edge.Config{Body: 1000, ReadTimeout: 200 * time.Millisecond}, edge.Options{
		Core: r, Door: func(*http.Request) request.Door { return request.Web },
	})
	slices.Reverse(chain)
	h := serve(t, r, func(c *Config) { c.Playground = true }, chain...)

	if got := h.post(t, "{ __typename }", "Authorization", "Bearer good"); string(got.body.Data) != `{"__typename":"Query"}` {
		t.Errorf("%d %s", got.status, got.text)
	}
	if got := h.post(t, "{ __typename }", "Authorization", "Bearer bad"); got.status != http.StatusUnauthorized {
		t.Errorf("bad token: %d %s", got.status, got.text)
	}
	if got := h.post(t, "{ __typename } #"+strings.Repeat(" ", 1000)); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: %d %s", got.status, got.text)
	}
	page := h.do(t, http.MethodGet, h.url, "", "Accept", browser)
	if page.status != http.StatusOK || page.header.Get("Content-Security-Policy") != pagePolicy {
		t.Errorf("page: %d %v", page.status, page.header)
	}
	for name, values := range page.header {
		if len(values) > 1 && name != "Vary" {
			t.Errorf("%s stands there twice: %q", name, values)
		}
	}
	c := h.connect(t, `{"headers":{"Authorization":"Bearer good"}}`)
	c.subscribe("1", boxReadings)
	r.events <- 3
	c.expect(`{"id":"1","type":"next","payload":{"data":{"boxReadings":{"celsius":3}}}}`)
	time.Sleep(300 * time.Millisecond) // the time for a body is over; the connection is not
	r.events <- 4
	c.expect(`{"id":"1","type":"next","payload":{"data":{"boxReadings":{"celsius":4}}}}`)
}

func TestLateBody(t *testing.T) {
	t.Parallel()
	chain := edge.Chain(edge.Config{ReadTimeout: 50 * time.Millisecond}, edge.Options{
		Core: shop(), Door: func(*http.Request) request.Door { return request.Web },
	})
	slices.Reverse(chain)
	h := serve(t, shop(), nil, chain...)
	host := strings.TrimSuffix(strings.TrimPrefix(h.url, "http://"), "/graphql")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const head = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, 1000)
	n, err := conn.Read(answer)
	if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 408") || !strings.Contains(string(answer[:n]), "did not come in time") {
		t.Errorf("%v %s", err, answer[:n])
	}
}
