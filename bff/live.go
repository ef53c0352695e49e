package bff

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/upstream"
)

// live is the core of whichever configuration is the current one. What outlives configurations calls through it: each
// call meets the rules, limits and upstreams of now, and finishes with them.
type live struct{ server *Server }

var (
	_ iot.Core      = live{}
	_ events.Caller = live{}
)

// Authenticate is that of the current core.
func (l live) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	r := l.server.enter()
	defer r.leave()
	return r.parts.core.Authenticate(ctx, cred)
}

// Admit is that of the current core.
func (l live) Admit(ctx context.Context, op core.Operation, weight int) (limit.Result, error) {
	r := l.server.enter()
	defer r.leave()
	return r.parts.core.Admit(ctx, op, weight)
}

// Share is that of the current core.
func (l live) Share(ctx context.Context, m *upstream.Method, req []byte) (cache.Key, error) {
	r := l.server.enter()
	defer r.leave()
	m, err := r.method(m)
	if err != nil {
		return cache.Key{}, err
	}
	return r.parts.core.Share(ctx, m, req)
}

// Invoke is that of the current core.
func (l live) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	r := l.server.enter()
	defer r.leave()
	m, err := r.method(m)
	if err != nil {
		return upstream.Reply{}, err
	}
	return r.parts.core.Invoke(ctx, m, req)
}

// Open is that of the current core. The stream keeps the configuration that it began with, and ends with it.
func (l live) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	r := l.server.enter()
	ctx, cancel := context.WithCancel(ctx)
	stream, err := r.open(ctx, m)
	if err != nil {
		cancel()
		r.leave()
		return nil, err
	}
	context.AfterFunc(ctx, r.leave)
	stop := context.AfterFunc(r.over, cancel) //nolint:contextcheck // whichever ends first
	return &held{Stream: stream, over: r.over, leave: func() {
		stop()
		cancel()
	}}, nil
}

func (r *runtime) open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	m, err := r.method(m)
	if err != nil {
		return nil, err
	}
	return r.parts.core.Open(ctx, m)
}

// method is a method as this configuration's descriptors have it, who may be others than those it was found in.
func (r *runtime) method(m *upstream.Method) (*upstream.Method, error) {
	if now, ok := r.parts.descriptors.Method(m.Name); ok {
		return now, nil
	}
	return nil, fault.New(codes.Unimplemented, "", fault.WithCause(fmt.Errorf("the descriptors have no %s any more", m.Name)))
}

// held is a stream that keeps its configuration from ending until it has ended itself, or its context has.
type held struct {
	upstream.Stream

	over  context.Context //nolint:containedctx // the configuration's end
	leave func()
}

// Over reports that the stream is to end with its configuration, from the moment on in which that is decided.
func (s *held) Over() bool { return s.over.Err() != nil }

// Recv is the stream's own, until its configuration ends.
func (s *held) Recv() ([]byte, error) {
	msg, err := s.Stream.Recv()
	if err == nil {
		return msg, nil
	}
	s.leave()
	if !errors.Is(err, io.EOF) && s.over.Err() != nil {
		ended := fault.Reconfigured()
		ended.Cause = err
		return nil, ended
	}
	return nil, err
}
