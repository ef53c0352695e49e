// Package stack runs all five services of the shop inside one process, on loopback, each
// with its own identity, its own mesh and its own file: as apart from one another as
// separate programs are, but for the memory. The demo and the tests use it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/portico-bff/portico/cmd/shop/catalog"
	"github.com/portico-bff/portico/cmd/shop/fleet"
	"github.com/portico-bff/portico/cmd/shop/orders"
	"github.com/portico-bff/portico/cmd/shop/payments"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/cmd/shop/users"
	"github.com/portico-bff/portico/mesh"
)

// Options are what the shop is started with.
type Options struct {
	// Data is the folder of the services' files. Required.
	Data string
	// Identity returns the identity of a service by its name, such as
	// [mesh.DevCA.Identity]. The stack closes it. Required.
	Identity func(name string) (mesh.Identity, error)
	// Policy is the mesh policy's file; empty: the built-in one.
	Policy string
	// Traces makes a service's spans, by its name; nil: none.
	Traces func(name string) trace.TracerProvider
	// Logger gets what goes wrong. Required.
	Logger *slog.Logger
	// Grace is how long running calls may go on at the end; 0: 5 s.
	Grace time.Duration
}

// Stack is a running shop. It is safe for concurrent use.
type Stack struct {
	parts map[string]*part
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

// part is one service: what it is given, and what to close after it.
type part struct {
	options  service.Options
	mesh     *mesh.Mesh
	identity mesh.Identity
}

// Names returns the services of the shop.
func Names() []string {
	return []string{policy.Catalog, policy.Users, policy.Orders, policy.Payments, policy.Fleet}
}

// Start starts the services; they run until ctx ends, or until [Stack.Close]. When it
// returns, they take calls as soon as their files are open.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	ctx, stop := context.WithCancel(ctx)
	s := &Stack{parts: map[string]*part{}, stop: stop}
	defer func() {
		if err != nil {
			stop()
			for _, p := range s.parts {
				err = errors.Join(err, p.options.Listener.Close(), p.close())
			}
		}
	}()
	for _, name := range Names() {
		if s.parts[name], err = newPart(ctx, name, o); err != nil {
			delete(s.parts, name)
			return nil, fmt.Errorf("shop %s: %w", name, err)
		}
	}
	for name, run := range s.runs() {
		s.wg.Go(func() { s.run(ctx, name, run) })
	}
	return s, nil
}

func newPart(ctx context.Context, name string, o Options) (*part, error) {
	logger := o.Logger.With("service", name)
	identity, err := o.Identity(name)
	if err != nil {
		return nil, err
	}
	var traces trace.TracerProvider
	if o.Traces != nil {
		traces = o.Traces(name)
	}
	joined, err := service.Join(ctx, identity, o.Policy, traces, logger)
	if err != nil {
		return nil, errors.Join(err, identity.Close())
	}
	p := &part{mesh: joined, identity: identity}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.options = service.Options{
		Data: o.Data, Listener: listener, Mesh: joined, Logger: logger, Counters: &service.Counters{}, Grace: o.Grace,
	}
	return p, nil
}

func (p *part) close() error { return errors.Join(p.mesh.Close(), p.identity.Close()) }

func (s *Stack) runs() map[string]func(context.Context, service.Options) error {
	return map[string]func(context.Context, service.Options) error{
		policy.Catalog:  catalog.Run,
		policy.Users:    users.Run,
		policy.Payments: payments.Run,
		policy.Fleet:    fleet.Run,
		policy.Orders: func(ctx context.Context, o service.Options) error {
			return orders.Run(ctx, orders.Options{
				Options: o, Catalog: s.Target(policy.Catalog), Payments: s.Target(policy.Payments),
			})
		},
	}
}

// run runs one service. If it fails, all of them end.
func (s *Stack) run(ctx context.Context, name string, run func(context.Context, service.Options) error) {
	p := s.parts[name]
	if err := errors.Join(run(ctx, p.options), p.close()); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, fmt.Errorf("shop %s: %w", name, err))
		s.stop()
	}
}

// Target returns where a service is, as a gRPC target.
func (s *Stack) Target(name string) string {
	return "dns:///" + s.parts[name].options.Listener.Addr().String()
}

// Calls returns how often each method of a service was called since the start, by
// "package.Service/Method".
func (s *Stack) Calls(name string) map[string]int64 {
	return s.parts[name].options.Counters.Calls()
}

// Wait waits until all services have ended, and returns what went wrong.
func (s *Stack) Wait() error {
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// Close ends all services and waits for them.
func (s *Stack) Close() error {
	s.stop()
	return s.Wait()
}
