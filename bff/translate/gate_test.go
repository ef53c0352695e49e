package translate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// gate knows users by tokens like "token-of-ada", and admits all but bob.
type gate struct{}

func (gate) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	name, ok := strings.CutPrefix(cred.Bearer, "token-of-")
	if !ok {
		return ctx, fault.New(codes.Unauthenticated, "the token is not valid")
	}
	return auth.NewContext(ctx, &auth.Principal{Subject: name, Kind: auth.User, Authenticated: true}), nil
}

func (gate) Admit(ctx context.Context, _ core.Operation, _ int) (limit.Result, error) {
	if auth.FromContext(ctx).Subject == "bob" {
		return limit.Result{}, fault.New(codes.ResourceExhausted, "too many requests")
	}
	return limit.Result{Allowed: true}, nil
}

// greeting is a service that says, in a title, who has called, and then answers every message with the same. Nobody may
// call it if nobody is false; eve never may.
func greeting(nobody bool) stub {
	return stub{open: func(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
		p := auth.FromContext(ctx)
		switch {
		case !nobody && !p.Authenticated:
			return nil, fault.New(codes.Unauthenticated, "authentication is required")
		case p.Subject == "eve":
			return nil, fault.New(codes.PermissionDenied, "you are not allowed to do this")
		}
		return serving(func(c *call) error {
			title := append([]byte{0x12, byte(len("I am " + p.Subject))}, "I am "+p.Subject...)
			if !m.ClientStreaming {
				request, err := c.recv()
				return errors.Join(err, c.send(title), c.send(request))
			}
			if err := c.send(title); err != nil {
				return err
			}
			for {
				m, err := c.recv()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err := errors.Join(err, c.send(m)); err != nil {
					return err
				}
			}
		}).open(ctx, m)
	}}
}

func gated(t *testing.T, caller stub, limits translate.StreamLimits) *translate.Router {
	t.Helper()
	d := library(t)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{
		Caller: caller, Resolver: d.Types(), Gate: gate{}, Streams: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// pending makes every client one that has yet to show its credentials, as the edge does.
func pending(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), &auth.Principal{Kind: auth.Anonymous, Pending: true})))
	})
}

func TestTokenInTheFirstMessage(t *testing.T) {
	t.Parallel()
	const chat, watch = "/v1/books/moby:chat", "/v1/books/moby:watch"
	for _, test := range []struct {
		name, target    string
		nobody, pending bool // nobody may call; who has shown nothing may not at all
		send            []string
		want            []string
		code            websocket.StatusCode
	}{
		{
			name: "of who may not come without", target: chat, pending: true, nobody: true,
			send: []string{`{"@token":"token-of-ada"}`, `{"pages":1}`, `{"@end":{}}`},
			want: []string{`{"@token":{}}`, `{"title":"I am ada"}`, `{"name":"moby","pages":1}`, `{"@end":{"code":"OK"}}`},
			code: websocket.StatusNormalClosure,
		},
		{
			name: "of who may not call without", target: chat,
			send: []string{`{"@token":"token-of-ada"}`, `{"@end":{}}`},
			want: []string{`{"@token":{}}`, `{"title":"I am ada"}`, `{"@end":{"code":"OK"}}`},
			code: websocket.StatusNormalClosure,
		},
		{
			name: "where the URL is the request", target: watch, pending: true,
			send: []string{`{"@token":"token-of-ada"}`},
			want: []string{`{"@token":{}}`, `{"title":"I am ada"}`, `{"name":"moby"}`, `{"@end":{"code":"OK"}}`},
			code: websocket.StatusNormalClosure,
		},
		{
			name: "a bad one", target: chat, pending: true, send: []string{`{"@token":"x"}`},
			want: []string{`"code":"UNAUTHENTICATED","problem":{"type":"about:blank","title":"Unauthorized","status":401,"detail":"the token is not valid"`},
			code: 4016,
		},
		{name: "a bad one of who may come without", target: chat, send: []string{`{"@token":"x"}`}, want: []string{`the token is not valid`}, code: 4016},
		{name: "an empty one", target: chat, pending: true, send: []string{`{"@token":""}`}, want: []string{`@token must be a text`}, code: 4016},
		{name: "none but a number", target: chat, pending: true, send: []string{`{"@token":1}`}, want: []string{`@token must be a text`}, code: 4016},
		{name: "with something else", target: chat, pending: true, send: []string{`{"@token":"token-of-ada","pages":1}`}, want: []string{`must be a token`}, code: 4016},
		{name: "not at first", target: chat, pending: true, nobody: true, send: []string{`{"pages":1}`}, want: []string{`must be a token`}, code: 4016},
		{name: "the end at first", target: chat, pending: true, nobody: true, send: []string{`{"@end":{}}`}, want: []string{`must be a token`}, code: 4016},
		{
			name: "of somebody who may not call", target: chat, pending: true, send: []string{`{"@token":"token-of-eve"}`},
			want: []string{`"code":"PERMISSION_DENIED"`}, code: 4007,
		},
		{
			name: "of somebody at a limit", target: chat, pending: true, send: []string{`{"@token":"token-of-bob"}`},
			want: []string{`"code":"RESOURCE_EXHAUSTED"`}, code: 4008,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var h http.Handler = gated(t, greeting(test.nobody), translate.StreamLimits{})
			if test.pending {
				h = pending(h)
			}
			conn := dial(t, h, test.target)
			for _, frame := range test.send {
				if err := conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range test.want {
				if got := read(t, conn); !strings.Contains(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != test.code {
				t.Errorf("closed with %v, want %v", err, test.code)
			}
		})
	}
}

// Only the first message can be a token.
func TestTokenTooLate(t *testing.T) {
	t.Parallel()
	conn := dial(t, gated(t, greeting(true), translate.StreamLimits{}), "/v1/books/moby:chat")
	for _, step := range []struct {
		send string
		want []string
	}{
		{`{"pages":1}`, []string{`{"title":"I am "}`, `{"name":"moby","pages":1}`}},
		{`{"@token":"token-of-ada"}`, []string{`"code":"INVALID_ARGUMENT"`}},
	} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(step.send)); err != nil {
			t.Fatal(err)
		}
		for _, want := range step.want {
			if got := read(t, conn); !strings.Contains(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// A client whom the service has answered as nobody gets a new call, and a sign from where on answers are for it.
func TestTokenReplacesNobody(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"both ways": "/v1/books/moby:chat", "one way": "/v1/books/moby:watch?revision=1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan string, 2)
			conn := dial(t, gated(t, stub{open: func(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
				return serving(func(c *call) error {
					who := "I am " + auth.FromContext(ctx).Subject
					defer func() { ended <- who }()
					if !m.ClientStreaming {
						if _, err := c.recv(); err != nil {
							return err
						}
					}
					if err := c.send(append([]byte{0x12, byte(len(who))}, who...)); err != nil {
						return err
					}
					<-c.ctx.Done()
					return c.ctx.Err()
				}).open(ctx, m)
			}}, translate.StreamLimits{}), target)
			if got := read(t, conn); got != `{"title":"I am "}` {
				t.Errorf("first frame %s", got)
			}
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@token":"token-of-ada"}`)); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{`{"@token":{}}`, `{"title":"I am ada"}`} {
				if got := read(t, conn); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if who := <-ended; who != "I am " {
				t.Errorf("the call of %q ended first", who)
			}
			_ = conn.CloseNow()
			if who := <-ended; who != "I am ada" {
				t.Errorf("the call of %q ended last", who)
			}
		})
	}
}

// Who is denied with the request that the URL holds, rather than when the call is opened, can send a token as well.
func TestTokenAfterTheRequestWasDenied(t *testing.T) {
	t.Parallel()
	inner := greeting(true)
	rt := gated(t, stub{open: func(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
		up, err := inner.open(ctx, m)
		if err == nil && !auth.FromContext(ctx).Authenticated {
			return denying{up}, nil
		}
		return up, err
	}}, translate.StreamLimits{})
	conn := dial(t, rt, "/v1/books/moby:watch")
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@token":"token-of-ada"}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"@token":{}}`, `{"title":"I am ada"}`} {
		if got := read(t, conn); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// denying is a stream whose rule reads messages, and denies all of them.
type denying struct{ upstream.Stream }

func (denying) Send([]byte) error {
	return fault.New(codes.Unauthenticated, "authentication is required")
}

func TestTokenDoesNotCome(t *testing.T) {
	t.Parallel()
	rt := gated(t, greeting(false), translate.StreamLimits{InitTimeout: 100 * time.Millisecond})
	for name, h := range map[string]http.Handler{"pending": pending(rt), "denied": rt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, h, "/v1/books/moby:chat")
			if got := read(t, conn); !strings.Contains(got, "no token has come within 100ms") {
				t.Errorf("last frame %s", got)
			}
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 4016 {
				t.Errorf("closed with %v", err)
			}
		})
	}
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, pending(rt), "/v1/books/moby:chat")
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@token":"token-of-ada"}`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`{"@token":{}}`, `{"title":"I am ada"}`, `{"name":"moby"}`} {
			if got := read(t, conn); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// Who has asked for an answer in less time than a token may take is told when that time is up.
func TestTokenAfterTheDeadline(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(pending(gated(t, greeting(true), translate.StreamLimits{InitTimeout: time.Hour})))
	defer server.Close()
	conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat",
		&websocket.DialOptions{HTTPHeader: http.Header{"Grpc-Timeout": {"100m"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if got := read(t, conn); !strings.Contains(got, `"code":"DEADLINE_EXCEEDED"`) {
		t.Errorf("last frame %s", got)
	}
}

// The access log names who has shown a token.
func TestTokenIsRecorded(t *testing.T) {
	t.Parallel()
	clients := make(chan string, 1)
	rt := pending(gated(t, greeting(false), translate.StreamLimits{}))
	conn := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var rec record.Record
		rt.ServeHTTP(w, r.WithContext(record.NewContext(r.Context(), &rec)))
		clients <- rec.Client
	}), "/v1/books/moby:chat")
	for _, frame := range []string{`{"@token":"token-of-ada"}`, `{"@end":{}}`} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // the token's answer, a greeting, the end
		read(t, conn)
	}
	_, _, _ = conn.Read(t.Context()) // answers the closing handshake
	if got := <-clients; got != "ada" {
		t.Errorf("the record says %q", got)
	}
}

// A stream that the core ends with its client's credentials ends the connection.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	expire := make(chan struct{})
	conn := dial(t, gated(t, serving(func(*call) error {
		<-expire
		return fault.New(codes.Unauthenticated, "the credentials have expired")
	}), translate.StreamLimits{}), "/v1/books/moby:chat")
	close(expire)
	if got := read(t, conn); !strings.Contains(got, `"detail":"the credentials have expired"`) {
		t.Errorf("last frame %s", got)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 4016 {
		t.Errorf("closed with %v", err)
	}
}

func TestTakesToken(t *testing.T) {
	t.Parallel()
	d := library(t)
	open := router(t, d, stub{}) // without a gate
	rt := gated(t, stub{}, translate.StreamLimits{})
	for _, test := range []struct {
		line    string
		upgrade bool
		want    bool
	}{
		{"GET /v1/books/moby:chat", true, true},
		{"GET /v1/books/moby:chat", false, false},
		{"GET /ws/test.library.v1.Library/Watch", true, true},
		{"GET /v1/books/moby", true, false},
		{"POST /v1/books", true, false},
		{"GET /ws/test.library.v1.Library/GetBook", true, false},
		{"GET /nothing", true, false},
		{"GET /v1/books/%00:chat", true, false},
	} {
		httpMethod, target, _ := strings.Cut(test.line, " ")
		r := httptest.NewRequestWithContext(t.Context(), httpMethod, target, http.NoBody)
		if test.upgrade {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		if got := rt.TakesToken(r); got != test.want {
			t.Errorf("%s: %v", test.line, got)
		}
		if open.TakesToken(r) {
			t.Errorf("%s: a router without a gate takes tokens", test.line)
		}
	}
}

// Without a gate nobody waits for a token: the handshake is refused.
func TestNoGate(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), greeting(false))
	for name, h := range map[string]http.Handler{"denied": rt, "pending": pending(rt)} {
		server := httptest.NewServer(h)
		defer server.Close()
		_, res, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat", nil)
		if err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
}
