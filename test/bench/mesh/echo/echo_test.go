package echo_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/test/bench/mesh/client/calls"
	"github.com/portico-bff/portico/test/bench/mesh/echo"
)

func TestServe(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- echo.Serve(ctx, lis, "") }()
	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	reply := new(wrapperspb.BytesValue)
	if err := conn.Invoke(t.Context(), echo.Method, wrapperspb.Bytes([]byte("hello")), reply); err != nil || string(reply.GetValue()) != "hello" {
		t.Errorf("answer %q, error %v", reply.GetValue(), err)
	}
	var said strings.Builder
	if err := calls.Run(conn, echo.Method, strings.NewReader(""), &said); err != nil || said.String() != "ready\n" {
		t.Errorf("the client says %q, error %v", said.String(), err)
	}
	if err := calls.Run(conn, "/bench.v1.Echo/Other", strings.NewReader(""), io.Discard); err == nil {
		t.Error("a method that is not there: no error")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNoIdentity(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := echo.New(ctx, t.TempDir()); err == nil {
		t.Error("a folder without an identity: no error")
	}
}
