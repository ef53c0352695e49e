package service

import (
	"context"
	"errors"
	"log/slog"

	"buf.build/go/protovalidate"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/cmd/shop/caller"
)

// Chain is what happens around each handler: the call is counted, its caller is found,
// its request is validated, and its error is made fit for the other side.
type Chain struct {
	// Peer says who is at the other end; [mesh.Peer] in a running service.
	Peer func(ctx context.Context) (spiffeid.ID, bool)
	// Trusted are the peers that may say who the user is.
	Trusted []spiffeid.ID
	// Validator checks requests.
	Validator protovalidate.Validator
	// Counters count the calls.
	Counters *Counters
	// Logger gets what callers must not see.
	Logger *slog.Logger
}

// ServerOptions returns the chain as interceptors.
func (c *Chain) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(c.unary), grpc.ChainStreamInterceptor(c.stream)}
}

func (c *Chain) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	defer func() { err = c.finish(ctx, info.FullMethod, err) }()
	ctx = c.begin(ctx, info.FullMethod)
	if err := c.check(req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (c *Chain) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	defer func() { err = c.finish(ctx, info.FullMethod, err) }()
	return handler(srv, &stream{ServerStream: ss, ctx: c.begin(ctx, info.FullMethod), check: c.check})
}

func (c *Chain) begin(ctx context.Context, method string) context.Context {
	c.Counters.count(method)
	peer, _ := c.Peer(ctx)
	return caller.NewContext(ctx, caller.Incoming(ctx, peer, c.Trusted...))
}

func (c *Chain) check(req any) error {
	if m, ok := req.(proto.Message); ok {
		return Validate(c.Validator, m)
	}
	return nil
}

// finish turns what a handler returned into a status. What is none is a fault of the
// service: logged here, and kept from the caller.
func (c *Chain) finish(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // whatever else it says: the caller has left, or its time is up
		return status.FromContextError(ctx.Err()).Err()
	}
	// A status that is wrapped is another service's answer, not ours.
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err
	}
	for _, limit := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, limit) { // of a call of ours
			return status.FromContextError(limit).Err()
		}
	}
	c.Logger.ErrorContext(ctx, "call failed", "method", method, "error", err)
	return status.Error(codes.Internal, "internal error")
}

// stream is a server stream with the caller in its context and checked messages.
type stream struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // grpc.ServerStream hands out its context
	check func(any) error
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.check(m)
}
