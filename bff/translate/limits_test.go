package translate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
	"github.com/portico-bff/portico/bff/translate"
)

func TestStreamLimitsMistakes(t *testing.T) {
	t.Parallel()
	if err := (translate.StreamLimits{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if err := (translate.StreamLimits{Rate: unit.Rate{Events: 5, Per: time.Second}, Idle: time.Second}).Validate(); err != nil {
		t.Errorf("good limits: %v", err)
	}
	wrong := translate.StreamLimits{
		Heartbeat: -1, Write: -1, Ping: -1, Idle: -1, Lifetime: -1, InitTimeout: -1, Message: -1, Burst: -1, Connections: -1,
		Rate: unit.Rate{Events: -1, Per: time.Second},
	}
	var got []string
	for _, m := range mistake.List(wrong.Validate()) {
		got = append(got, strings.Join(m.Path, "."))
	}
	want := []string{"heartbeat", "write", "ping", "idle", "lifetime", "init_timeout", "message", "burst", "connections", "rate"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func limited(t *testing.T, caller stub, limits translate.StreamLimits) *translate.Router {
	t.Helper()
	d := library(t)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{Caller: caller, Resolver: d.Types(), Streams: limits, MaxBody: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// waiting is a service that waits for the client to leave.
func waiting() stub {
	return serving(func(c *call) error {
		<-c.ctx.Done()
		return c.ctx.Err()
	})
}

// Who sends more than the rate allows is slowed down, and loses nothing.
func TestSocketRate(t *testing.T) {
	t.Parallel()
	const messages, burst = 12, 4
	conn := dial(t, limited(t, echoStream(nil), translate.StreamLimits{Rate: unit.Rate{Events: 20, Per: time.Second}, Burst: burst}), "/v1/books/moby:chat")
	start := time.Now()
	go func() {
		for range messages {
			if err := conn.Write(context.WithoutCancel(t.Context()), websocket.MessageText, []byte(`{}`)); err != nil {
				t.Error(err)
			}
		}
	}()
	for range messages {
		if got := read(t, conn); got != `{"name":"moby"}` {
			t.Errorf("got %s", got)
		}
	}
	if took := time.Since(start); took < (messages-burst-1)*time.Second/20 {
		t.Errorf("%d messages took %v", messages, took)
	}
}

// It is so also when the client's own deadline comes before another message may: the rest of the time is no time without
// a limit.
func TestSocketRateBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	const burst = 2
	var taken atomic.Int32
	server := httptest.NewServer(limited(t, serving(func(c *call) error {
		for {
			if _, err := c.recv(); err != nil {
				return err
			}
			taken.Add(1)
		}
	}), translate.StreamLimits{Rate: unit.Rate{Events: 1, Per: time.Hour}, Burst: burst}))
	defer server.Close()
	conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat",
		&websocket.DialOptions{HTTPHeader: http.Header{"Request-Timeout": {"2"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	for range 10 * burst {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, conn); !strings.Contains(got, `"code":"DEADLINE_EXCEEDED"`) {
		t.Errorf("last frame %s", got)
	}
	if got := taken.Load(); got < burst || got > burst+1 { // one may slip in as the time is up
		t.Errorf("the service got %d messages, want %d", got, burst)
	}
}

func TestSocketMessageSize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit unit.Bytes
		size  int
		ok    bool
	}{
		{100, 50, true},
		{100, 150, false},
		{0, 60 << 10, true},
		{0, 70 << 10, false},
		{1 << 20, 70 << 10, false}, // never more than a body
	} {
		conn := dial(t, limited(t, echoStream(nil), translate.StreamLimits{Message: test.limit}), "/v1/books/moby:chat")
		conn.SetReadLimit(1 << 20)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"title":"`+strings.Repeat("a", test.size)+`"}`)); err != nil {
			t.Fatal(err)
		}
		_, _, err := conn.Read(t.Context())
		if test.ok != (err == nil) || !test.ok && websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("%d bytes at %d: %v", test.size, test.limit, err)
		}
	}
}

// Who takes nothing for longer than the limit is cut off, and the call is cancelled: slow readers cannot pile up.
func TestWriteLimit(t *testing.T) {
	t.Parallel()
	big := []byte("\x12\x80\x80\x04" + strings.Repeat("x", 64<<10))
	for name, open := range map[string]func(t *testing.T, url string) io.Closer{
		"events": func(t *testing.T, url string) io.Closer {
			t.Helper()
			return get(t.Context(), t, url+watchPath, "text/event-stream").Body
		},
		"array": func(t *testing.T, url string) io.Closer {
			t.Helper()
			return get(t.Context(), t, url+watchPath, "").Body
		},
		"socket": func(t *testing.T, url string) io.Closer {
			t.Helper()
			conn, _, err := websocket.Dial(t.Context(), url+"/v1/books/moby:watch", nil)
			if err != nil {
				t.Fatal(err)
			}
			return websocket.NetConn(context.WithoutCancel(t.Context()), conn, websocket.MessageText)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cancelled := make(chan struct{})
			server := httptest.NewServer(limited(t, serving(func(c *call) error {
				defer close(cancelled)
				if _, err := c.recv(); err != nil {
					return err
				}
				for {
					if err := c.send(big); err != nil {
						return err
					}
				}
			}), translate.StreamLimits{Write: 200 * time.Millisecond}))
			defer server.Close()
			client := open(t, server.URL)
			select {
			case <-cancelled:
			case <-time.After(10 * time.Second):
				t.Error("the service still sends to a client that takes nothing")
			}
			_ = client.Close()
		})
	}
}

func TestSocketLifetime(t *testing.T) {
	t.Parallel()
	conn := dial(t, limited(t, waiting(), translate.StreamLimits{Lifetime: 100 * time.Millisecond}), "/v1/books/moby:chat")
	if got := read(t, conn); !strings.Contains(got, `"code":"UNAVAILABLE"`) || !strings.Contains(got, "has lasted for 100ms") {
		t.Errorf("last frame %s", got)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != 4014 {
		t.Errorf("closed with %v", err)
	}
}

// Messages of either side keep a connection that is idle otherwise.
func TestSocketIsNotIdle(t *testing.T) {
	t.Parallel()
	const idle, messages = time.Second, 6
	t.Run("the client's", func(t *testing.T) {
		t.Parallel()
		ended := make(chan error, 1)
		conn := dial(t, limited(t, serving(func(c *call) error {
			var err error
			for i := 0; i < messages && err == nil; i++ {
				_, err = c.recv()
			}
			ended <- err
			return err
		}), translate.StreamLimits{Idle: idle}), "/v1/books/moby:chat")
		for range messages {
			time.Sleep(idle / 4)
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("the service's", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, limited(t, serving(func(c *call) error {
			_, err := c.recv()
			for i := 0; i < messages && err == nil; i++ {
				time.Sleep(idle / 4)
				err = c.send(nil)
			}
			return err
		}), translate.StreamLimits{Idle: idle}), "/v1/books/moby:watch")
		for range messages {
			if got := read(t, conn); got != "{}" {
				t.Fatalf("got %s", got)
			}
		}
	})
}

func TestSocketConnections(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(limited(t, waiting(), translate.StreamLimits{Connections: 1}))
	defer server.Close()
	target := server.URL + "/v1/books/moby:chat"
	first, _, err := websocket.Dial(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, res, err := websocket.Dial(t.Context(), target, nil); err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many: %v, %v", res, err)
	}
	_ = first.CloseNow()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		again, _, err := websocket.Dial(t.Context(), target, nil)
		if err == nil {
			_ = again.CloseNow()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place of who has left is not free: %v", err)
		}
	}
}

// A client's own deadline ends the call, and junk is refused before the handshake.
func TestSocketDeadline(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(limited(t, waiting(), translate.StreamLimits{}))
	defer server.Close()
	for value, want := range map[string]int{"100m": http.StatusSwitchingProtocols, "soon": http.StatusBadRequest} {
		conn, res, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat",
			&websocket.DialOptions{HTTPHeader: http.Header{"Grpc-Timeout": {value}}})
		if res == nil || res.StatusCode != want {
			t.Errorf("%s: %v, %v", value, res, err)
		}
		if err != nil {
			continue
		}
		if got := read(t, conn); !strings.Contains(got, `"code":"DEADLINE_EXCEEDED"`) {
			t.Errorf("last frame %s", got)
		}
		if err := conn.CloseNow(); err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("closing: %v", err) // the server may have been faster
		}
	}
}
