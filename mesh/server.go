package mesh

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

const (
	// errorDomain and reasonRotated mark the end of a certificate's life.
	errorDomain   = "mesh"
	reasonRotated = "rotated"

	maxMessage       = 4 << 20
	maxStreams       = 1000
	maxHeader        = 64 << 10
	handshakeTimeout = 10 * time.Second
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	minPing          = 10 * time.Second
)

// Server is a gRPC server of the mesh: register services on it and [grpc.Server.Serve]
// it. It has the standard health service, which answers SERVING until
// [Server.Drain]; like every method, calling it needs a rule.
type Server struct {
	*grpc.Server
	// Health is the health service, for services that report on their own.
	Health *health.Server
	mesh   *Mesh
}

// NewServer returns a server whose callers are authenticated and authorized. An
// option of the caller's replaces the mesh's default of the same kind, except for
// credentials, keepalive and the first interceptors; add interceptors with
// grpc.ChainUnaryInterceptor and grpc.ChainStreamInterceptor.
func (m *Mesh) NewServer(opts ...grpc.ServerOption) *Server {
	s := &Server{
		Server: grpc.NewServer(slices.Concat(ServerBounds(), opts, m.ServerOptions())...),
		Health: health.NewServer(),
		mesh:   m,
	}
	grpc_health_v1.RegisterHealthServer(s.Server, s.Health)
	return s
}

// ServerBounds returns the bounds of [Mesh.NewServer] on messages, headers, streams and
// handshakes, for those who build a grpc.Server themselves. Put them first: options of
// one's own replace them.
func ServerBounds() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(handshakeTimeout),
	}
}

// ServerOptions returns what makes a grpc.Server one of the mesh, for those who
// build it themselves. Put them last.
func (m *Mesh) ServerOptions() []grpc.ServerOption {
	return append(append(m.trace.serverOptions(), m.metrics.serverOptions()...),
		grpc.Creds(&secure{mesh: m}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: m.maxAge,
			Time:             keepaliveTime,
			Timeout:          keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(m.serveUnary),
		grpc.StreamInterceptor(m.serveStream),
	)
}

// Drain ends the server without dropping calls: health turns to NOT_SERVING,
// balancers get Options.DrainDelay to see it, clients are told to go elsewhere,
// and running calls may end. When ctx ends, what still runs is cut off and the
// context's error returned.
func (s *Server) Drain(ctx context.Context) error { return s.mesh.Drain(ctx, s.Server, s.Health) }

// Drain is [Server.Drain] for those who build the server themselves: a grpc.Server, say,
// and its health service.
func (m *Mesh) Drain(ctx context.Context, server interface {
	GracefulStop()
	Stop()
}, serving *health.Server,
) error {
	serving.Shutdown()
	if delay := m.drainDelay; delay > 0 {
		sleep(ctx, delay)
	}
	done := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		server.Stop()
		<-done
		return fmt.Errorf("mesh: draining the server: %w", ctx.Err())
	}
}

// serveUnary is the mesh's part of serving a call.
func (m *Mesh) serveUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	now := time.Now()
	admitted, err := m.admit(ctx, info.FullMethod, now)
	if err != nil {
		return nil, err
	}
	ctx, work, err := m.begin(ctx, &admitted, info.FullMethod, now)
	if err != nil {
		return nil, err
	}
	defer func() {
		if v := recover(); v != nil {
			reply, err = nil, m.panicked(info.FullMethod, v)
		}
		work.end(err)
	}()
	return handle(m.trace.receive(ctx), req)
}

// serveStream is the mesh's part of serving a stream: besides what a call gets,
// the stream's context ends a little before the connection's certificate does.
func (m *Mesh) serveStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	now := time.Now()
	admitted, err := m.admit(stream.Context(), info.FullMethod, now)
	if err != nil {
		return err
	}
	ctx, work, err := m.begin(stream.Context(), &admitted, info.FullMethod, now)
	if err != nil {
		return err
	}
	work.pass()
	ctx, cancel := context.WithCancelCause(m.trace.receive(ctx))
	defer cancel(nil)
	if !admitted.expiry.IsZero() {
		left := time.Until(admitted.expiry)
		timer := time.AfterFunc(left-min(left/10, time.Second), func() { cancel(errRotated()) })
		defer timer.Stop()
	}
	defer func() {
		if v := recover(); v != nil {
			err = m.panicked(info.FullMethod, v)
		}
		if cause := context.Cause(ctx); err != nil && cause != nil && rotated(status.Convert(cause)) {
			err = cause
			m.counts.rotated.Add(1)
			m.onEvent(Event{Kind: StreamRotated, Method: info.FullMethod})
		}
	}()
	return handle(srv, &serverStream{ServerStream: stream, ctx: ctx})
}

// serverStream is a stream with a context of ours.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // it is what a grpc.ServerStream returns
}

// Context is the stream's context.
func (s *serverStream) Context() context.Context { return s.ctx }

// admission is what is known of a call that may be made.
type admission struct {
	policy *Policy         // that allows it
	caller authz.Principal // the zero value without TLS
	expiry time.Time       // of its connection; zero: it has none
}

// admit says whether the caller may call the method now.
func (m *Mesh) admit(ctx context.Context, method string, now time.Time) (admission, error) {
	a := admission{policy: m.policy.Load()}
	info, expiry, err := m.caller(ctx, a.policy, method, now)
	if err != nil {
		return admission{}, err
	}
	a.expiry = expiry
	if info.SPIFFEID != nil {
		a.caller = authz.Principal{TrustDomain: info.SPIFFEID.Host, Path: info.SPIFFEID.Path}
	}
	decision := a.policy.matcher.Decide(ctx, a.caller, method)
	m.hear(&info, method, decision)
	if decision.DryRun != "" {
		m.counts.dryRunDiffers.Add(1)
		m.onEvent(Event{Kind: DryRunDiffers, Method: method, Peer: peerID(&info), Policy: decision.DryRun})
	}
	if !decision.Allowed {
		m.counts.denied.Add(1)
		m.onEvent(Event{Kind: CallDenied, Method: method, Peer: peerID(&info), Policy: decision.Policy})
		return admission{}, status.Error(codes.PermissionDenied, "no rule of the mesh policy allows this call")
	}
	m.counts.allowed.Add(1)
	if err := m.limited(ctx, a.policy, &info, a.caller, method, now); err != nil {
		return admission{}, err
	}
	return a, nil
}

// caller returns what is known of the caller, and until when its connection lasts: the
// zero time is no end. A plaintext caller, where the policy takes one, is nobody.
func (m *Mesh) caller(ctx context.Context, inForce *Policy, method string, now time.Time) (credentials.TLSInfo, time.Time, error) {
	info, ok := tlsInfo(ctx)
	if !ok || info.SPIFFEID == nil {
		if m.plaintext(ctx, inForce) {
			m.counts.plaintext.Add(1)
			return credentials.TLSInfo{}, time.Time{}, nil
		}
		return info, time.Time{}, status.Error(codes.Unauthenticated, "a client certificate with a SPIFFE id is required")
	}
	expiry, ok := m.lives.end(&info)
	if !ok || !now.Before(expiry) {
		m.counts.expired.Add(1)
		m.onEvent(Event{Kind: CallExpired, Method: method, Peer: peerID(&info)})
		return info, time.Time{}, errRotated()
	}
	return info, expiry, nil
}

func peerID(info *credentials.TLSInfo) spiffeid.ID {
	if info.SPIFFEID == nil {
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromURI(info.SPIFFEID)
	if err != nil {
		return spiffeid.ID{}
	}
	return id
}

// panicked keeps the stack to the hook and tells the caller nothing.
func (m *Mesh) panicked(method string, value any) error {
	m.counts.panics.Add(1)
	m.onEvent(Event{Kind: HandlerPanicked, Method: method, Err: fmt.Errorf("panic: %v", value), Stack: debug.Stack()})
	return status.Error(codes.Internal, "internal error")
}

// errRotated is the end of a stream, or the refusal of a call, because the
// connection's certificate has ended; a new connection will do.
func errRotated() error {
	s := status.New(codes.Unavailable, "the connection's certificate has ended")
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: reasonRotated, Domain: errorDomain})
	if err != nil {
		return s.Err()
	}
	return detailed.Err()
}

// rotated says whether a status is errRotated's.
func rotated(s *status.Status) bool {
	if s.Code() != codes.Unavailable {
		return false
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reasonRotated && info.GetDomain() == errorDomain {
			return true
		}
	}
	return false
}
