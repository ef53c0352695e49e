package mesh

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// streamBuffer is how many bytes of messages a stream keeps to send them again; gRPC's
// own retries keep as many, and the same call option changes it.
const streamBuffer = 256 << 10

// retriedStream is a stream that is opened again when it fails while its caller has
// seen nothing of it. It is committed to an attempt (gRFC A6's word) as soon as that
// one's header has come, or more has been sent than is kept; from then on it is that
// attempt, and its failure is the caller's.
type retriedStream struct {
	*streamCall
	ctx      context.Context //nolint:containedctx // of the whole stream: its attempts derive theirs from it
	bound    int             // of size
	finished []func(error)   // the caller's
	finish   sync.Once
	done     atomic.Bool // committed, for those who would not wait for the lock

	// The lock is not held while a message is sent or received, except to send again
	// what was sent before.
	mu       sync.Mutex // guards what follows
	current  *streamAttempt
	sent     []any // copies of what was sent so far; dropped once committed
	size     int
	closed   bool // nothing more is sent
	tried    []*outlier.Host
	attempts int
	beyond   again // what was beyond the first
	failure  error // how the stream has failed
}

// streamAttempt is one attempt of a stream.
type streamAttempt struct {
	grpc.ClientStream
	call   *call
	cancel context.CancelFunc
	timer  *time.Timer // ends it if no header comes; nil: it may wait
}

var _ grpc.ClientStream = (*retriedStream)(nil)

// retried opens a stream that may be opened again.
func (s *streamCall) retried(ctx context.Context) (grpc.ClientStream, error) {
	r := &retriedStream{ctx: ctx, bound: streamBuffer}
	opts := make([]grpc.CallOption, 0, len(s.opts)+1)
	for _, opt := range s.opts {
		switch opt := opt.(type) {
		case grpc.OnFinishCallOption: // once, whatever the number of attempts
			r.finished = append(r.finished, opt.OnFinish)
		case grpc.MaxRetryRPCBufferSizeCallOption:
			r.bound = opt.MaxRetryRPCBufferSize
		default:
			opts = append(opts, opt)
		}
	}
	r.streamCall = s
	r.opts = opts
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		err := r.attempt() //nolint:contextcheck // it has the stream's
		if err == nil {
			return r, nil
		}
		if !r.again(err, nil) {
			r.commit()
			r.over(err)
			return nil, err
		}
	}
}

// attempt opens the stream, and sends what was sent before. The lock is held.
func (s *retriedStream) attempt() error {
	c := &call{tried: s.tried, number: s.attempts, subset: s.subset, elsewhere: s.rule.Retries.RemoteLocalities}
	s.attempts++
	ctx, cancel := context.WithCancel(s.ctx)
	a := &streamAttempt{call: c, cancel: cancel}
	if limit := s.rule.Retries.PerTryTimeout; limit > 0 {
		a.timer = time.AfterFunc(limit, func() {
			c.silent.Store(true)
			cancel()
		})
	}
	inner, err := s.open(ctx, c, grpc.OnFinish(func(err error) {
		a.end()
		if s.done.Load() || s.ctx.Err() != nil {
			s.over(err)
		}
	}))
	if err != nil {
		a.end()
		return a.failed(err)
	}
	a.ClientStream, s.current = inner, a
	if a.timer != nil {
		go func() { // ends with the header, or the attempt
			if header, err := inner.Header(); err == nil && header != nil {
				a.timer.Stop()
			}
		}()
	}
	for _, msg := range s.sent {
		if inner.SendMsg(msg) != nil {
			return nil //nolint:nilerr // RecvMsg says why
		}
	}
	if s.closed {
		_ = inner.CloseSend() // as gRPC's, it says nothing that RecvMsg does not
	}
	return nil
}

// end lets go of what the attempt holds.
func (a *streamAttempt) end() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.cancel()
}

// failed is the error of an attempt: that it was cancelled for its silence is the
// mesh's doing, not the caller's.
func (a *streamAttempt) failed(err error) error {
	if a.call.silent.Load() && status.Code(err) == codes.Canceled {
		return status.Error(codes.DeadlineExceeded, "mesh: no header within perTryTimeout")
	}
	return err
}

// again waits until the stream may be opened once more, and says whether it may, after
// an attempt that failed and was not seen by the caller. The lock is held.
func (s *retriedStream) again(err error, trailer metadata.MD) bool {
	c := s.last.Load()
	retries := &s.rule.Retries
	if s.done.Load() || c.refused.Load() || s.attempts > retries.Attempts || s.ctx.Err() != nil {
		return false
	}
	if rotated(status.Convert(err)) { // it has had its time
		return false
	}
	if !c.silent.Load() && !retries.On.Has(status.Code(err)) {
		return false
	}
	wait, ok := pause(s.rule, s.attempts-1, trailer)
	if deadline, has := s.ctx.Deadline(); !ok || has && time.Until(deadline) <= wait+s.rule.Minimum {
		return false
	}
	if !s.channel.spend(s.plan, AttemptRetried, s.method, c, err) || !sleep(s.ctx, wait) {
		return false
	}
	s.channel.mesh.counts.retries.Add(1)
	s.beyond.retries++
	s.beyond.delay += wait
	if host := c.host.Load(); host != nil && retries.IgnorePrevious {
		s.tried = append(slices.Clip(s.tried), host)
	}
	return true
}

// recover opens the stream again after an attempt has failed, if it may. Otherwise it
// returns the stream's error, and the stream is committed.
func (s *retriedStream) recover(a *streamAttempt, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != a && !s.done.Load() {
		return nil // somebody else was quicker
	}
	err = a.failed(err)
	header, _ := a.Header() // it is there, or will not come
	trailer := a.Trailer()
	for header == nil && s.again(err, trailer) {
		if err = s.attempt(); err == nil {
			return nil
		}
		trailer = nil
	}
	s.commit()
	s.failure = err
	s.over(err)
	return err
}

// commit keeps to the attempt under way. The lock is held.
func (s *retriedStream) commit() {
	if !s.done.Load() {
		s.channel.mesh.metrics.record(s.ctx, s.conn, s.method, s.opts, s.beyond)
	}
	s.done.Store(true)
	s.sent = nil
}

// over tells the caller's options that the stream has ended.
func (s *retriedStream) over(err error) {
	s.finish.Do(func() {
		for _, told := range s.finished {
			told(err)
		}
	})
}

// attemptNow returns the attempt under way.
func (s *retriedStream) attemptNow() *streamAttempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// settle commits the stream, if it still is with this attempt.
func (s *retriedStream) settle() {
	if s.done.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit()
}

// SendMsg sends a message. While the stream may be opened again, a failed attempt is
// no error: RecvMsg finds it out.
func (s *retriedStream) SendMsg(msg any) error {
	a := s.keep(msg)
	err := a.SendMsg(msg)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, io.EOF): // it cannot be sent at all
		s.settle()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != a || !s.done.Load() {
		return nil // it was sent with the next attempt, or will be
	}
	return err
}

// keep keeps a message for the next attempt, and returns the one to send it with.
func (s *retriedStream) keep(msg any) *streamAttempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done.Load() {
		return s.current
	}
	size, clone := messageSize(msg), copyRequest(msg)
	if s.size += size; clone == nil || s.size > s.bound {
		s.commit()
	} else {
		s.sent = append(s.sent, clone)
	}
	return s.current
}

// messageSize is how much a message takes, of the kinds that copyRequest copies.
func messageSize(msg any) int {
	switch msg := msg.(type) {
	case proto.Message:
		return proto.Size(msg)
	case []byte:
		return len(msg)
	case *[]byte:
		return len(*msg)
	}
	return 0
}

// CloseSend says that nothing more is sent.
func (s *retriedStream) CloseSend() error {
	s.mu.Lock()
	s.closed = true
	a := s.current
	s.mu.Unlock()
	return a.CloseSend()
}

// RecvMsg receives a message, of the attempt that has one.
func (s *retriedStream) RecvMsg(msg any) error {
	for {
		a := s.attemptNow()
		if err := s.found(); err != nil {
			return err
		}
		err := a.RecvMsg(msg)
		switch {
		case s.done.Load():
			return a.failed(err)
		case err == nil, errors.Is(err, io.EOF):
			s.settle()
			if err != nil || !s.desc.ServerStreams {
				s.over(nil)
			}
			return err
		}
		if err := s.recover(a, err); err != nil {
			return err
		}
	}
}

// found returns how the stream has failed, if Header or an earlier RecvMsg knows.
func (s *retriedStream) found() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Header waits for the header, of the attempt that has one.
func (s *retriedStream) Header() (metadata.MD, error) {
	for {
		a := s.attemptNow()
		header, err := a.Header()
		if s.done.Load() || header != nil || err != nil {
			s.settle()
			return header, err
		}
		// It ended without a header, and so without a message.
		err = a.RecvMsg(nil)
		if errors.Is(err, io.EOF) { // and well
			s.settle()
			s.over(nil)
			return nil, nil //nolint:nilnil // as gRPC's
		}
		if err = s.recover(a, err); err != nil {
			return nil, nil //nolint:nilnil,nilerr // as gRPC's: RecvMsg says why
		}
	}
}

// Trailer is the last attempt's.
func (s *retriedStream) Trailer() metadata.MD { return s.attemptNow().Trailer() }

// Context is the attempt's, which the stream keeps to from then on.
func (s *retriedStream) Context() context.Context {
	s.settle()
	return s.attemptNow().Context()
}
