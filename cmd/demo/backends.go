package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/portico-bff/portico/cmd/shop/catalog"
	"github.com/portico-bff/portico/cmd/shop/fleet"
	"github.com/portico-bff/portico/cmd/shop/issuer"
	"github.com/portico-bff/portico/cmd/shop/orders"
	"github.com/portico-bff/portico/cmd/shop/payments"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/cmd/shop/users"
	"github.com/portico-bff/portico/mesh"
)

// grace is how long the services may take to end.
const grace = time.Second

// backends is everything behind Portico: the certificate authority, the token issuer and the services.
type backends struct {
	// socket is where Portico gets its identity, jwks where the issuer's keys are, targets where the services listen,
	// by the names that the configuration has for them.
	socket, jwks string
	targets      map[string]string

	issuer *issuer.Issuer
	ca     *mesh.DevCA
	keys   *http.Server
	stop   context.CancelFunc
	work   sync.WaitGroup

	// failed is closed when a part has ended by itself; err says why.
	failed chan struct{}
	once   sync.Once
	err    error

	closers []func() error
}

// openShop starts everything behind Portico. The services run until close.
func openShop(ctx context.Context, data string, logger *slog.Logger) (_ *backends, err error) {
	s := &backends{targets: map[string]string{}, failed: make(chan struct{})}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.openAuthorities(background, data); err != nil {
		return nil, err
	}
	listeners := map[string]net.Listener{}
	for _, name := range policy.Names() {
		if name == policy.Portico {
			continue
		}
		if listeners[name], err = loopback(ctx); err != nil {
			return nil, err
		}
		s.targets[strings.ToUpper(name)+"_TARGET"] = "passthrough:///" + listeners[name].Addr().String()
	}
	for name, lis := range listeners {
		if err := s.start(background, name, lis, data, logger); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openAuthorities starts the certificate authority and the token issuer.
func (s *backends) openAuthorities(ctx context.Context, data string) (err error) {
	if s.issuer, err = issuer.New(filepath.Join(data, "issuer")); err != nil {
		return fmt.Errorf("open the token issuer: %w", err)
	}
	if s.ca, err = mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: policy.TrustDomain, Dir: filepath.Join(data, "ca")}); err != nil {
		return err
	}
	s.closers = append(s.closers, s.ca.Close)
	// A path of a socket has room for about 100 characters: it cannot stand in a data folder of any name.
	sockets, err := os.MkdirTemp("", "portico-")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(sockets) })
	if err := s.ca.Serve(ctx, sockets, policy.Portico); err != nil {
		return err
	}
	s.socket = filepath.Join(sockets, policy.Portico+".sock")
	lis, err := loopback(ctx)
	if err != nil {
		return err
	}
	s.keys = &http.Server{Handler: s.issuer.Handler(), ReadHeaderTimeout: 5 * time.Second}
	s.work.Go(func() {
		if err := s.keys.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			s.fail(err)
		}
	})
	s.jwks = "http://" + lis.Addr().String() + issuer.JWKSPath
	return nil
}

// start runs one service.
func (s *backends) start(ctx context.Context, name string, lis net.Listener, data string, logger *slog.Logger) error {
	identity, err := s.ca.Identity(name)
	if err != nil {
		return err
	}
	logger = logger.With("service", name)
	member, err := service.Join(ctx, identity, "", nil, logger)
	if err != nil {
		return errors.Join(err, identity.Close())
	}
	o := service.Options{Data: filepath.Join(data, name), Listener: lis, Mesh: member, Logger: logger, Grace: grace}
	run := map[string]func(context.Context, service.Options) error{
		policy.Catalog: catalog.Run, policy.Users: users.Run, policy.Payments: payments.Run, policy.Fleet: fleet.Run,
		policy.Orders: func(ctx context.Context, o service.Options) error {
			return orders.Run(ctx, orders.Options{
				Options: o, Catalog: s.targets["CATALOG_TARGET"], Payments: s.targets["PAYMENTS_TARGET"],
			})
		},
	}[name]
	s.work.Go(func() {
		err := run(ctx, o)
		err = errors.Join(err, member.Close(), identity.Close())
		if ctx.Err() == nil {
			s.fail(fmt.Errorf("the service %s has ended: %w", name, err))
		}
	})
	return nil
}

// fail keeps the first reason why a part ended by itself.
func (s *backends) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.failed)
	})
}

// failure is why a part ended by itself; valid once failed is closed.
func (s *backends) failure() error { return s.err }

// token signs a token of the demo.
func (s *backends) token(subject, role string) (string, error) {
	return s.issuer.Token(subject, []string{role}, tokenLife, nil)
}

// close ends everything and waits for it.
func (s *backends) close() error {
	s.stop()
	var errs []error
	if s.keys != nil {
		errs = append(errs, s.keys.Close())
	}
	s.work.Wait()
	for _, f := range s.closers {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func loopback(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}
