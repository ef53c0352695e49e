package translate_test

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/upstream"
)

// call is the service's end of a streaming call.
type call struct {
	ctx      context.Context //nolint:containedctx // a stream lives as long as its context
	requests chan []byte     // closed when the client sends no more
	answers  chan []byte
	end      chan error // takes the status; nil is OK
	header   metadata.MD
	trailer  metadata.MD
}

// serving is a Caller whose streams are served by a function, as by a gRPC server: the stream ends with what it
// returns. Neither direction holds a message that nobody takes.
func serving(serve func(c *call) error) stub {
	return stub{open: func(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
		ctx, cancel := context.WithCancel(ctx)
		c := &call{ctx: ctx, requests: make(chan []byte), answers: make(chan []byte), end: make(chan error, 1)}
		s := &clientEnd{call: c, cancel: cancel, done: make(chan struct{})}
		go func() {
			defer cancel()
			s.status = serve(c)
			close(s.done)
		}()
		return s, nil
	}}
}

// recv takes the next request; io.EOF after the last.
func (c *call) recv() ([]byte, error) {
	select {
	case m, ok := <-c.requests:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

func (c *call) send(m []byte) error {
	select {
	case c.answers <- m:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// clientEnd is the client's end.
type clientEnd struct {
	*call
	cancel context.CancelFunc
	done   chan struct{} // closed after status is set
	status error
	closed sync.Once
}

func (s *clientEnd) Send(m []byte) error {
	select {
	case s.requests <- m:
		return nil
	case <-s.done:
		return io.EOF
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s *clientEnd) CloseSend() error {
	s.closed.Do(func() { close(s.requests) })
	return nil
}

func (s *clientEnd) Recv() ([]byte, error) {
	select {
	case m := <-s.answers:
		return m, nil
	case <-s.done:
		if s.status == nil {
			return nil, io.EOF
		}
		return nil, s.status
	case <-s.ctx.Done():
		select {
		case <-s.done:
			if s.status == nil {
				return nil, io.EOF
			}
			return nil, s.status
		default:
		}
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *clientEnd) Header() (metadata.MD, error) { return s.header, nil }
func (s *clientEnd) Trailer() metadata.MD         { return s.trailer }

func notFound() error { return status.Error(codes.NotFound, "no such book") }
