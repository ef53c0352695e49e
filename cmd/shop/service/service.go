// Package service runs a shop service as a member of the mesh: [Join] makes its mesh,
// [Run] serves it until its context ends and then drains it. What is around each
// handler is the [Chain].
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/mesh"
)

// defaultGrace is how long a drain waits for running calls.
const defaultGrace = 5 * time.Second

// Options are what every service of the shop is run with.
type Options struct {
	// Data is the folder of the service's file. Required.
	Data string
	// Listener takes the service's calls; it is closed in any case. Required.
	Listener net.Listener
	// Mesh proves who the service is and decides who may call it; see [Join]. It is
	// closed by the caller, after the service has ended. Required.
	Mesh *mesh.Mesh
	// Logger gets what goes wrong. Required.
	Logger *slog.Logger
	// Counters count the calls; nil: nobody wants to know.
	Counters *Counters
	// Grace is how long running calls may go on after the context has ended; 0: 5 s.
	Grace time.Duration
}

// Program is one service, ready to be served.
type Program struct {
	// Register adds the service to the server.
	Register func(grpc.ServiceRegistrar)
	// Stop ends the service's streams when a drain begins; nil if it has none.
	Stop func()
	// Close releases what the service holds, after the drain.
	Close func() error
}

// Join makes the mesh of one service. The policy is the built-in one if file is empty;
// traces may be nil. Close what it returns, then the identity.
func Join(ctx context.Context, identity mesh.Identity, file string, traces trace.TracerProvider, logger *slog.Logger) (*mesh.Mesh, error) {
	o := mesh.Options{Identity: identity, PolicyFile: file, TracerProvider: traces, OnEvent: func(e mesh.Event) { log(ctx, logger, e) }}
	if file == "" {
		builtIn, err := policy.Mesh()
		if err != nil {
			return nil, err
		}
		o.Policy = builtIn
	}
	return mesh.New(ctx, o)
}

func log(ctx context.Context, logger *slog.Logger, e mesh.Event) {
	ctx = context.WithoutCancel(ctx)
	attrs := []any{"kind", e.Kind, "method", e.Method, "target", e.Target, "endpoint", e.Endpoint, "policy", e.Policy}
	if !e.Peer.IsZero() {
		attrs = append(attrs, "peer", e.Peer.String())
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	switch e.Kind {
	case mesh.HandlerPanicked:
		logger.ErrorContext(ctx, "handler panicked", append(attrs, "stack", string(e.Stack))...)
	case mesh.PolicyRefused, mesh.CallDenied:
		logger.WarnContext(ctx, "mesh event", attrs...)
	default:
		logger.DebugContext(ctx, "mesh event", attrs...)
	}
}

// Run opens a program and serves it until ctx ends. Then it drains: health turns to
// NOT_SERVING, streams end, and running calls have the grace to end. It returns nil after
// a drain, also after one that had to cut calls off, and if ctx ends before the program
// is open. Requests are held against the rules
// in the service's proto file.
func Run(ctx context.Context, o Options, file protoreflect.FileDescriptor, open func(protovalidate.Validator) (*Program, error)) (err error) {
	defer o.Listener.Close() // once more, where serving did
	validator, err := NewValidator(file)
	if err != nil {
		return err
	}
	p, err := open(validator)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // stopped before it was open
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	chain := &Chain{
		Peer: mesh.Peer, Trusted: []spiffeid.ID{policy.ID(policy.Portico)},
		Validator: validator, Counters: o.Counters, Logger: o.Logger,
	}
	server := o.Mesh.NewServer(chain.ServerOptions()...)
	p.Register(server)
	for name := range server.GetServiceInfo() {
		server.Health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	reflection.RegisterV1(server)
	return serve(ctx, o, server, p.Stop)
}

func serve(ctx context.Context, o Options, server *mesh.Server, stop func()) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(o.Listener) }()
	o.Logger.InfoContext(ctx, "serving", "address", o.Listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if stop != nil {
		stop()
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Grace)
	defer cancel()
	if err := server.Drain(drain); err != nil {
		o.Logger.WarnContext(drain, "calls were cut off", "error", err)
	}
	if err := <-served; err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	o.Logger.InfoContext(drain, "stopped")
	return nil
}
