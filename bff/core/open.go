package core

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// errCredentialsEnded ends streams of clients whose credentials have expired.
var errCredentialsEnded = errors.New("the credentials have expired")

// Open starts a call of a streaming method. Its rule is checked now or, if it reads the request, for every message
// that is sent; the service is called once the first one has passed. A stream ends with the credentials of its client.
func (c *Core) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	info := request.FromContext(ctx)
	headers, err := c.admitStream(ctx, info, m)
	if err != nil {
		f := present(ctx, err)
		c.metrics.called(info.Door, m.Name, f)
		return nil, f
	}
	s := c.newStream(ctx, info, c.methods[m], headers)
	if !s.checks {
		if err := s.connect(); err != nil {
			err = s.finish(err)
			s.release()
			return nil, err
		}
	}
	return s, nil
}

// admitStream checks the rule, unless it reads messages, and makes the metadata that is sent.
func (c *Core) admitStream(ctx context.Context, info *request.Info, m *upstream.Method) ([]sentHeader, error) {
	compiled := c.methods[m]
	if compiled == nil || m.Unary() {
		return nil, misuse(m)
	}
	if !c.rules.ReadsMessage(m) {
		if err := c.rules.Allow(ctx, m, nil, time.Now()); err != nil {
			return nil, err
		}
	}
	return compiled.headers.compose(info, auth.FromContext(ctx), false)
}

// newStream makes a stream that is not connected yet.
func (c *Core) newStream(ctx context.Context, info *request.Info, compiled *method, headers []sentHeader) *stream {
	m := compiled.Method
	ctx, cancel := context.WithCancel(ctx)
	if expires := auth.FromContext(ctx).Expires; !expires.IsZero() {
		outer := cancel
		var inner context.CancelFunc
		ctx, inner = context.WithDeadlineCause(ctx, expires.Add(auth.Leeway), errCredentialsEnded)
		cancel = func() {
			inner()
			outer()
		}
	}
	ctx, span := c.tracer.Start(ctx, m.Name, compiled.spanOptions...)
	s := &stream{core: c, ctx: ctx, method: m, headers: compiled.headers, span: span, door: info.Door, checks: c.rules.ReadsMessage(m), opened: make(chan struct{})}
	s.start = func() (upstream.Stream, error) { return c.next.Open(outgoing(ctx, info, headers), m) }
	c.metrics.streams.WithLabelValues(doorLabel(info.Door), m.Name).Inc()
	// The stream is over when its context is, whether anybody still receives or not.
	stop := context.AfterFunc(ctx, func() { _ = s.finish(ctx.Err()) })
	s.release = func() {
		stop()
		cancel()
	}
	return s
}

// stream is an open stream under the rules.
type stream struct {
	core    *Core
	ctx     context.Context //nolint:containedctx // a stream lives as long as its context
	method  *upstream.Method
	span    trace.Span
	headers *headerPolicy
	release func() // ends what the stream holds; only those who send and receive call it
	door    request.Door
	checks  bool // the rule reads every message
	start   func() (upstream.Stream, error)

	// next and refused are set before opened is closed; only Send and CloseSend, which one goroutine calls, set them.
	next    upstream.Stream
	refused error
	opened  chan struct{}

	over bool // the service's end has been received; the receiver's

	// once guards how the stream ended.
	once sync.Once
	end  *fault.Error
}

var _ upstream.Stream = (*stream)(nil)

// connect calls the service.
func (s *stream) connect() error {
	defer close(s.opened)
	s.next, s.refused = s.start()
	return s.refused
}

// refuse ends a stream that the rule has denied.
func (s *stream) refuse(err error) error {
	if s.next == nil && s.refused == nil {
		s.refused = err
		close(s.opened)
	}
	err = s.finish(err)
	s.release()
	return err
}

// ready makes sure that the service has been called.
func (s *stream) ready() error {
	if s.next == nil && s.refused == nil {
		if err := s.connect(); err != nil {
			return s.finish(err)
		}
	}
	if s.refused != nil {
		return s.finish(s.refused)
	}
	return nil
}

// Send sends one message, if the rule allows it.
func (s *stream) Send(msg []byte) error {
	if s.checks {
		if err := s.core.rules.Allow(s.ctx, s.method, msg, time.Now()); err != nil {
			return s.refuse(err)
		}
	}
	if err := s.ready(); err != nil {
		return err
	}
	err := s.next.Send(msg)
	if err != nil && !errors.Is(err, io.EOF) {
		return s.finish(err)
	}
	return err
}

// CloseSend says that no message follows. Without any message, a rule that reads messages has allowed nothing.
func (s *stream) CloseSend() error {
	if s.checks && s.next == nil && s.refused == nil {
		if err := s.core.rules.Allow(s.ctx, s.method, nil, time.Now()); err != nil {
			return s.refuse(err)
		}
	}
	if err := s.ready(); err != nil {
		return err
	}
	if err := s.next.CloseSend(); err != nil {
		return s.finish(err)
	}
	return nil
}

// Recv returns the next message.
func (s *stream) Recv() ([]byte, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	msg, err := s.next.Recv()
	s.over = err != nil
	switch {
	case err == nil:
		return msg, nil
	case errors.Is(err, io.EOF):
		_ = s.finish(nil)
		s.release()
		return nil, io.EOF
	default:
		err = s.finish(err)
		s.release()
		return nil, err
	}
}

// await waits until the service has been called.
func (s *stream) await() error {
	select {
	case <-s.opened:
	case <-s.ctx.Done():
		return s.finish(s.ctx.Err())
	}
	if s.refused != nil {
		return s.finish(s.refused)
	}
	return nil
}

// Header waits for the response headers and returns those that clients may see.
func (s *stream) Header() (metadata.MD, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	md, err := s.next.Header()
	if err != nil {
		return nil, present(s.ctx, err)
	}
	return s.headers.visible(md), nil
}

// Trailer returns the trailers that clients may see, once Recv has returned an error.
func (s *stream) Trailer() metadata.MD {
	if !s.over {
		return nil
	}
	return s.headers.visible(s.next.Trailer())
}

// finish notes, once, how the stream ended, and returns that; nil is a good end.
func (s *stream) finish(err error) error {
	s.once.Do(func() {
		if err != nil {
			s.end = present(s.ctx, err)
			endSpan(s.span, s.end)
		}
		s.span.End()
		s.core.metrics.streams.WithLabelValues(doorLabel(s.door), s.method.Name).Dec()
		s.core.metrics.called(s.door, s.method.Name, s.end)
	})
	if err == nil {
		return nil
	}
	if s.end != nil {
		return s.end
	}
	return present(s.ctx, err)
}
