package backend_test

import (
	"context"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/test/bench/backend"
	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
	"github.com/portico-bff/portico/test/bench/sample"
)

func TestBackend(t *testing.T) {
	t.Parallel()
	lis := bufconn.Listen(1 << 16)
	server, err := backend.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///backend", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := benchv1.NewOrderServiceClient(conn)

	order, err := client.GetOrder(t.Context(), &benchv1.GetOrderRequest{OrderId: sample.ID(backend.Number)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample.Order(backend.Number), order, protocmp.Transform()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	page, err := client.ListOrders(t.Context(), &benchv1.ListOrdersRequest{PageSize: sample.PageSize})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample.Page(), page, protocmp.Transform()); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if _, err := client.GetOrder(t.Context(), &benchv1.GetOrderRequest{OrderId: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown order: error %v, want NotFound", err)
	}
	if _, err := client.ListOrders(t.Context(), &benchv1.ListOrdersRequest{PageSize: 1}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a page of one: error %v, want InvalidArgument", err)
	}
}
