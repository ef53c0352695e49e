package mesh_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// Methods of the service that the tests call: written by hand, so that the
// package needs nobody's generated code.
const (
	echoMethod  = "/mesh.test.Echo/Echo"
	writeMethod = "/mesh.test.Echo/Write"
	watchMethod = "/mesh.test.Echo/Watch"
	chatMethod  = "/mesh.test.Echo/Chat"
)

// echo is a service of function fields; a nil field answers with its input.
type echo struct {
	unary  func(ctx context.Context, text string) (string, error)
	stream func(stream grpc.ServerStream) error
}

func (e *echo) serve(ctx context.Context, text string) (string, error) {
	if e.unary == nil {
		return text, nil
	}
	return e.unary(ctx, text)
}

func (e *echo) serveStream(stream grpc.ServerStream) error {
	if e.stream != nil {
		return e.stream(stream)
	}
	for {
		msg := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(msg); err != nil {
			return nil //nolint:nilerr // the client is done
		}
		if err := stream.SendMsg(msg); err != nil {
			return err
		}
	}
}

func register(s grpc.ServiceRegistrar, e *echo) {
	handler := func(method string) grpc.MethodHandler {
		return func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			serve := func(ctx context.Context, req any) (any, error) {
				in, _ := req.(*wrapperspb.StringValue)
				text, err := e.serve(ctx, in.GetValue())
				return wrapperspb.String(text), err
			}
			if intercept == nil {
				return serve(ctx, in)
			}
			return intercept(ctx, in, &grpc.UnaryServerInfo{Server: e, FullMethod: method}, serve)
		}
	}
	stream := func(_ any, stream grpc.ServerStream) error { return e.serveStream(stream) }
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "mesh.test.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: handler(echoMethod)},
			{MethodName: "Write", Handler: handler(writeMethod)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Watch", Handler: stream, ServerStreams: true},
			{StreamName: "Chat", Handler: stream, ServerStreams: true, ClientStreams: true},
		},
	}, e)
}

// call makes a unary call.
func call(ctx context.Context, conn *grpc.ClientConn, method, text string) (string, error) {
	reply := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, method, wrapperspb.String(text), reply)
	return reply.GetValue(), err
}

// openStream opens a bidirectional stream.
func openStream(ctx context.Context, conn *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
}

// idempotent says that all but Write may be repeated.
func idempotent(method string) bool { return method != writeMethod }

func newCA(tb testing.TB, domain string, ttl time.Duration) *mesh.DevCA {
	tb.Helper()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: domain, TTL: ttl})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ca.Close() })
	return ca
}

func parsePolicy(tb testing.TB, text string) *mesh.Policy {
	tb.Helper()
	policy, err := mesh.ParsePolicy("mesh.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return policy
}

// fixedList is a Discovery of one service that does not change.
type fixedList []mesh.Endpoint

func (l fixedList) Watch(ctx context.Context, _ string, update func([]mesh.Endpoint, error)) {
	update(l, nil)
	<-ctx.Done()
}

// join makes the mesh of one workload.
func join(tb testing.TB, ca *mesh.DevCA, name string, o mesh.Options) *mesh.Mesh {
	tb.Helper()
	return joinAs(tb, identityOf(tb, ca, name), o)
}

// identityOf is one of a workload, in process.
func identityOf(tb testing.TB, ca *mesh.DevCA, name string) mesh.Identity {
	tb.Helper()
	identity, err := ca.Identity(name)
	if err != nil {
		tb.Fatal(err)
	}
	return identity
}

// joinAs makes the mesh of the workload with that identity.
func joinAs(tb testing.TB, identity mesh.Identity, o mesh.Options) *mesh.Mesh {
	tb.Helper()
	o.Identity = identity
	if o.Idempotent == nil {
		o.Idempotent = idempotent
	}
	m, err := mesh.New(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

// start serves in memory.
func start(tb testing.TB, m *mesh.Mesh, e *echo) (*mesh.Server, *bufconn.Listener) {
	tb.Helper()
	server := m.NewServer()
	register(server, e)
	return server, listen(tb, server)
}

// listen serves in memory.
func listen(tb testing.TB, server *mesh.Server) *bufconn.Listener {
	tb.Helper()
	listener := bufconn.Listen(64 << 10)
	serve(tb, server, listener)
	return listener
}

func serve(tb testing.TB, server *mesh.Server, listener net.Listener) {
	tb.Helper()
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	tb.Cleanup(func() {
		server.Stop()
		work.Wait()
	})
}

// network is a network in memory: listeners by address.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	dials     int
}

// dialled returns how many connections were asked for.
func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *network) add(address string, l *bufconn.Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]*bufconn.Listener{}
	}
	n.listeners[address] = l
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.dials++
	n.mu.Unlock()
	if l == nil {
		return nil, status.Error(codes.Unavailable, "nobody listens on "+address)
	}
	return l.DialContext(ctx)
}

// connect makes a client that dials in memory.
func connect(tb testing.TB, m *mesh.Mesh, n *network, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := m.NewClient(target, append(opts, grpc.WithContextDialer(n.dial))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// everybody allows every mesh peer everything and pins the server's name.
const everybody = `
kind: Authorization
name: everybody
action: ALLOW
rules:
- from: [{source: {principals: ["*"]}}]
`
