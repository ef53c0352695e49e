package mesh

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// streamCall is what opening a stream takes.
type streamCall struct {
	channel  *channel
	plan     *plan
	rule     *policy.RouteRule
	desc     *grpc.StreamDesc
	conn     *grpc.ClientConn
	method   string
	streamer grpc.Streamer
	opts     []grpc.CallOption
	subset   *policy.Subset
	last     atomic.Pointer[call] // of the attempts, be it without a stream
}

// stream opens a stream. It is routed, balanced and its endpoint judged like a call's.
// It has no default deadline, and is retried as long as nothing of it has been seen.
func (ch *channel) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	plan := ch.plan()
	if err := ch.leave(plan, method); err != nil {
		return nil, err
	}
	rule, entry := plan.rule(ctx, method)
	if _, _, err := ch.timeLimit(ctx, rule, method); err != nil {
		return nil, err
	}
	plan.budget.Deposit(time.Now())
	s := &streamCall{
		channel: ch, plan: plan, rule: rule, desc: desc, conn: cc, method: method,
		streamer: streamer, opts: opts, subset: ch.mesh.subset(ctx, &rule.Split),
	}
	ctx = sendCriticality(ch.mesh.trace.send(ctx))
	guard := plan.guard(entry)
	if guard == nil {
		return s.start(ctx)
	}
	pass, err := guard.enter(ctx, method)
	if err != nil {
		return nil, err
	}
	var once sync.Once
	finish := func(err error) { once.Do(func() { pass.leave(outcome(err, s.last.Load(), time.Now()), err) }) }
	s.opts = append(slices.Clip(opts), grpc.OnFinish(finish))
	inner, err := s.start(ctx)
	if err != nil {
		finish(err)
		return nil, err
	}
	return &guardedStream{ClientStream: inner, pass: pass}, nil
}

// start opens the stream, more than once if it may be.
func (s *streamCall) start(ctx context.Context) (grpc.ClientStream, error) {
	if err := s.channel.fault(ctx, &s.rule.Fault, s.method); err != nil {
		return nil, err
	}
	if s.rule.Retries.Attempts > 0 && s.channel.mesh.idempotent(s.method) {
		return s.retried(ctx)
	}
	return s.open(ctx, &call{subset: s.subset})
}

// open makes one attempt at opening the stream.
func (s *streamCall) open(ctx context.Context, c *call, more ...grpc.CallOption) (grpc.ClientStream, error) {
	s.last.Store(c)
	ch, opts := s.channel, append(slices.Clip(s.opts), more...)
	if c.number > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, attemptsHeader, strconv.Itoa(c.number))
	}
	c.Plain(ctx)
	ctx = c
	leave := func() {}
	if s.plan.destination.Pool.MaxRequests > 0 {
		if _, err := ch.enter(ctx, time.Time{}); err != nil { //nolint:contextcheck // c is the context, of ctx
			c.refused.Store(true)
			return nil, err
		}
		leave = sync.OnceFunc(ch.gate.Leave)
		opts = append(opts, grpc.OnFinish(func(error) { leave() }))
	}
	inner, err := s.streamer(ctx, s.desc, s.conn, s.method, opts...) //nolint:contextcheck // c is the context, of ctx
	if err != nil {
		leave()
		return nil, err
	}
	return &clientStream{ClientStream: inner, mesh: ch.mesh, method: s.method}, nil
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
