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
	"time"

	"github.com/portico-bff/portico/cmd/shop/issuer"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/stack"
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
	// failed is closed when a service has ended by itself.
	failed chan struct{}

	issuer   *issuer.Issuer
	services *stack.Stack
	closers  []func() error // in the order of opening
}

// openBackends starts everything behind Portico. It runs until close.
func openBackends(ctx context.Context, data string, logger *slog.Logger) (_ *backends, err error) {
	b := &backends{targets: map[string]string{}, failed: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.closers = append(b.closers, func() error { stop(); return nil })
	ca, err := b.openAuthority(background, data)
	if err != nil {
		return nil, fmt.Errorf("open the certificate authority: %w", err)
	}
	if err := b.openIssuer(ctx, data, logger); err != nil {
		return nil, fmt.Errorf("open the token issuer: %w", err)
	}
	b.services, err = stack.Start(background, stack.Options{Data: data, Identity: ca.Identity, Logger: logger, Grace: grace})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.services.Close)
	for _, name := range stack.Names() {
		b.targets[strings.ToUpper(name)+"_TARGET"] = b.services.Target(name)
	}
	go func() { // ends with the services
		_ = b.services.Wait() // close tells why
		close(b.failed)
	}()
	return b, nil
}

// openAuthority starts the certificate authority, with a Workload API socket for Portico.
func (b *backends) openAuthority(ctx context.Context, data string) (*mesh.DevCA, error) {
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: policy.TrustDomain, Dir: filepath.Join(data, "ca")})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, ca.Close)
	// The path of a socket has room for about 100 characters: it cannot stand in a data folder of any name.
	sockets, err := os.MkdirTemp("", "portico-")
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(sockets) })
	b.socket = filepath.Join(sockets, policy.Portico+".sock")
	return ca, ca.Serve(ctx, sockets, policy.Portico)
}

// openIssuer serves the issuer's keys.
func (b *backends) openIssuer(ctx context.Context, data string, logger *slog.Logger) (err error) {
	if b.issuer, err = issuer.New(filepath.Join(data, "issuer")); err != nil {
		return err
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.jwks = "http://" + lis.Addr().String() + issuer.JWKSPath
	server := &http.Server{Handler: b.issuer.Handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "the token issuer has ended", "error", err)
		}
	}()
	b.closers = append(b.closers, func() error {
		err := server.Close()
		<-served
		return err
	})
	return nil
}

// token signs a token of the demo.
func (b *backends) token(subject, role string) (string, error) {
	return b.issuer.Token(subject, []string{role}, tokenLife, nil)
}

// close ends everything, the last first, and waits for it.
func (b *backends) close() error {
	var errs []error
	for i := range b.closers {
		errs = append(errs, b.closers[len(b.closers)-1-i]())
	}
	return errors.Join(errs...)
}
