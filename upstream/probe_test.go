package upstream_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/portico-bff/portico/upstream"
)

// serveBytes is a server that answers what comes first on a connection with some bytes, and closes it.
func serveBytes(tb testing.TB, answer func(first string) string) string {
	tb.Helper()
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 4<<10)
			if n, err := conn.Read(buf); err == nil {
				_, _ = io.WriteString(conn, answer(string(buf[:n])))
			}
			_ = conn.Close()
		}
	}()
	tb.Cleanup(func() { _ = lis.Close(); <-done })
	return lis.Addr().String()
}

// TestReflectOtherwise has servers that speak otherwise than they are spoken to: it is found out at once, whatever they
// answer or do not.
func TestReflectOtherwise(t *testing.T) {
	t.Parallel()
	var settings strings.Builder
	if err := http2.NewFramer(&settings, nil).WriteSettings(); err != nil {
		t.Fatal(err)
	}
	const alert = "\x15\x03\x03\x00\x02\x02\x28" // handshake_failure
	hello := func(first string) bool { return strings.HasPrefix(first, "\x16\x03") }
	for _, c := range []struct {
		name   string
		tls    upstream.TLSMode
		target string
		want   error
	}{
		{"TLS that closes without a word", upstream.TLSNone, serveTLS(t), upstream.ErrSpeaksTLS},
		{"TLS that answers with an alert", upstream.TLSNone, serveBytes(t, func(string) string { return alert }), upstream.ErrSpeaksTLS},
		{"TLS that answers with a page", upstream.TLSNone, serveBytes(t, func(first string) string {
			if hello(first) {
				return alert
			}
			return "HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port\n"
		}), upstream.ErrSpeaksTLS},
		{"plain text that closes without a word", upstream.TLSSystem, serveBytes(t, func(first string) string {
			if strings.HasPrefix(first, http2.ClientPreface) {
				return settings.String()
			}
			return ""
		}), upstream.ErrSpeaksPlain},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sources := reflected(c.target)
			sources[0].TLS, sources[0].Timeout = upstream.TLS{Mode: c.tls}, time.Minute
			began := time.Now()
			_, err := upstream.LoadOnline(t.Context(), sources, nil)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// late closes the connections of the first while at once, as a proxy does whose server is not up yet.
type late struct {
	net.Listener
	early atomic.Int32
}

func (l *late) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.early.Add(-1) < 0 {
			return conn, err
		}
		_ = conn.Close()
	}
}

// TestReflectLate has a server that closes connections at first: that says nothing about TLS, and is waited for.
func TestReflectLate(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &late{Listener: lis}
	l.early.Store(2) // one of gRPC, one that asks for TLS
	server := grpc.NewServer()
	reflectionpb.RegisterServerReflectionServer(server, answering(func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		if req.GetListServices() != "" {
			return listed("a.S")
		}
		return described(t, withService(file("a.proto", "a", "A", "name"), "S"))
	}))
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	sources := reflected(lis.Addr().String())
	sources[0].Timeout = time.Minute
	if _, err := upstream.LoadOnline(t.Context(), sources, nil); err != nil {
		t.Error(err)
	}
	if l.early.Load() >= 0 {
		t.Error("no connection came after those that were closed")
	}
}
