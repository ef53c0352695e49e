package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the small HTTP servers beside the services.
const (
	httpTimeout = 10 * time.Second
	httpHeader  = 16 << 10
)

// serveHTTP serves a handler at an address until it is stopped. The pattern is one of
// [http.ServeMux].
func serveHTTP(ctx context.Context, address, pattern string, handler http.Handler, logger *slog.Logger) (stop func() error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(pattern, handler)
	server := &http.Server{
		Handler: mux, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: httpHeader,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.InfoContext(ctx, "serving HTTP", "address", listener.Addr().String(), "pattern", pattern)
	return func() error {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpTimeout)
		defer cancel()
		err := server.Shutdown(drain)
		if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve %s: %w", address, failed))
		}
		return err
	}, nil
}
