package mesh

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stream opens a stream. It is routed, balanced and its endpoint judged like a
// call's; it has no default deadline and is not retried, as messages may have been
// seen.
func (ch *channel) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	plan := ch.plan()
	if err := ch.leave(plan, method); err != nil {
		return nil, err
	}
	rule, _ := plan.rule(ctx, method)
	if err := ch.fault(ctx, &rule.Fault, method); err != nil {
		return nil, err
	}
	if subset := ch.mesh.subset(ctx, &rule.Split); subset != nil {
		ctx = context.WithValue(ctx, callKey{}, &call{subset: subset})
	}
	if plan.destination.Pool.MaxRequests > 0 {
		if err := ch.enter(ctx); err != nil {
			return nil, err
		}
		leave := sync.OnceFunc(ch.gate.Leave)
		opts = append(slices.Clip(opts), grpc.OnFinish(func(error) { leave() }))
		inner, err := ch.openStream(ctx, desc, cc, method, open, opts)
		if err != nil {
			leave()
		}
		return inner, err
	}
	return ch.openStream(ctx, desc, cc, method, open, opts)
}

func (ch *channel) openStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts []grpc.CallOption) (grpc.ClientStream, error) {
	inner, err := open(sendCriticality(ch.mesh.trace.send(ctx)), desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &clientStream{ClientStream: inner, mesh: ch.mesh, method: method}, nil
}

// clientStream tells the end of a connection's certificate from a failure.
type clientStream struct {
	grpc.ClientStream
	mesh   *Mesh
	method string
	once   sync.Once
}

// RecvMsg receives a message.
func (s *clientStream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if err == nil || status.Code(err) != codes.Unavailable {
		return err
	}
	if !rotated(status.Convert(err)) {
		if !s.mesh.lives.over(s.Context()) {
			return err
		}
		err = errRotated()
	}
	s.once.Do(func() {
		s.mesh.counts.rotated.Add(1)
		s.mesh.onEvent(Event{Kind: StreamRotated, Method: s.method})
	})
	return err
}
