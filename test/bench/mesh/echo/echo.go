// Package echo is the gRPC service that clients are measured with: bare grpc-go, so that it is the same for all of them.
package echo

import (
	"context"
	"net"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Method is the service's only one: it answers with what it is sent, a google.protobuf.BytesValue.
const Method = "/bench.v1.Echo/Echo"

// start is how long the identity may take to be there.
const start = 10 * time.Second

// New makes the server: with mutual TLS and the identity in a folder, or in plain text without a folder. release is
// called after the server has stopped.
func New(ctx context.Context, dir string) (s *grpc.Server, release func() error, err error) {
	release = func() error { return nil }
	var opts []grpc.ServerOption
	if dir != "" {
		ctx, cancel := context.WithTimeout(ctx, start)
		defer cancel()
		identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: dir})
		if err != nil {
			return nil, nil, err
		}
		release = identity.Close
		opts = append(opts, grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(identity, identity, tlsconfig.AuthorizeAny()))))
	}
	s = grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.v1.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: answer}},
	}, nil)
	return s, release, nil
}

func answer(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	message := new(wrapperspb.BytesValue)
	return message, decode(message)
}

// Serve answers calls at a listener until ctx ends; dir is [New]'s.
func Serve(ctx context.Context, lis net.Listener, dir string) error {
	s, release, err := New(ctx, dir)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, s.Stop)()
	if err := s.Serve(lis); err != nil {
		return err
	}
	return release()
}
