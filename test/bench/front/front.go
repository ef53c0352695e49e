// Package front holds Portico's contenders: programs that answer the same HTTP requests from the same gRPC service.
// [Floor] is as little as can be done; the others are what people would otherwise use.
package front

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Maker makes a contender for the service at an address, and a function that releases what it holds.
type Maker func(target string) (http.Handler, func() error, error)

// Makers are the contenders by name.
func Makers() map[string]Maker {
	return map[string]Maker{"floor": Floor, "grpc-gateway": Gateway, "vanguard": Vanguard}
}

// dial connects to the service as Portico does in this benchmark: one connection, in plain text.
func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// Serve answers requests at a listener until ctx ends.
func Serve(ctx context.Context, lis net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
