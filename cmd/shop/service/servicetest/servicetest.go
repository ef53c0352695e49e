// Package servicetest serves a shop service in memory for its tests: with all that is
// around a handler in a running service, but for the mesh.
package servicetest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service"
)

// headerPeer names the program that a test call comes from: Portico, if it is absent.
const headerPeer = "x-test-peer"

// Serve serves what register adds, for the length of the test, with the validation rules
// of the proto file. The logger gets what the service logs.
func Serve(tb testing.TB, file protoreflect.FileDescriptor, register func(grpc.ServiceRegistrar), logger *slog.Logger) *grpc.ClientConn {
	tb.Helper()
	validator, err := service.NewValidator(file)
	if err != nil {
		tb.Fatal(err)
	}
	chain := &service.Chain{
		Peer: peer, Trusted: []spiffeid.ID{policy.ID(policy.Portico)},
		Validator: validator, Counters: &service.Counters{}, Logger: logger,
	}
	server := grpc.NewServer(chain.ServerOptions()...)
	register(server)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Error(err)
		}
	})
	return conn
}

func peer(ctx context.Context) (spiffeid.ID, bool) {
	for _, name := range metadata.ValueFromIncomingContext(ctx, headerPeer) {
		return policy.ID(name), true
	}
	return policy.ID(policy.Portico), true
}

// As returns a context for calls that Portico makes for a user.
func As(ctx context.Context, user, roles string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, caller.HeaderUser, user, caller.HeaderRoles, roles)
}

// From returns a context for calls that another program of the shop makes.
func From(ctx context.Context, program string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, headerPeer, program)
}

// WantCode fails the test unless err has the code.
func WantCode(tb testing.TB, err error, code codes.Code) {
	tb.Helper()
	if status.Code(err) != code {
		tb.Errorf("got %v, want %v", err, code)
	}
}

// WantFields fails the test unless err is INVALID_ARGUMENT for just these fields.
func WantFields(tb testing.TB, err error, fields ...string) {
	tb.Helper()
	WantCode(tb, err, codes.InvalidArgument)
	var got []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				got = append(got, v.GetField())
			}
		}
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		tb.Errorf("fields (-want +got):\n%s", diff)
	}
}

// WantReason fails the test unless err has the code and the google.rpc reason.
func WantReason(tb testing.TB, err error, code codes.Code, reason string) {
	tb.Helper()
	WantCode(tb, err, code)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason {
			return
		}
	}
	tb.Errorf("got %v with %v, want reason %s", err, status.Convert(err).Details(), reason)
}
