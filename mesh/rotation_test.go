package mesh_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// rotationLog is what the serving side saw of its callers' connections.
type rotationLog struct {
	calls, expired atomic.Int64

	mu           sync.Mutex
	certificates map[string]bool
}

// look is a handler's check of the connection that it is called over.
func (l *rotationLog) look(ctx context.Context) {
	l.calls.Add(1)
	p, _ := peer.FromContext(ctx)
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	leaf := info.State.PeerCertificates[0]
	if !time.Now().Before(leaf.NotAfter) {
		l.expired.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.certificates == nil {
		l.certificates = map[string]bool{}
	}
	l.certificates[leaf.SerialNumber.String()] = true
}

// rotate calls for a while over certificates of that life, and asserts that no
// call failed (Write is never retried) or ran over an ended certificate.
func rotate(t *testing.T, ttl, total, every time.Duration, dial func(*testing.T, *mesh.Server) (string, grpc.DialOption)) {
	t.Helper()
	ca := newCA(t, "shop.test", ttl)
	var log rotationLog
	service := &echo{unary: func(ctx context.Context, text string) (string, error) {
		log.look(ctx)
		return text, nil
	}}
	server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}).NewServer()
	register(server, service)
	target, dialer := dial(t, server)
	client := join(t, ca, "portico", mesh.Options{})
	conn, err := client.NewClient(target, dialer, mesh.ExpectIdentity("spiffe://shop.test/orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	began, failed := time.Now(), 0
	for time.Since(began) < total {
		if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
			failed++
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.Sleep(every)
	}
	least := int(total/ttl) - 1
	t.Logf("%d calls, %d failed, %d over an ended certificate, %d certificates", log.calls.Load(), failed, log.expired.Load(), len(log.certificates))
	if n := log.expired.Load(); n > 0 {
		t.Errorf("%d calls ran over a connection whose certificate had ended", n)
	}
	if len(log.certificates) < least {
		t.Errorf("only %d certificates were used, want at least %d", len(log.certificates), least)
	}
}

// inMemory serves on a connection in memory, which synctest can wait for.
func inMemory(t *testing.T, server *mesh.Server) (string, grpc.DialOption) {
	t.Helper()
	var n network
	n.add("a:1", listen(t, server))
	return "static:///a:1", grpc.WithContextDialer(n.dial)
}

// onLoopback serves on a real socket.
func onLoopback(t *testing.T, server *mesh.Server) (string, grpc.DialOption) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server, listener)
	return "static:///" + listener.Addr().String(), grpc.EmptyDialOption{}
}

// A minute of calls over certificates of ten seconds, in virtual time.
func TestRotationOverAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rotate(t, 10*time.Second, time.Minute, 20*time.Millisecond, inMemory)
	})
}

// The same with certificates hardly longer than X.509's unit of time.
func TestRotationOfVeryShortCertificates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rotate(t, 2*time.Second, 20*time.Second, 7*time.Millisecond, inMemory)
	})
}

func TestRotationOnSockets(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		rotate(t, 2*time.Second, 5*time.Second, 2*time.Millisecond, onLoopback)
		return
	}
	rotate(t, 10*time.Second, time.Minute, 2*time.Millisecond, onLoopback)
}

// A stream whose handler obeys its context ends with a status that says why; one
// whose handler sits in Recv ends with the connection, and the client tells the
// same. It is the earlier of the two certificates that counts.
func TestStreamEndsWithItsCertificate(t *testing.T) {
	t.Parallel()
	handlers := map[string]func(grpc.ServerStream) error{
		"a handler that obeys its context": func(stream grpc.ServerStream) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		},
		"a handler that waits for a message": func(stream grpc.ServerStream) error {
			return stream.RecvMsg(new(wrapperspb.StringValue))
		},
	}
	for name, handler := range handlers {
		for _, older := range []string{"client", "server"} {
			t.Run(name+", the older certificate the "+older+"'s", func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { endsRotated(t, handler, older) })
			})
		}
	}
}

// endsRotated opens a stream on certificates of ten seconds, one of which is four
// seconds old.
func endsRotated(t *testing.T, handler func(grpc.ServerStream) error, older string) {
	t.Helper()
	ca := newCA(t, "shop.test", 10*time.Second)
	var server, client *mesh.Mesh
	joins := []func(){
		func() { client = join(t, ca, "portico", mesh.Options{}) },
		func() { server = join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}) },
	}
	if older == "server" {
		slices.Reverse(joins)
	}
	joins[0]()
	time.Sleep(4 * time.Second)
	joins[1]()
	_, listener := start(t, server, &echo{stream: handler})
	var n network
	n.add("a:1", listener)
	conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
	began := time.Now()
	stream, err := openStream(t.Context(), conn, chatMethod)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.RecvMsg(new(wrapperspb.StringValue))
	if lived := time.Since(began); lived < 5*time.Second || lived > 7*time.Second {
		t.Errorf("the stream lived %v, want about the six seconds left of the older certificate", lived)
	}
	s := status.Convert(err)
	if s.Code() != codes.Unavailable || !hasReason(s, "rotated") {
		t.Errorf("the stream ended with %v, details %v", err, s.Details())
	}
	if got := client.Stats().Rotated; got != 1 {
		t.Errorf("client counted %d rotated streams", got)
	}
}

func hasReason(s *status.Status, reason string) bool {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason {
			return true
		}
	}
	return false
}

// A connection that the server does not retire is cut off when the certificate
// ends, and the next call makes a new one.
func TestConnectionIsCutAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", 10*time.Second)
		server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody), MaxConnectionAge: time.Hour})
		blocked := make(chan error, 1)
		_, listener := start(t, server, &echo{unary: func(ctx context.Context, text string) (string, error) {
			if text == "wait" {
				<-ctx.Done()
				blocked <- context.Cause(ctx)
				return "", ctx.Err()
			}
			return text, nil
		}})
		var n network
		n.add("a:1", listener)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
		began := time.Now()
		_, err := call(t.Context(), conn, writeMethod, "wait")
		if status.Code(err) != codes.Unavailable || time.Since(began) > 12*time.Second {
			t.Errorf("after %v: %v, want UNAVAILABLE at the certificate's end", time.Since(began), err)
		}
		if err := <-blocked; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context ended with %v", err)
		}
		if _, err := call(t.Context(), conn, writeMethod, "again"); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

// Every call looks at its connection's end for itself: where a connection lasts longer than
// its certificate (it is another's, here, which nobody closes) calls and streams are
// refused over it.
func TestCallsLookAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", 10*time.Second)
		server, client := identityOf(t, ca, "orders"), identityOf(t, ca, "portico")
		m := joinAs(t, server, mesh.Options{Policy: parsePolicy(t, everybody)})
		s := grpc.NewServer(append(m.ServerOptions(),
			grpc.KeepaliveParams(keepalive.ServerParameters{}),
			grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeAny()))))...)
		register(s, &echo{})
		var n network
		n.add("a:1", listen(t, &mesh.Server{Server: s}))
		conn, err := grpc.NewClient("passthrough:///a:1", grpc.WithContextDialer(n.dial),
			grpc.WithTransportCredentials(credentials.NewTLS(tlsconfig.MTLSClientConfig(client, client, tlsconfig.AuthorizeAny()))))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		_, unary := call(t.Context(), conn, writeMethod, "x")
		stream, streamed := openStream(t.Context(), conn, chatMethod)
		if streamed == nil {
			_ = stream.CloseSend()
			streamed = stream.RecvMsg(new(wrapperspb.StringValue))
		}
		for _, err := range []error{unary, streamed} {
			if s := status.Convert(err); s.Code() != codes.Unavailable || !hasReason(s, "rotated") {
				t.Errorf("over an ended certificate: %v, want it refused as rotated", err)
			}
		}
		if got := m.Stats().Expired; got != 2 || n.dialled() != 1 {
			t.Errorf("%d calls are counted as expired over %d connections, want 2 over one", got, n.dialled())
		}
	})
}
