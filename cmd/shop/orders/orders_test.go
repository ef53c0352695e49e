package orders_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func customer(ctx context.Context) context.Context {
	return servicetest.As(ctx, seed.CustomerID, "customer")
}

func admin(ctx context.Context) context.Context { return servicetest.As(ctx, seed.AdminID, "admin") }

func nobody(ctx context.Context) context.Context { return ctx }

func payingService(ctx context.Context) context.Context { return servicetest.From(ctx, "payments") }

func anotherProgram(ctx context.Context) context.Context {
	return servicetest.From(admin(ctx), "fleet")
}

// mine returns the seeded orders of the demo's customer, the newest first.
func mine() []*ordersv1.Order {
	var all []*ordersv1.Order
	for _, o := range seed.Orders(time.Now()) {
		if o.GetCustomerId() == seed.CustomerID {
			all = append([]*ordersv1.Order{o}, all...)
		}
	}
	return all
}

func TestForeignOrdersDoNotExist(t *testing.T) {
	t.Parallel()
	s := start(t)
	own := mine()[0]
	foreign := seed.OrderID(1)
	both := &ordersv1.BatchGetOrdersRequest{OrderIds: []string{foreign, "ord-9999999", own.GetOrderId()}}
	for _, tt := range []struct {
		name         string
		as           func(context.Context) context.Context
		own, foreign codes.Code
		batch        []string
	}{
		{"the customer", customer, codes.OK, codes.NotFound, []string{own.GetOrderId()}},
		{"an admin", admin, codes.OK, codes.OK, []string{foreign, own.GetOrderId()}},
		{"the payment service", payingService, codes.OK, codes.OK, []string{foreign, own.GetOrderId()}},
		{"another program", anotherProgram, codes.Unauthenticated, codes.Unauthenticated, nil},
		{"nobody", nobody, codes.Unauthenticated, codes.Unauthenticated, nil},
	} {
		t.Log(tt.name)
		ctx := tt.as(t.Context())
		got, err := s.GetOrder(ctx, &ordersv1.GetOrderRequest{OrderId: own.GetOrderId()})
		servicetest.WantCode(t, err, tt.own)
		if err == nil {
			if diff := cmp.Diff(own, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		_, err = s.GetOrder(ctx, &ordersv1.GetOrderRequest{OrderId: foreign})
		servicetest.WantCode(t, err, tt.foreign)
		reply, err := s.BatchGetOrders(ctx, both)
		servicetest.WantCode(t, err, map[bool]codes.Code{true: codes.Unauthenticated}[tt.batch == nil])
		if diff := cmp.Diff(tt.batch, ids(reply.GetOrders())); diff != "" {
			t.Error(diff)
		}
	}
	// What a customer may not see, he may neither cancel nor watch; and the payment
	// service may look, not touch.
	_, err := s.CancelOrder(customer(t.Context()), &ordersv1.CancelOrderRequest{OrderId: foreign})
	servicetest.WantCode(t, err, codes.NotFound)
	_, err = s.CancelOrder(servicetest.From(t.Context(), "payments"), &ordersv1.CancelOrderRequest{OrderId: foreign})
	servicetest.WantCode(t, err, codes.Unauthenticated)
	stream, err := s.WatchOrder(customer(t.Context()), &ordersv1.WatchOrderRequest{OrderId: foreign})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	servicetest.WantCode(t, err, codes.NotFound)
}

func ids(orders []*ordersv1.Order) []string {
	var all []string
	for _, o := range orders {
		all = append(all, o.GetOrderId())
	}
	return all
}

func TestListOrders(t *testing.T) {
	t.Parallel()
	s := start(t)
	reply, err := s.ListOrders(customer(t.Context()), &ordersv1.ListOrdersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ids(mine()), ids(reply.GetOrders())); diff != "" {
		t.Error(diff)
	}
	req := &ordersv1.ListOrdersRequest{PageSize: 25}
	var got []string
	for range 3 {
		reply, err := s.ListOrders(admin(t.Context()), req)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ids(reply.GetOrders())...)
		req.PageToken = reply.GetNextPageToken()
	}
	if len(got) != 60 || got[0] != seed.OrderID(60) || got[59] != seed.OrderID(1) || req.GetPageToken() != "" {
		t.Errorf("got %d orders, next %q: %v", len(got), req.GetPageToken(), got)
	}
	reply, err = s.ListOrders(admin(t.Context()), &ordersv1.ListOrdersRequest{State: ordersv1.OrderState_ORDER_STATE_SHIPPED})
	if err != nil || len(reply.GetOrders()) != 6 {
		t.Errorf("got %d shipped orders, %v", len(reply.GetOrders()), err)
	}
	_, err = s.ListOrders(customer(t.Context()), &ordersv1.ListOrdersRequest{PageToken: "bogus"})
	servicetest.WantFields(t, err, "page_token")
}

// items makes lines of an order from words such as "prd-0001 x 2".
func items(lines ...string) []*ordersv1.OrderItem {
	var all []*ordersv1.OrderItem
	for _, line := range lines {
		product, count, _ := strings.Cut(line, " x ")
		quantity, _ := strconv.Atoi(count) // "": none
		all = append(all, &ordersv1.OrderItem{ProductId: product, Quantity: int32(quantity)})
	}
	return all
}

func TestCreateOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	req := &ordersv1.CreateOrderRequest{
		Items: items("prd-0001 x 2", "prd-0017 x 1", "prd-0001 x 1"), Note: "Ring twice.", Labels: map[string]string{"gift": "yes"},
	}
	req.Items[0].UnitPrice = &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 1} // what the client thinks does not count
	got, err := s.CreateOrder(customer(t.Context()), req)
	if err != nil {
		t.Fatal(err)
	}
	eur := func(cents int64) *catalogv1.Money { return &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: cents} }
	want := &ordersv1.Order{
		OrderId: seed.OrderID(61), CustomerId: seed.CustomerID, Note: "Ring twice.", Labels: map[string]string{"gift": "yes"},
		Items: []*ordersv1.OrderItem{
			{ProductId: "prd-0001", Quantity: 2, UnitPrice: eur(349)},
			{ProductId: "prd-0017", Quantity: 1, UnitPrice: eur(650)},
			{ProductId: "prd-0001", Quantity: 1, UnitPrice: eur(349)},
		},
		Total: eur(3*349 + 650), State: ordersv1.OrderState_ORDER_STATE_PAID, PaymentId: seed.PaymentID(61),
		CreateTime: got.GetCreateTime(), UpdateTime: got.GetUpdateTime(),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p := s.payment(t, got.GetPaymentId())
	if p.GetOrderId() != got.GetOrderId() || p.GetAmount().GetMinorUnits() != 1697 || p.GetCustomerId() != seed.CustomerID {
		t.Errorf("payment %v", p)
	}
	found, err := s.GetOrder(customer(t.Context()), &ordersv1.GetOrderRequest{OrderId: got.GetOrderId()})
	if diff := cmp.Diff(got, found, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

func TestRefusedOrders(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := customer(t.Context())
	_, err := s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1", "prd-9999 x 1", "prd-8888 x 1")})
	servicetest.WantFields(t, err, "items[1].product_id", "items[2].product_id")
	_, err = s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 0", " x 1")})
	servicetest.WantFields(t, err, "items[0].quantity", "items[1].product_id")
	_, err = s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{})
	servicetest.WantFields(t, err, "items")
	_, err = s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0027 x 1")})
	servicetest.WantReason(t, err, codes.FailedPrecondition, "OUT_OF_STOCK")
	// Together they are more than there are, though each line is not.
	_, err = s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0012 x 90", "prd-0012 x 90")})
	servicetest.WantReason(t, err, codes.FailedPrecondition, "OUT_OF_STOCK")
	_, err = s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0037 x 100")}) // more than the card's limit
	servicetest.WantReason(t, err, codes.FailedPrecondition, "CARD_DECLINED")
	_, err = s.CreateOrder(t.Context(), &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
	servicetest.WantCode(t, err, codes.Unauthenticated)
	_, err = s.CreateOrder(servicetest.As(t.Context(), "box-0001", "device"), &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
	servicetest.WantCode(t, err, codes.PermissionDenied)
	reply, err := s.ListOrders(ctx, &ordersv1.ListOrdersRequest{})
	if err != nil || len(reply.GetOrders()) != len(mine()) {
		t.Errorf("refused orders left traces: %v, %v", ids(reply.GetOrders()), err)
	}
}

func TestBackendsAway(t *testing.T) {
	t.Parallel()
	away, late, odd := status.Error(codes.Unavailable, "10.0.0.7 refused"), status.Error(codes.DeadlineExceeded, "late"), status.Error(codes.PermissionDenied, "secret policy")
	for _, tt := range []struct {
		name                                             string
		catalog, beforeCharge, afterCharge, beforeRefund error
		want                                             codes.Code
		text                                             string
		charged                                          bool // whatever happens, it is refunded in the end
	}{
		{"catalog away", away, nil, nil, nil, codes.Unavailable, "catalog cannot be reached", false},
		{"catalog late", late, nil, nil, nil, codes.DeadlineExceeded, "catalog did not answer in time", false},
		{"catalog refuses us", odd, nil, nil, nil, codes.Internal, "internal error", false},
		{"payments away", nil, away, nil, nil, codes.Unavailable, "payments cannot be reached", false},
		{"payments away for long", nil, away, nil, away, codes.Unavailable, "payments cannot be reached", false},
		{"answer lost", nil, nil, late, nil, codes.DeadlineExceeded, "payments did not answer in time", true},
		{"answer lost, then away", nil, nil, late, away, codes.DeadlineExceeded, "payments did not answer in time", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.catalog.err = tt.catalog
			s.payments.fail(tt.beforeCharge, tt.afterCharge, tt.beforeRefund)
			_, err := s.CreateOrder(customer(t.Context()), &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
			if got := status.Convert(err); got.Code() != tt.want || got.Message() != tt.text {
				t.Errorf("got %v", err)
			}
			// Back again: what is left is settled.
			s.payments.fail(nil, nil, nil)
			s.settle(t)
			p := s.payment(t, seed.PaymentID(61))
			if (p != nil) != tt.charged || tt.charged && p.GetState() != paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED {
				t.Errorf("payment %v", p)
			}
			reply, err := s.ListOrders(customer(t.Context()), &ordersv1.ListOrdersRequest{})
			if err != nil || len(reply.GetOrders()) != len(mine()) {
				t.Errorf("orders %v, %v", ids(reply.GetOrders()), err)
			}
			// The next order is none the worse.
			s.catalog.err = nil
			if _, err := s.CreateOrder(customer(t.Context()), &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSettleLeavesOrdersAlone(t *testing.T) {
	t.Parallel()
	s := start(t)
	placed, err := s.CreateOrder(customer(t.Context()), &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
	if err != nil {
		t.Fatal(err)
	}
	s.settle(t)
	if p := s.payment(t, placed.GetPaymentId()); p.GetState() != paymentsv1.PaymentState_PAYMENT_STATE_CHARGED {
		t.Errorf("payment %v", p)
	}
}

func TestCancelOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := customer(t.Context())
	placed, err := s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
	if err != nil {
		t.Fatal(err)
	}
	s.payments.fail(nil, nil, status.Error(codes.Unavailable, "away"))
	_, err = s.CancelOrder(ctx, &ordersv1.CancelOrderRequest{OrderId: placed.GetOrderId()})
	servicetest.WantCode(t, err, codes.Unavailable)
	s.payments.fail(nil, nil, nil)

	cancelled, err := s.CancelOrder(ctx, &ordersv1.CancelOrderRequest{OrderId: placed.GetOrderId(), Reason: "Too many apples."})
	if err != nil || cancelled.GetState() != ordersv1.OrderState_ORDER_STATE_CANCELLED || cancelled.GetCancelReason() != "Too many apples." {
		t.Fatalf("got %v, %v", cancelled, err)
	}
	if p := s.payment(t, placed.GetPaymentId()); p.GetState() != paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED {
		t.Errorf("payment %v", p)
	}
	again, err := s.CancelOrder(ctx, &ordersv1.CancelOrderRequest{OrderId: placed.GetOrderId(), Reason: "Another reason."})
	if diff := cmp.Diff(cancelled, again, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	for _, o := range seed.Orders(time.Now()) {
		want := codes.OK
		if o.GetState() == ordersv1.OrderState_ORDER_STATE_SHIPPED || o.GetState() == ordersv1.OrderState_ORDER_STATE_DELIVERED {
			want = codes.FailedPrecondition
		}
		_, err := s.CancelOrder(admin(t.Context()), &ordersv1.CancelOrderRequest{OrderId: o.GetOrderId()})
		servicetest.WantCode(t, err, want)
	}
}

func TestWatchOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := customer(t.Context())
	placed, err := s.CreateOrder(ctx, &ordersv1.CreateOrderRequest{Items: items("prd-0001 x 1")})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := s.WatchOrder(ctx, &ordersv1.WatchOrderRequest{OrderId: placed.GetOrderId()})
	if err != nil {
		t.Fatal(err)
	}
	present, err := stream.Recv()
	if diff := cmp.Diff(placed, present, protocmp.Transform()); diff != "" || err != nil {
		t.Fatalf("%v, (-want +got):\n%s", err, diff)
	}
	cancelled, err := s.CancelOrder(ctx, &ordersv1.CancelOrderRequest{OrderId: placed.GetOrderId()})
	if err != nil {
		t.Fatal(err)
	}
	changed, err := stream.Recv()
	if diff := cmp.Diff(cancelled, changed, protocmp.Transform()); diff != "" || err != nil {
		t.Fatalf("%v, (-want +got):\n%s", err, diff)
	}
	s.service.Stop()
	_, err = stream.Recv()
	servicetest.WantReason(t, err, codes.Unavailable, "STOPPING")
}
