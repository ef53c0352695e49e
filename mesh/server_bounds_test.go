package mesh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// rawClient speaks HTTP/2 to a server of the mesh as no gRPC client would.
type rawClient struct {
	net.Conn
	*xhttp2.Framer
	writing sync.Mutex // held for a ping
}

// ping sends a ping, or answers one. It may be called from several goroutines.
func (c *rawClient) ping(answer bool, data [8]byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.WritePing(answer, data)
}

// dialRaw connects with the identity of a workload and says hello.
func dialRaw(t *testing.T, ca *mesh.DevCA, listener *bufconn.Listener) *rawClient {
	t.Helper()
	identity := identityOf(t, ca, "portico")
	raw, err := listener.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := tlsconfig.MTLSClientConfig(identity, identity, tlsconfig.AuthorizeAny())
	config.NextProtos = []string{"h2"}
	conn := tls.Client(raw, config)
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, xhttp2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{Conn: conn, Framer: xhttp2.NewFramer(conn, conn)}
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// goAway reads until the server says goodbye, or closes.
func (c *rawClient) goAway() (xhttp2.ErrCode, string, error) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return 0, "", err
		}
		if f, ok := frame.(*xhttp2.GoAwayFrame); ok {
			return f.ErrCode, string(f.DebugData()), nil
		}
	}
}

// The server says what its bounds are.
func TestAdvertisedBounds(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{})
	frame, err := dialRaw(t, ca, listener).ReadFrame()
	settings, ok := frame.(*xhttp2.SettingsFrame)
	if err != nil || !ok {
		t.Fatalf("%v, %v", frame, err)
	}
	for id, want := range map[xhttp2.SettingID]uint32{xhttp2.SettingMaxConcurrentStreams: 1000, xhttp2.SettingMaxHeaderListSize: 64 << 10} {
		if got, ok := settings.Value(id); !ok || got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
}

// A client that pings all the time is told to calm down, and let go; one that keeps to
// what the mesh's clients do stays.
func TestKeepaliveEnforcement(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		every time.Duration
		ended bool
	}{
		"too often": {time.Second, true},
		"as ours":   {30 * time.Second, false},
		"the most":  {10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := newCA(t, "shop.test", time.Hour)
				_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{})
				client := dialRaw(t, ca, listener)
				stop := make(chan struct{})
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					for {
						select {
						case <-stop:
							return
						case <-time.After(test.every):
							if client.ping(false, [8]byte{1}) != nil {
								return
							}
						}
					}
				}()
				time.AfterFunc(3*time.Minute, func() { _ = client.SetReadDeadline(time.Now()) })
				code, text, err := client.goAwayAnswering()
				close(stop)
				<-stopped
				if ended := err == nil && code == xhttp2.ErrCodeEnhanceYourCalm && text == "too_many_pings"; ended != test.ended {
					t.Errorf("%v %q, %v; want it ended: %v", code, text, err, test.ended)
				}
			})
		})
	}
}

// goAwayAnswering is goAway of a client that answers pings.
func (c *rawClient) goAwayAnswering() (xhttp2.ErrCode, string, error) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return 0, "", err
		}
		switch f := frame.(type) {
		case *xhttp2.GoAwayFrame:
			return f.ErrCode, string(f.DebugData()), nil
		case *xhttp2.PingFrame:
			if !f.IsAck() {
				_ = c.ping(true, f.Data)
			}
		}
	}
}

// A client that has gone without a word is found out, and its connection closed.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{})
		client := dialRaw(t, ca, listener) // it never answers pings
		began := time.Now()
		_, _, err := client.goAway()
		if took := time.Since(began); err == nil || took < 30*time.Second || took > 45*time.Second {
			t.Errorf("%v after %v, want the end after 30s and 10s more", err, took)
		}
	})
}

// A handshake that does not go on is given up.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{})
		conn, err := listener.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Messages and headers beyond the bounds are refused, in both directions, and what is
// within them passes; one who wants more says so.
func TestMessageBounds(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	policy := parsePolicy(t, everybody)
	const bound = 4 << 20
	large := strings.Repeat("x", bound)
	serve := &echo{unary: func(_ context.Context, text string) (string, error) {
		if text == "large" {
			return large, nil
		}
		return text, nil
	}}
	var n network
	_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: policy}), serve)
	n.add("a:1", listener)
	more := join(t, ca, "orders", mesh.Options{Policy: policy}).NewServer(grpc.MaxRecvMsgSize(2 * bound))
	register(more, serve)
	n.add("b:1", listen(t, more))
	client := join(t, ca, "portico", mesh.Options{})
	conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
	wide := connect(t, client, &n, "static:///b:1", mesh.ExpectIdentity(orders), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*bound)))
	stream := func(text string) error {
		s, err := openStream(t.Context(), conn, chatMethod)
		if err != nil {
			return err
		}
		_ = s.SendMsg(wrapperspb.String(text)) // the answer says what is wrong
		_ = s.CloseSend()
		return s.RecvMsg(new(wrapperspb.StringValue))
	}
	unary := func(conn *grpc.ClientConn, text string) error {
		_, err := call(t.Context(), conn, writeMethod, text)
		return err
	}
	header := func(size int) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("x", size))
		_, err := call(ctx, conn, writeMethod, "x")
		return err
	}
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"a large request":         {unary(conn, large), codes.ResourceExhausted},
		"one within":              {unary(conn, large[:bound-10]), codes.OK},
		"a large reply":           {unary(conn, "large"), codes.ResourceExhausted},
		"a large message":         {stream(large), codes.ResourceExhausted},
		"one within, of a stream": {stream("x"), codes.OK},
		"by choice":               {unary(wide, large), codes.OK},
		"a large reply by choice": {unary(wide, "large"), codes.OK},
		"a header within":         {header(50 << 10), codes.OK},
		"a large header":          {header(70 << 10), codes.Internal},
	} {
		if status.Code(test.err) != test.want {
			t.Errorf("%s: %v, want %v", name, test.err, test.want)
		}
	}
}

// A header that is too large, of a client that does not heed what the server says, ends
// the stream or the connection without an answer.
func TestRawHeaderBound(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{unary: func(_ context.Context, text string) (string, error) {
		t.Error("the call got through")
		return text, nil
	}})
	client := dialRaw(t, ca, listener)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := map[string]string{":method": "POST", ":scheme": "https", ":path": echoMethod, ":authority": "a", "content-type": "application/grpc", "te": "trailers"}
	for _, name := range []string{":method", ":scheme", ":path", ":authority"} {
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: fields[name]})
	}
	maps.DeleteFunc(fields, func(name, _ string) bool { return name[0] == ':' })
	fields["x-large"] = strings.Repeat("x", 70<<10)
	for name, value := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	rest := block.Bytes()
	first := rest[:16<<10]
	if err := client.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: first}); err != nil {
		t.Fatal(err)
	}
	for rest = rest[len(first):]; len(rest) > 0; {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		if err := client.WriteContinuation(1, len(rest) == 0, part); err != nil {
			t.Fatal(err)
		}
	}
	for {
		frame, err := client.ReadFrame()
		if err != nil { // the server has enough
			return
		}
		switch f := frame.(type) {
		case *xhttp2.RSTStreamFrame:
			return
		case *xhttp2.HeadersFrame:
			t.Fatalf("the call was answered: %v", f)
		}
	}
}

// A handler that panics gives back its place among those that run.
func TestPanicUnderAnOverload(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, overloaded)})
	_, listener := start(t, server, &echo{unary: func(context.Context, string) (string, error) { panic("on purpose") }}) //nolint:forbidigo // on purpose
	var n network
	n.add("a:1", listener)
	conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
	for range 5 { // one may run, and one wait
		if _, err := call(t.Context(), conn, writeMethod, "x"); status.Code(err) != codes.Internal {
			t.Errorf("%v, want INTERNAL", err)
		}
	}
	if s := server.Stats(); s.Panics != 5 || s.Overloads[1].Running != 0 {
		t.Errorf("%d panics, %+v", s.Panics, s.Overloads)
	}
}
