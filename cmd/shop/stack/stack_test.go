package stack_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/cmd/shop/orders"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	"github.com/portico-bff/portico/cmd/shop/stack"
	"github.com/portico-bff/portico/mesh"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCA(t *testing.T) *mesh.DevCA {
	t.Helper()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: policy.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	return ca
}

func start(t *testing.T, ca *mesh.DevCA, data string, traces func(string) trace.TracerProvider) *stack.Stack {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Options{
		Data: data, Identity: ca.Identity, Logger: slog.New(slog.DiscardHandler), Traces: traces,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dial connects to a service as another program of the trust domain.
func dial(t *testing.T, ca *mesh.DevCA, as, target, expect string) *grpc.ClientConn {
	t.Helper()
	identity, err := ca.Identity(as)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := mesh.New(t.Context(), mesh.Options{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := joined.NewClient(target, mesh.ExpectIdentity(policy.ID(expect).String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		joined.Close()
		identity.Close()
	})
	return conn
}

// methods of all services, one each, by the service that has it.
func calls() map[string]func(context.Context, grpc.ClientConnInterface) error {
	return map[string]func(context.Context, grpc.ClientConnInterface) error{
		policy.Catalog: func(ctx context.Context, c grpc.ClientConnInterface) error {
			_, err := catalogv1.NewCatalogServiceClient(c).GetProduct(ctx, &catalogv1.GetProductRequest{ProductId: seed.ProductID(1)})
			return err
		},
		policy.Users: func(ctx context.Context, c grpc.ClientConnInterface) error {
			_, err := usersv1.NewUserServiceClient(c).GetUser(ctx, &usersv1.GetUserRequest{UserId: seed.CustomerID})
			return err
		},
		policy.Orders: func(ctx context.Context, c grpc.ClientConnInterface) error {
			_, err := ordersv1.NewOrderServiceClient(c).ListOrders(ctx, &ordersv1.ListOrdersRequest{})
			return err
		},
		policy.Payments: func(ctx context.Context, c grpc.ClientConnInterface) error {
			_, err := paymentsv1.NewPaymentServiceClient(c).GetPayment(ctx, &paymentsv1.GetPaymentRequest{PaymentId: seed.PaymentID(1)})
			return err
		},
		policy.Fleet: func(ctx context.Context, c grpc.ClientConnInterface) error {
			_, err := fleetv1.NewFleetServiceClient(c).GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: seed.BoxID(1)})
			return err
		},
	}
}

func TestWhoMayCallWhom(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	shop := start(t, ca, t.TempDir(), nil)
	allowed := map[string]map[string]bool{
		policy.Portico: {policy.Catalog: true, policy.Users: true, policy.Orders: true, policy.Fleet: true},
		policy.Orders:  {policy.Payments: true},
	}
	ctx := servicetest.As(t.Context(), seed.AdminID, "admin")
	for _, as := range append(policy.Names(), "stranger") {
		for name, call := range calls() {
			conn := dial(t, ca, as, shop.Target(name), name)
			want := codes.PermissionDenied
			if allowed[as][name] {
				want = codes.OK
			}
			if err := call(ctx, conn); status.Code(err) != want {
				t.Errorf("%s calls %s: got %v, want %v", as, name, err, want)
			}
			_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			if want := map[bool]codes.Code{true: codes.PermissionDenied}[as == "stranger"]; status.Code(err) != want {
				t.Errorf("%s asks for the health of %s: got %v, want %v", as, name, err, want)
			}
			err = reflects(ctx, conn)
			if want := map[bool]codes.Code{false: codes.PermissionDenied}[as == policy.Portico]; status.Code(err) != want {
				t.Errorf("%s reflects on %s: got %v, want %v", as, name, err, want)
			}
		}
	}
	// The header of a user counts from Portico alone.
	_, err := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Payments, shop.Target(policy.Orders), policy.Orders)).
		GetOrder(t.Context(), &ordersv1.GetOrderRequest{OrderId: seed.OrderID(1)})
	if err != nil {
		t.Errorf("payments looks up an order: %v", err)
	}
}

func reflects(ctx context.Context, conn grpc.ClientConnInterface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{ // its error is Recv's
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	_, err = stream.Recv()
	return err
}

func TestStrangersAreRefusedAtTheDoor(t *testing.T) {
	t.Parallel()
	shop := start(t, newCA(t), t.TempDir(), nil)
	foreign := newCA(t) // the same names, another root
	for name, call := range calls() {
		plain, err := grpc.NewClient(shop.Target(name), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { plain.Close() })
		for who, conn := range map[string]*grpc.ClientConn{
			"plaintext":  plain,
			"foreign CA": dial(t, foreign, policy.Portico, shop.Target(name), name),
		} {
			ctx, cancel := context.WithTimeout(servicetest.As(t.Context(), seed.AdminID, "admin"), 5*time.Second)
			if err := call(ctx, conn); status.Code(err) != codes.Unavailable {
				t.Errorf("%s calls %s: got %v", who, name, err)
			}
			cancel()
		}
		if got := shop.Calls(name); len(got) != 0 {
			t.Errorf("%s took calls: %v", name, got)
		}
	}
}

func TestFleetCannotPoseAsPayments(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	shop := start(t, ca, t.TempDir(), nil)
	identity, err := ca.Identity(policy.Orders)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	joined, err := service.Join(t.Context(), identity, "", nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- orders.Run(ctx, orders.Options{
			Options: service.Options{Data: t.TempDir(), Listener: listener, Mesh: joined, Logger: logger},
			Catalog: shop.Target(policy.Catalog), Payments: shop.Target(policy.Fleet), // somebody turned the name
		})
	}()
	client := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Portico, "dns:///"+listener.Addr().String(), policy.Orders))
	_, err = client.CreateOrder(servicetest.As(t.Context(), seed.CustomerID, "customer"), order("prd-0001", 1))
	servicetest.WantCode(t, err, codes.Unavailable)
	if got := shop.Calls(policy.Fleet); len(got) != 0 {
		t.Errorf("fleet took calls: %v", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	joined.Close()
}

func order(product string, quantity int32) *ordersv1.CreateOrderRequest {
	return &ordersv1.CreateOrderRequest{Items: []*ordersv1.OrderItem{{ProductId: product, Quantity: quantity}}}
}

func TestOrderCrossesServicesInOneTrace(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	spans := map[string]*tracetest.InMemoryExporter{}
	for _, name := range stack.Names() {
		spans[name] = tracetest.NewInMemoryExporter()
	}
	shop := start(t, ca, t.TempDir(), func(name string) trace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans[name]))
	})
	client := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Portico, shop.Target(policy.Orders), policy.Orders))
	id := trace.TraceID{1, 2, 3}
	ctx := trace.ContextWithRemoteSpanContext(servicetest.As(t.Context(), seed.CustomerID, "customer"),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{4}, TraceFlags: trace.FlagsSampled}))
	placed, err := client.CreateOrder(ctx, order("prd-0001", 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CancelOrder(ctx, &ordersv1.CancelOrderRequest{OrderId: placed.GetOrderId()}); err != nil {
		t.Fatal(err)
	}
	if err := shop.Close(); err != nil { // so that all spans have ended
		t.Fatal(err)
	}
	for name, want := range map[string]map[string]int64{
		policy.Catalog:  {"shop.catalog.v1.CatalogService/BatchGetProducts": 1},
		policy.Payments: {"shop.payments.v1.PaymentService/Charge": 1, "shop.payments.v1.PaymentService/Refund": 1},
		policy.Orders:   {"shop.orders.v1.OrderService/CreateOrder": 1, "shop.orders.v1.OrderService/CancelOrder": 1},
		policy.Users:    nil,
		policy.Fleet:    nil,
	} {
		if diff := cmp.Diff(want, shop.Calls(name)); diff != "" {
			t.Errorf("calls of %s (-want +got):\n%s", name, diff)
		}
		served := 0
		for _, span := range spans[name].GetSpans() {
			if span.SpanContext.TraceID() != id {
				t.Errorf("%s: span %s is of trace %v", name, span.Name, span.SpanContext.TraceID())
			}
			if span.SpanKind == trace.SpanKindServer {
				served++
			}
		}
		if served != len(want) {
			t.Errorf("%s has %d spans of calls served, want %d", name, served, len(want))
		}
	}
}

func TestDataIsKept(t *testing.T) {
	t.Parallel()
	ca, data := newCA(t), t.TempDir()
	ctx := servicetest.As(t.Context(), seed.CustomerID, "customer")
	first := start(t, ca, data, nil)
	placed, err := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Portico, first.Target(policy.Orders), policy.Orders)).
		CreateOrder(ctx, order("prd-0002", 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, ca, data, nil)
	client := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Portico, second.Target(policy.Orders), policy.Orders))
	found, err := client.GetOrder(ctx, &ordersv1.GetOrderRequest{OrderId: placed.GetOrderId()})
	if err != nil || found.GetTotal().GetMinorUnits() != placed.GetTotal().GetMinorUnits() {
		t.Errorf("got %v, %v, want %v", found, err, placed)
	}
	next, err := client.CreateOrder(ctx, order("prd-0002", 3))
	if err != nil || next.GetOrderId() <= placed.GetOrderId() {
		t.Errorf("got %v, %v", next, err)
	}
}

// A watcher must not hold up the end: its stream ends, and the stop takes far less than
// the grace.
func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	shop := start(t, ca, t.TempDir(), nil)
	ctx := servicetest.As(t.Context(), seed.AdminID, "admin")
	fleet := fleetv1.NewFleetServiceClient(dial(t, ca, policy.Portico, shop.Target(policy.Fleet), policy.Fleet))
	orders := ordersv1.NewOrderServiceClient(dial(t, ca, policy.Portico, shop.Target(policy.Orders), policy.Orders))
	readings, err := fleet.WatchReadings(ctx, &fleetv1.WatchReadingsRequest{BoxId: seed.BoxID(1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readings.Header(); err != nil {
		t.Fatal(err)
	}
	commands, err := fleet.WatchCommands(ctx, &fleetv1.WatchCommandsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	track, err := fleet.Track(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := track.Send(&fleetv1.TrackRequest{BoxId: seed.BoxID(1), Position: &fleetv1.Position{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := track.Recv(); err != nil {
		t.Fatal(err)
	}
	order, err := orders.WatchOrder(ctx, &ordersv1.WatchOrderRequest{OrderId: seed.OrderID(60)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := order.Recv(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := shop.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the stop took %v", took)
	}
	_, readingsErr := readings.Recv()
	_, commandsErr := commands.Recv()
	_, trackErr := track.Recv()
	_, orderErr := order.Recv()
	for _, err := range []error{readingsErr, commandsErr, trackErr, orderErr} {
		servicetest.WantCode(t, err, codes.Unavailable)
	}
}
