package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	"github.com/portico-bff/portico/upstream"
)

// client is a graphql-transport-ws client that lets tests misbehave.
type client struct {
	tb   testing.TB
	conn *websocket.Conn
}

// dial connects, offering subprotocols, and ends the connection with the test.
func (h *harness) dial(tb testing.TB, protocols ...string) *client {
	tb.Helper()
	o := &websocket.DialOptions{Subprotocols: protocols}
	conn, _, err := websocket.Dial(tb.Context(), h.url, o)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	conn.SetReadLimit(-1)
	tb.Cleanup(func() { _ = conn.CloseNow() })
	return &client{tb: tb, conn: conn}
}

// connect also introduces the client, with a payload or "".
func (h *harness) connect(tb testing.TB, payload string) *client {
	tb.Helper()
	c := h.dial(tb, subprotocol)
	if payload != "" {
		payload = `,"payload":` + payload
	}
	c.send(`{"type":"connection_init"` + payload + `}`)
	c.expect(`{"type":"connection_ack"}`)
	return c
}

func (c *client) send(text string) {
	c.tb.Helper()
	if err := c.conn.Write(c.tb.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.tb.Fatalf("send %s: %v", text, err)
	}
}

func (c *client) subscribe(id, query string) {
	c.tb.Helper()
	text, err := json.Marshal(map[string]any{"id": id, "type": "subscribe", "payload": map[string]any{"query": query}})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.send(string(text))
}

func (c *client) read() (string, error) {
	ctx, cancel := context.WithTimeout(c.tb.Context(), 10*time.Second)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	return string(text), err
}

// expect reads messages, and compares them with the ones that are wanted.
func (c *client) expect(want ...string) {
	c.tb.Helper()
	for _, w := range want {
		got, err := c.read()
		if err != nil || got != w {
			c.tb.Fatalf("received %s (%v), expected %s", got, err, w)
		}
	}
}

// expectClose reads until the connection is closed, and compares the code.
func (c *client) expectClose(code websocket.StatusCode, reason string) {
	c.tb.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		closed, ok := errors.AsType[websocket.CloseError](err)
		if !ok || closed.Code != code || !strings.Contains(closed.Reason, reason) {
			c.tb.Fatalf("the connection ended with %v, expected %d %s", err, code, reason)
		}
		return
	}
}

// readings is a stub whose boxReadings streams are fed by the test.
type readings struct {
	*stub
	events chan float64
	opened chan context.Context
}

func watch(err error) *readings {
	r := &readings{stub: shop(), events: make(chan float64), opened: make(chan context.Context, 100)}
	r.open = func(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
		r.opened <- ctx
		return &stream{ctx: ctx, events: r.events, err: err}, nil
	}
	return r
}

const boxReadings = `subscription { boxReadings(boxId: "b1") { celsius } }`

func TestSubscription(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	c := serve(t, r, nil).connect(t, "")
	c.subscribe("1", boxReadings)
	r.events <- 4.5
	c.expect(`{"id":"1","type":"next","payload":{"data":{"boxReadings":{"celsius":4.5}}}}`)
	r.events <- 5
	c.expect(`{"id":"1","type":"next","payload":{"data":{"boxReadings":{"celsius":5}}}}`)
	close(r.events)
	c.expect(`{"id":"1","type":"complete"}`)
	// The id is free at once, and queries work here too.
	for range 100 {
		c.subscribe("1", "{ __typename }")
		c.expect(`{"id":"1","type":"next","payload":{"data":{"__typename":"Query"}}}`, `{"id":"1","type":"complete"}`)
	}
	c.subscribe("m", `mutation { cancelOrder(id: "o1") { note } }`)
	c.expect(`{"id":"m","type":"next","payload":{"data":{"cancelOrder":{"note":"ring twice"}}}}`, `{"id":"m","type":"complete"}`)
}

func TestOperationErrors(t *testing.T) {
	t.Parallel()
	r := watch(fault.Wrap(codes.Unavailable, "gone for now", errors.New("secret")))
	h := serve(t, r, nil)
	c := h.connect(t, "")
	c.subscribe("1", boxReadings)
	r.events <- 1
	c.expect(`{"id":"1","type":"next","payload":{"data":{"boxReadings":{"celsius":1}}}}`)
	close(r.events)
	c.expect(`{"id":"1","type":"error","payload":[{"message":"gone for now","path":["boxReadings"],"locations":[{"line":1,"column":16}],` +
		`"extensions":{"code":"UNAVAILABLE","retryable":true,"status":"UNAVAILABLE"}}]}`)

	c.subscribe("2", "{ nothing }")
	if got, err := c.read(); err != nil || !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, "GRAPHQL_VALIDATION_FAILED") {
		t.Errorf("%s %v", got, err)
	}
	c.subscribe("3", `{ order(id: "nobody") { note } }`)
	if got, err := c.read(); err != nil || !strings.Contains(got, `{"data":{"order":null},"errors":[`) || !strings.Contains(got, "UNAUTHENTICATED") {
		t.Errorf("%s %v", got, err)
	}
	c.expect(`{"id":"3","type":"complete"}`)
	if len(h.log.lines("WARN")) != 1 {
		t.Errorf("expected one warning: %s", h.log)
	}
}

func TestDeniedSubscription(t *testing.T) {
	t.Parallel()
	s := shop()
	s.open = func(context.Context, *upstream.Method) (upstream.Stream, error) {
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	}
	c := serve(t, s, nil).connect(t, "")
	c.subscribe("1", boxReadings)
	if got, err := c.read(); err != nil || !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, `"code":"UNAUTHENTICATED"`) {
		t.Errorf("%s %v", got, err)
	}
}

// What a client must not do, and how the protocol wants the connection closed then.
func TestClosing(t *testing.T) {
	t.Parallel()
	const first, query = `{"type":"connection_init"}`, `{"id":"1","type":"subscribe","payload":{"query":"{ __typename }"}}`
	stays := `{"id":"1","type":"subscribe","payload":{"query":"subscription { boxReadings(boxId: \"b\") { celsius } }"}}`
	for _, tc := range []struct {
		name   string
		send   []string
		code   websocket.StatusCode
		reason string
	}{
		{"silence", nil, 4408, "Connection initialisation timeout"},
		{"pings only", []string{`{"type":"ping"}`, `{"type":"pong"}`}, 4408, "Connection initialisation timeout"},
		{"two inits", []string{first, first}, 4429, "Too many initialisation requests"},
		{"subscribe first", []string{query}, 4401, "Unauthorized"},
		{"complete first", []string{`{"id":"1","type":"complete"}`}, 4400, "Invalid message"},
		{"same id", []string{first, stays, stays}, 4409, "Subscriber for 1 already exists"},
		{"no JSON", []string{first, "hello"}, 4400, "Invalid message"},
		{"no JSON first", []string{"hello"}, 4400, "Invalid message"},
		{"an array", []string{first, "[]"}, 4400, "Invalid message"},
		{"no type", []string{first, `{"id":"1"}`}, 4400, "unknown type"},
		{"unknown type", []string{first, `{"type":"start","id":"1"}`}, 4400, "unknown type"},
		{"server's type", []string{first, `{"type":"next","id":"1"}`}, 4400, "unknown type"},
		{"wrong id", []string{first, `{"type":"subscribe","id":1,"payload":{"query":"{ __typename }"}}`}, 4400, "Invalid message"},
		{"no id", []string{first, `{"type":"subscribe","payload":{"query":"{ __typename }"}}`}, 4400, "needs an id"},
		{"no payload", []string{first, `{"type":"subscribe","id":"1"}`}, 4400, "needs an id and a payload"},
		{"no query", []string{first, `{"type":"subscribe","id":"1","payload":{}}`}, 4400, "payload with a query"},
		{"wrong variables", []string{first, `{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}`}, 4400, "Invalid message"},
		{"complete nothing", []string{first, `{"type":"complete"}`}, 4400, "complete needs an id"},
		{"payload no object", []string{first, `{"type":"ping","payload":"x"}`}, 4400, "payload is no object"},
		{"init payload no object", []string{`{"type":"connection_init","payload":[1]}`}, 4400, "payload is no object"},
		{"not UTF-8", []string{first, "{\"type\":\"ping\",\"payload\":{\"a\":\"\xff\"}}"}, 4400, "Invalid message"},
		{"too large", []string{first, `{"type":"ping","payload":{"a":"` + strings.Repeat("a", 2000) + `"}}`}, websocket.StatusMessageTooBig, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := serve(t, watch(nil), func(c *Config) {
				c.Subscriptions.Message = 1000
				if strings.Contains(tc.reason, "timeout") {
					c.Subscriptions.InitTimeout = 50 * time.Millisecond
				}
			})
			c := h.dial(t, subprotocol)
			for _, text := range tc.send {
				c.send(text)
			}
			c.expectClose(tc.code, tc.reason)
		})
	}
}

func TestBinaryFrame(t *testing.T) {
	t.Parallel()
	c := serve(t, shop(), nil).connect(t, "")
	if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	c.expectClose(4400, "Invalid message")
}

func TestSubprotocol(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	h.dial(t, "graphql-ws").expectClose(4406, "Subprotocol not acceptable")
	h.dial(t).expectClose(4406, "Subprotocol not acceptable")
	c := h.dial(t, "graphql-ws", subprotocol)
	if got := c.conn.Subprotocol(); got != subprotocol {
		t.Errorf("subprotocol %q", got)
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), func(c *Config) { c.Subscriptions.Origins = []string{"*.shop.example"} })
	for origin, want := range map[string]bool{"https://app.shop.example": true, "https://evil.example": false, "null": false} {
		o := &websocket.DialOptions{Subprotocols: []string{subprotocol}, HTTPHeader: http.Header{"Origin": {origin}}}
		conn, _, err := websocket.Dial(t.Context(), h.url, o)
		if (err == nil) != want {
			t.Errorf("origin %s: %v", origin, err)
		}
		if err == nil {
			_ = conn.CloseNow()
		}
	}
}

func TestPings(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), func(c *Config) { c.Subscriptions.Ping = 20 * time.Millisecond })
	c := h.dial(t, subprotocol)
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
	c.send(`{"type":"connection_init"}`)
	c.send(`{"type":"ping","payload":{"n":1}}`)
	c.expect(`{"type":"connection_ack"}`, `{"type":"pong","payload":{"n":1}}`)
	time.Sleep(100 * time.Millisecond) // several pings of the server's go by; reading answers them
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
}

// A client that answers no pings is gone: its connection and its streams end.
func TestDeadClient(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	h := serve(t, r, func(c *Config) { c.Subscriptions.Ping = 20 * time.Millisecond })
	h.door.writeTimeout = 100 * time.Millisecond
	c := h.connect(t, "")
	c.subscribe("1", boxReadings)
	waitDone(t, <-r.opened) // the client does not read, so it does not pong
}

func waitDone(tb testing.TB, ctx context.Context) {
	tb.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		tb.Fatal("the stream is still open")
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, payload string
		bearer        string // as Authenticate sees it
		reason        string // of the closure, "" if the client is welcome
	}{
		{"none", "", "", ""},
		{"no token", `{"other":1,"headers":{"x":"y"}}`, "", ""},
		{"null", `null`, "", ""},
		{"on top", `{"Authorization":"Bearer good"}`, "good", ""},
		{"lower case", `{"authorization":"bearer good"}`, "good", ""},
		{"in headers", `{"headers":{"Authorization":"Bearer  good "}}`, "good", ""},
		{"headers no object", `{"headers":"Bearer good"}`, "", ""},
		{"no text", `{"authorization":7}`, "", ""},
		{"bad", `{"authorization":"Bearer bad"}`, "bad", "Forbidden: the token is not accepted"},
		{"basic", `{"authorization":"Basic Zm9v"}`, "", "Forbidden: expected a Bearer token"},
		{"empty", `{"authorization":"Bearer "}`, "", "Forbidden: expected a Bearer token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := shop()
			seen := make(chan auth.Credentials, 1)
			s.authenticate = func(ctx context.Context, cred auth.Credentials) (context.Context, error) {
				seen <- cred
				if cred.Bearer == "bad" {
					return nil, fault.Wrap(codes.Unauthenticated, "the token is not accepted", errors.New("secret"))
				}
				return auth.NewContext(ctx, &auth.Principal{Subject: cred.Bearer, Kind: auth.User}), nil
			}
			s.invoke = func(ctx context.Context, _ *upstream.Method, _ []byte) (proto.Message, error) {
				return &catalogv1.Product{ProductId: auth.FromContext(ctx).Subject}, nil
			}
			h := serve(t, s, nil)
			if tc.reason != "" {
				c := h.dial(t, subprotocol)
				c.send(`{"type":"connection_init","payload":` + tc.payload + `}`)
				c.expectClose(4403, tc.reason)
				return
			}
			c := h.connect(t, tc.payload)
			if cred := <-seen; cred.Bearer != tc.bearer || cred.Door != "web" {
				t.Errorf("authenticated with %+v", cred)
			}
			c.subscribe("1", `{ product(id: "x") { id } }`)
			c.expect(`{"id":"1","type":"next","payload":{"data":{"product":{"id":"` + tc.bearer + `"}}}}`)
		})
	}
}

// Whoever showed a good token with the upgrade need not show one again.
func TestTokenOfUpgrade(t *testing.T) {
	t.Parallel()
	s := shop()
	s.authenticate = func(ctx context.Context, _ auth.Credentials) (context.Context, error) {
		t.Error("asked again")
		return ctx, nil
	}
	h := serve(t, s, nil, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := &auth.Principal{Subject: "ada", Kind: auth.User, Authenticated: true}
			next.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), p)))
		})
	})
	h.connect(t, "")
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	r.authenticate = func(ctx context.Context, _ auth.Credentials) (context.Context, error) {
		return auth.NewContext(ctx, &auth.Principal{Authenticated: true, Expires: time.Now().Add(200 * time.Millisecond)}), nil
	}
	c := serve(t, r, nil).connect(t, `{"authorization":"Bearer good"}`)
	c.subscribe("1", boxReadings)
	stream := <-r.opened
	c.expectClose(4403, "the token has expired")
	waitDone(t, stream)
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	s := shop()
	names := make(chan string, 1)
	s.admit = func(_ context.Context, op core.Operation) error {
		names <- op.Name
		return fault.New(codes.ResourceExhausted, "too many requests", fault.WithRetryAfter(time.Second))
	}
	c := serve(t, s, nil).connect(t, "")
	c.send(`{"id":"1","type":"subscribe","payload":{"query":"query Mine { __typename }","operationName":"Mine"}}`)
	if got, err := c.read(); err != nil || !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, `"code":"RATE_LIMITED"`) {
		t.Errorf("%s %v", got, err)
	}
	if name := <-names; name == "Mine" {
		t.Error("the client's own words name a metric")
	}
}

func TestOperationsAreBounded(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	c := serve(t, r, func(c *Config) { c.Subscriptions.PerConnection = 2 }).connect(t, "")
	c.subscribe("1", boxReadings)
	c.subscribe("2", boxReadings)
	one := <-r.opened
	<-r.opened
	c.subscribe("3", "{ __typename }")
	c.expect(`{"id":"3","type":"error","payload":[{"message":"too many operations on this connection","extensions":{"code":"RATE_LIMITED"}}]}`)
	c.send(`{"id":"1","type":"complete"}`)
	c.send(`{"id":"2","type":"complete"}`)
	c.send(`{"id":"unknown","type":"complete"}`)
	waitDone(t, one)
	deadline := time.Now().Add(10 * time.Second)
	for { // the two end in their own time
		c.subscribe("4", "{ __typename }")
		if got, err := c.read(); err != nil || time.Now().After(deadline) {
			t.Fatalf("no operation is admitted any more: %s %v", got, err)
		} else if strings.Contains(got, `"next"`) {
			return
		}
	}
}

// A client that ends one operation keeps its connection and all others, even while messages are being written.
func TestComplete(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	c := serve(t, r, nil).connect(t, "")
	for range 50 {
		c.subscribe("1", boxReadings)
		ctx := <-r.opened
		go func() {
			for {
				select {
				case r.events <- 1:
				case <-ctx.Done():
					return
				}
			}
		}()
		if _, err := c.read(); err != nil {
			t.Fatalf("the connection ended: %v", err)
		}
		c.send(`{"id":"1","type":"complete"}`)
		waitDone(t, ctx)
		c.send(`{"type":"ping"}`)
		for {
			got, err := c.read()
			if err != nil {
				t.Fatalf("the connection ended: %v", err)
			}
			if got == `{"type":"pong"}` {
				break
			}
			if !strings.Contains(got, `"next"`) {
				t.Fatalf("received %s", got)
			}
		}
	}
}

func TestClientLeaves(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	c := serve(t, r, nil).connect(t, "")
	c.subscribe("1", boxReadings)
	stream := <-r.opened
	_ = c.conn.CloseNow()
	waitDone(t, stream)
}

// A client that does not read loses its connection, and holds up nobody upstream for longer than that takes.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	r.invoke = func(context.Context, *upstream.Method, []byte) (proto.Message, error) {
		return &catalogv1.Product{Description: strings.Repeat("x", 4<<20)}, nil
	}
	h := serve(t, r, nil)
	h.door.writeTimeout = 300 * time.Millisecond
	c := h.connect(t, "")
	c.subscribe("s", boxReadings)
	stream := <-r.opened
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		c.subscribe(id, `{ product(id: "x") { description } }`)
	}
	waitDone(t, stream)
}

func TestPanicOverWebSocket(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	h.door.exec.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		if graphql.GetOperationContext(ctx).OperationName == "Bad" {
			panic("out of order") //nolint:forbidigo // stands for a bug
		}
		return next(ctx)
	})
	c := h.connect(t, "")
	c.send(`{"id":"1","type":"subscribe","payload":{"query":"query Bad { __typename }","operationName":"Bad"}}`)
	c.expect(`{"id":"1","type":"error","payload":[{"message":"internal error","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`)
	c.subscribe("2", "{ __typename }")
	c.expect(`{"id":"2","type":"next","payload":{"data":{"__typename":"Query"}}}`)
	if len(h.log.lines("ERROR")) != 1 {
		t.Errorf("expected one error: %s", h.log)
	}
}

func TestDoorCloses(t *testing.T) {
	t.Parallel()
	r := watch(nil)
	h := serve(t, r, func(c *Config) { c.Subscriptions.Connections = 2 })
	clients := []*client{h.connect(t, ""), h.connect(t, "")}
	clients[0].subscribe("1", boxReadings)
	stream := <-r.opened

	dialed := func() int {
		o := &websocket.DialOptions{Subprotocols: []string{subprotocol}}
		_, resp, err := websocket.Dial(t.Context(), h.url, o)
		if err == nil || resp == nil {
			t.Fatalf("expected a refusal: %v", err)
		}
		return resp.StatusCode
	}
	if got := dialed(); got != http.StatusServiceUnavailable {
		t.Errorf("a third connection is answered with %d", got)
	}
	closed := make(chan error, 1)
	go func() { closed <- h.door.Close(context.Background()) }()
	for _, c := range clients {
		c.expectClose(websocket.StatusGoingAway, "shutting down")
	}
	waitDone(t, stream)
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	if err := h.door.Close(t.Context()); err != nil {
		t.Errorf("close again: %v", err)
	}
	if got := dialed(); got != http.StatusServiceUnavailable {
		t.Errorf("a connection after the end is answered with %d", got)
	}
}

// A client that never answers the closing handshake delays the end, but not for ever.
func TestDoorCloseIsBounded(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	h.connect(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.door.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errStillOpen) {
		t.Errorf("close: %v", err)
	}
}
