package schema

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/upstream"
)

// Subscription is a running subscription. One goroutine may call Next; Close may be called from any, and must be called.
type Subscription struct {
	ctx    context.Context //nolint:containedctx // the subscription's own life
	cancel context.CancelFunc
	op     *Operation
	plan   *plan
	caller upstream.Caller
	vars   map[string]any
	stream upstream.Stream

	// mu guards ended.
	mu    sync.Mutex
	ended bool
}

// Subscribe starts a subscription: it opens the method's stream and sends the request. Each event executes the
// selection, joined fields included. The subscription ends with the stream, with ctx, or with Close. Errors are of type
// [Errors].
func (o *Operation) Subscribe(ctx context.Context, caller upstream.Caller, variables map[string]any) (*Subscription, error) {
	if o.def.Operation != ast.Subscription {
		return nil, Errors{{Message: "a " + string(o.def.Operation) + " cannot be subscribed to", Locations: locate(o.def.Position)}}
	}
	vars, errs := o.coerce(variables)
	if len(errs) > 0 {
		return nil, errs
	}
	p, err := o.variant(vars)
	if err != nil {
		return nil, asErrors(err)
	}
	if p.stream == nil {
		return nil, Errors{{Message: "a subscription needs one field", Locations: locate(o.def.Position)}}
	}
	f := p.root.joins[0]
	args, err := f.args.of(vars)
	if err != nil {
		return nil, Errors{{Message: err.Error(), Locations: f.locations}}
	}
	in := inputs{ctx: ctx, lookup: o.schema.options.Lookup, args: args}
	req, _, err := f.field.call.request.build(nil, &in)
	if err != nil {
		return nil, Errors{{Message: err.Error(), Locations: f.locations}}
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := open(ctx, caller, p.stream, req)
	if err != nil {
		cancel()
		return nil, Errors{{Message: "the service answered with " + status.Code(err).String(), Locations: f.locations, Cause: err}}
	}
	return &Subscription{ctx: ctx, cancel: cancel, op: o, plan: p, caller: caller, vars: vars, stream: stream}, nil
}

// open opens a server stream. A service that refuses at once may do so before the request is sent; what it says then
// comes with the first event.
func open(ctx context.Context, caller upstream.Caller, m *upstream.Method, req []byte) (upstream.Stream, error) {
	stream, err := caller.Open(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream, nil
}

// Next waits for the next event. It returns false when the stream has ended in order, or the subscription was closed or
// its context cancelled. A stream that breaks gives one last response without data, whose error has the Caller's error as its cause.
func (s *Subscription) Next() (*Response, bool) {
	if s.finished() {
		return nil, false
	}
	msg, err := s.stream.Recv()
	switch {
	case s.finished():
		return nil, false
	case errors.Is(err, io.EOF), err != nil && errors.Is(s.ctx.Err(), context.Canceled):
		s.end()
		return nil, false
	case err != nil:
		s.end()
		f := s.plan.root.joins[0]
		return &Response{Errors: []*Error{{
			Message: "the service answered with " + status.Code(err).String(), Path: ast.Path{f.name},
			Locations: f.locations, Cause: err,
		}}}, true
	default:
		return s.event(msg), true
	}
}

// event executes the selection on one message of the stream.
func (s *Subscription) event(msg []byte) *Response {
	e := newExecution(s.ctx, s.op, s.plan, s.caller, s.vars)
	if msg == nil {
		msg = []byte{}
	}
	res := s.plan.root.joins[0].result([][]byte{msg})
	e.grow(res.objects)
	e.root.joins[0] = res
	return e.run()
}

func (s *Subscription) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *Subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.cancel()
}

// Close ends the subscription and its upstream stream; a Next that waits returns.
func (s *Subscription) Close() { s.end() }
