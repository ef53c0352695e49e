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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// echoStream answers each message with the same, and after the last one with what err is.
func echoStream(err error) stub {
	return serving(func(c *call) error {
		c.trailer = metadata.Pairs("x-count", "2")
		for {
			m, recvErr := c.recv()
			if errors.Is(recvErr, io.EOF) {
				return err
			}
			if recvErr != nil {
				return recvErr
			}
			if err := c.send(m); err != nil {
				return err
			}
		}
	})
}

func TestSocket(t *testing.T) {
	t.Parallel()
	type step struct{ send, want string }
	end := `{"@end":{}}`
	for _, test := range []struct {
		name, target string
		caller       stub
		steps        []step
		end          string
		code         websocket.StatusCode
	}{
		{
			name: "both ways", target: "/v1/books/moby:chat", caller: echoStream(nil),
			steps: []step{
				{`{"pages":1}`, `{"name":"moby","pages":1}`},
				{`{"name":"moby","pages":2}`, `{"name":"moby","pages":2}`},
				{end, ""},
			},
			end: `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "selected fields", target: "/v1/books/moby:chat?fields=pages", caller: echoStream(nil),
			steps: []step{{`{"pages":1}`, `{"pages":1}`}, {`{}`, `{}`}, {end, ""}},
			end:   `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "status of the service", target: "/v1/books/moby:chat", caller: echoStream(notFound()),
			steps: []step{{`{}`, `{"name":"moby"}`}, {end, ""}},
			end: `{"@end":{"code":"NOT_FOUND","problem":{"type":"about:blank","title":"Not Found","status":404,"detail":"no such book",` +
				`"code":"NOT_FOUND","retryable":false},"trailers":{"X-Count":["2"]}}}`,
			code: 4005,
		},
		{
			name: "bad message", target: "/v1/books/moby:chat", caller: echoStream(nil),
			steps: []step{{`{"pages":"x"}`, ""}}, end: `"code":"INVALID_ARGUMENT"`, code: 4003,
		},
		{
			name: "contradiction", target: "/v1/books/moby:chat", caller: echoStream(nil),
			steps: []step{{`{"name":"dick"}`, ""}}, end: `name differs between path and body`, code: 4003,
		},
		{
			name: "message after the last", target: "/v1/books/moby:chat", caller: serving(func(c *call) error {
				<-c.ctx.Done()
				return c.ctx.Err()
			}),
			steps: []step{{end, ""}, {`{}`, ""}}, end: `a message follows the last one`, code: 4009,
		},
		{
			name: "client stream", target: "/v1/books:collect", caller: serving(func(c *call) error {
				for {
					if _, err := c.recv(); err != nil {
						return c.send([]byte{0x12, 1, 'n'})
					}
				}
			}),
			steps: []step{{`{}`, ""}, {`{}`, ""}, {end, `{"nextPageToken":"n"}`}},
			end:   `{"@end":{"code":"OK"}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "client stream by name", target: "/ws/test.library.v1.Library/Collect?fields=nextPageToken", caller: serving(func(c *call) error {
				for {
					if _, err := c.recv(); err != nil {
						return c.send([]byte{0x0a, 0, 0x12, 1, 'n'})
					}
				}
			}),
			steps: []step{{`{}`, ""}, {`{}`, ""}, {end, `{"nextPageToken":"n"}`}},
			end:   `{"@end":{"code":"OK"}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "server stream by its URL", target: "/v1/books/moby:watch?revision=4", caller: echoStream(nil),
			steps: []step{{"", `{"name":"moby","title":"\u0004"}`}},
			end:   `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "server stream by its first message", target: "/v1/books:watch", caller: echoStream(nil),
			steps: []step{{`{"name":"moby"}`, `{"name":"moby"}`}},
			end:   `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "both ways by name", target: "/ws/test.library.v1.Library/Chat", caller: echoStream(nil),
			steps: []step{{`{"name":"a"}`, `{"name":"a"}`}, {`{"name":"b"}`, `{"name":"b"}`}, {end, ""}},
			end:   `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
		{
			name: "server stream by name", target: "/ws/test.library.v1.Library/Watch?fields=name", caller: echoStream(nil),
			steps: []step{{`{"name":"a"}`, `{"name":"a"}`}},
			end:   `{"@end":{"code":"OK","trailers":{"X-Count":["2"]}}}`, code: websocket.StatusNormalClosure,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := library(t)
			if test.name == "server stream by its URL" {
				test.caller = serving(func(c *call) error {
					m, err := c.recv()
					if err != nil {
						return err
					}
					c.trailer = metadata.Pairs("x-count", "2")
					return c.send([]byte{0x0a, 4, 'm', 'o', 'b', 'y', 0x12, 1, m[len(m)-1]})
				})
			}
			conn := dial(t, router(t, d, test.caller), test.target)
			for _, s := range test.steps {
				if s.send != "" {
					if err := conn.Write(t.Context(), websocket.MessageText, []byte(s.send)); err != nil {
						t.Fatal(err)
					}
				}
				if s.want != "" {
					if got := read(t, conn); got != s.want {
						t.Errorf("after %s: got %s, want %s", s.send, got, s.want)
					}
				}
			}
			if got := read(t, conn); !strings.Contains(got, test.end) {
				t.Errorf("last frame %s\nwant %s", got, test.end)
			}
			_, _, err := conn.Read(t.Context())
			if code := websocket.CloseStatus(err); code != test.code {
				t.Errorf("closed with %v (%v), want %v", code, err, test.code)
			}
		})
	}
}

func TestSocketProtobuf(t *testing.T) {
	t.Parallel()
	d := library(t)
	conn := dial(t, router(t, d, echoStream(nil)), "/v1/books/moby:chat?fields=title,pages", "portico.proto")
	if conn.Subprotocol() != "portico.proto" {
		t.Fatalf("subprotocol %q", conn.Subprotocol())
	}
	md := method(t, d, "Chat").Input
	if err := conn.Write(t.Context(), websocket.MessageBinary, message(t, md, `{"title":"A","pages":3}`)); err != nil {
		t.Fatal(err)
	}
	kind, frame, err := conn.Read(t.Context())
	if err != nil || kind != websocket.MessageBinary {
		t.Fatalf("kind %v, %v", kind, err)
	}
	if got := jsonOf(t, md, frame); got != `{"title":"A","pages":3}` {
		t.Errorf("got %s", got)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"@end":true}`)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, conn); !strings.HasPrefix(got, `{"@end":{"code":"OK"`) {
		t.Errorf("last frame %s", got)
	}
}

func TestSocketHandshake(t *testing.T) {
	t.Parallel()
	d := library(t)
	upgrade := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for _, test := range []struct {
		name, line string
		header     []string
		status     int
	}{
		{"no upgrade by name", "GET /ws/test.library.v1.Library/Watch", nil, http.StatusUpgradeRequired},
		{"unary by name", "GET /ws/test.library.v1.Library/GetBook", upgrade, http.StatusNotFound},
		{"no upgrade", "GET /v1/books/moby:chat", nil, http.StatusUpgradeRequired},
		{"foreign origin", "GET /v1/books/moby:chat", append([]string{"Origin", "https://evil.test"}, upgrade...), http.StatusForbidden},
		{"old version", "GET /v1/books/moby:chat", append(append([]string{}, upgrade[:4]...), "Sec-WebSocket-Version", "8"), http.StatusBadRequest},
		{"no key", "GET /v1/books/moby:chat", upgrade[:6], http.StatusBadRequest},
		{"bad parameter", "GET /v1/books/moby:chat?pages=1", upgrade, http.StatusBadRequest},
		{"no route", "GET /v1/books/moby:chats/x", upgrade, http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rt := router(t, d, serving(func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() }))
			r := do(t, rt, test.line, "", test.header...)
			if body := text(t, r); r.StatusCode != test.status || !strings.Contains(body, `"type":"about:blank"`) {
				t.Errorf("status %d, want %d; body %s", r.StatusCode, test.status, body)
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		rt := router(t, d, stub{open: func(context.Context, *upstream.Method) (upstream.Stream, error) {
			return nil, status.Error(codes.PermissionDenied, "")
		}})
		if r := do(t, rt, "GET /v1/books/moby:chat", "", upgrade...); r.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", r.StatusCode)
		}
	})
}

// A client that leaves cancels the call within 100 ms, whether it closes or just disappears.
func TestSocketLeave(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*websocket.Conn){
		"close":     func(c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") },
		"disappear": func(c *websocket.Conn) { _ = c.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cancelled := make(chan time.Time, 1)
			rt := router(t, library(t), serving(func(c *call) error {
				<-c.ctx.Done()
				cancelled <- time.Now()
				return c.ctx.Err()
			}))
			leavesInTime(t, cancelled, func() func() {
				conn := dial(t, rt, "/v1/books/moby:chat")
				return func() { leave(conn) }
			})
		})
	}
}

// ended is a call that takes no messages any more, but does not tell why yet.
type ended struct {
	upstream.Stream
	tell chan struct{}
}

func (e ended) Send([]byte) error { return io.EOF }

func (e ended) Recv() ([]byte, error) {
	<-e.tell
	return nil, notFound()
}

// Messages that come when the service has ended the call are dropped: the client hears how it has ended.
func TestSocketMessagesTooLate(t *testing.T) {
	t.Parallel()
	tell := make(chan struct{})
	conn := dial(t, router(t, library(t), stub{open: func(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
		up, err := serving(func(c *call) error { <-c.ctx.Done(); return nil }).open(ctx, m)
		return ended{up, tell}, err
	}}), "/v1/books/moby:chat")
	for _, frame := range []string{`{}`, `{}`, `{"@end":{}}`, `{}`} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	time.AfterFunc(100*time.Millisecond, func() { close(tell) }) // all of them have come
	if got := read(t, conn); !strings.Contains(got, `"code":"NOT_FOUND"`) {
		t.Errorf("last frame %s", got)
	}
}

func TestSocketPingAndIdle(t *testing.T) {
	t.Parallel()
	d := library(t)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{
		Caller:  serving(func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() }),
		Streams: translate.StreamLimits{Ping: time.Second, Idle: 3 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, rt, "/v1/books/moby:chat")
	// Reading answers pings, so the connection lives until it has been idle for too long.
	if got := read(t, conn); !strings.Contains(got, "no message for 3s") {
		t.Errorf("last frame %s", got)
	}
	silent := dial(t, rt, "/v1/books/moby:chat")
	// Nobody reads here, so no ping is answered.
	time.Sleep(2500 * time.Millisecond)
	_, _, err = silent.Read(t.Context())
	if err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("a silent client was closed with %v", err)
	}
}

// A message that inflates to more than the limit ends the connection, however small it came.
func TestSocketBomb(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(router(t, library(t), serving(func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() })))
	defer server.Close()
	conn, res, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat", &websocket.DialOptions{CompressionMode: websocket.CompressionNoContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if got := res.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Errorf("extensions %q", got)
	}
	bomb := `{"title":"` + strings.Repeat("a", 16<<20) + `"}`
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(bomb)); err != nil {
		t.Logf("writing: %v", err) // the server may have closed already
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("closed with %v", err)
	}
}

func TestSocketOrigins(t *testing.T) {
	t.Parallel()
	d := library(t)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{
		Caller: echoStream(nil), Origins: []string{"https://*.good.test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rt)
	defer server.Close()
	for origin, allowed := range map[string]bool{
		"https://app.good.test": true, server.URL: true, "": true, "http://app.good.test": false, "https://good.test.evil.test": false, "null": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat", &websocket.DialOptions{HTTPHeader: header})
		if (err == nil) != allowed {
			t.Errorf("origin %q: %v", origin, err)
		}
		if err == nil {
			_ = conn.CloseNow()
		}
	}
}

func TestSocketClose(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), serving(func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() }))
	conn := dial(t, rt, "/v1/books/moby:chat")
	closed := make(chan error, 1)
	go func() { closed <- rt.Close(t.Context()) }()
	if got := read(t, conn); !strings.Contains(got, `"code":"UNAVAILABLE"`) {
		t.Errorf("last frame %s", got)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 4014 {
		t.Errorf("closed with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// A client that does not read holds the service back: no more than what sockets and one message hold is under way.
func TestSocketBackPressure(t *testing.T) {
	t.Parallel()
	d := library(t)
	const size = 64 << 10
	sent := make(chan int, 1)
	big := message(t, method(t, d, "Chat").Output, `{"title":"`+strings.Repeat("x", size)+`"}`)
	rt := router(t, d, serving(func(c *call) error {
		for i := range 10000 {
			select {
			case c.answers <- big:
			case <-time.After(300 * time.Millisecond):
				sent <- i
				<-c.ctx.Done()
				return c.ctx.Err()
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
		}
		sent <- 10000
		return nil
	}))
	conn := dial(t, rt, "/v1/books/moby:chat")
	conn.SetReadLimit(1 << 20)
	select {
	case n := <-sent:
		if n*size > 32<<20 {
			t.Errorf("%d messages of %d bytes were taken for a client that reads none", n, size)
		}
	case <-time.After(10 * time.Second):
		t.Error("the service is never held back")
	}
	if got := read(t, conn); len(got) != size+len(`{"title":""}`) {
		t.Errorf("got %d bytes", len(got))
	}
}

// A service that takes no messages holds the client back: no more than what sockets and one message hold is under way.
// A client that leaves meanwhile is noticed nonetheless.
func TestSocketBackPressureUpstream(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	d := library(t)
	cancelled := make(chan struct{})
	rt, err := translate.New(d.Methods(libraryService), translate.Options{
		Caller: serving(func(c *call) error { <-c.ctx.Done(); close(cancelled); return c.ctx.Err() }), Resolver: d.Types(),
		Streams: translate.StreamLimits{Ping: 200 * time.Millisecond, Rate: unit.Rate{Events: 100_000, Per: time.Second}, Burst: 100_000},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, rt, "/v1/books/moby:chat")
	frame := []byte(`{"title":"` + strings.Repeat("x", size) + `"}`)
	taken := 0
	for ; taken < 10_000; taken++ {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := conn.Write(ctx, websocket.MessageText, frame)
		cancel()
		if err != nil {
			break
		}
	}
	if taken*size > 32<<20 {
		t.Errorf("%d messages of %d bytes were taken for a service that takes none", taken, size)
	}
	// The write that did not end has cut the connection. That shows by the pings, though nobody reads.
	select {
	case <-cancelled:
	case <-time.After(10 * time.Second):
		t.Error("nobody notices that the client has left")
	}
}

func dial(t *testing.T, h http.Handler, target string, subprotocols ...string) *websocket.Conn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	conn, _, err := websocket.Dial(t.Context(), server.URL+target, &websocket.DialOptions{Subprotocols: subprotocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func read(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, frame, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(frame)
}

// A client that neither reads nor answers the closing handshake does not hold up who closes: what waits for it is cut off
// after two seconds, before the five that the handshake would take.
func TestSocketCloseWithoutAnswer(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(c *call) error{
		"silent": func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() },
		"flooded": func(c *call) error { // the last frame does not even fit into the connection
			big := []byte("\x12\xff\xff\x03" + strings.Repeat("x", 1<<16-1))
			for {
				if err := c.send(big); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := router(t, library(t), serving(serve))
			_ = dial(t, rt, "/v1/books/moby:chat")
			time.Sleep(200 * time.Millisecond) // until the flood stands
			begun := time.Now()
			if err := rt.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > 4500*time.Millisecond {
				t.Errorf("closing took %v", took)
			}
		})
	}
}
