package orders_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/catalog"
	"github.com/portico-bff/portico/cmd/shop/orders"
	"github.com/portico-bff/portico/cmd/shop/payments"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// shop is an order service with real backends, whose calls a test may break.
type shop struct {
	ordersv1.OrderServiceClient
	service  *orders.Service
	payments *brokenPayments
	catalog  *brokenCatalog
}

func start(t *testing.T) *shop {
	t.Helper()
	dir, logger := t.TempDir(), slog.New(slog.DiscardHandler)
	products, err := catalog.Open(t.Context(), filepath.Join(dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	money, err := payments.Open(t.Context(), filepath.Join(dir, "payments.db"))
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{
		catalog: &brokenCatalog{CatalogServiceClient: catalogv1.NewCatalogServiceClient(servicetest.Serve(t,
			catalogv1.File_shop_catalog_v1_catalog_proto,
			func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServiceServer(r, products) }, logger))},
		payments: &brokenPayments{PaymentServiceClient: paymentsv1.NewPaymentServiceClient(servicetest.Serve(t,
			paymentsv1.File_shop_payments_v1_payments_proto,
			func(r grpc.ServiceRegistrar) { paymentsv1.RegisterPaymentServiceServer(r, money) }, logger))},
	}
	s.service, err = orders.Open(t.Context(), filepath.Join(dir, "orders.db"),
		orders.Backends{Catalog: s.catalog, Payments: s.payments}, logger, policy.ID(policy.Payments))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.service.Close()
		money.Close()
		products.Close()
	})
	s.OrderServiceClient = ordersv1.NewOrderServiceClient(servicetest.Serve(t, ordersv1.File_shop_orders_v1_orders_proto,
		func(r grpc.ServiceRegistrar) { ordersv1.RegisterOrderServiceServer(r, s.service) }, logger))
	return s
}

// settle undoes all unpaid orders, however young.
func (s *shop) settle(t *testing.T) {
	t.Helper()
	if err := s.service.Settle(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// brokenPayments fails calls, before or after they reached the service.
type brokenPayments struct {
	paymentsv1.PaymentServiceClient
	mu                                      sync.Mutex
	beforeCharge, afterCharge, beforeRefund error
}

func (b *brokenPayments) fail(beforeCharge, afterCharge, beforeRefund error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beforeCharge, b.afterCharge, b.beforeRefund = beforeCharge, afterCharge, beforeRefund
}

func (b *brokenPayments) Charge(ctx context.Context, in *paymentsv1.ChargeRequest, opts ...grpc.CallOption) (*paymentsv1.Payment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beforeCharge != nil {
		return nil, b.beforeCharge
	}
	p, err := b.PaymentServiceClient.Charge(ctx, in, opts...)
	if b.afterCharge != nil {
		return nil, b.afterCharge
	}
	return p, err
}

func (b *brokenPayments) Refund(ctx context.Context, in *paymentsv1.RefundRequest, opts ...grpc.CallOption) (*paymentsv1.Payment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beforeRefund != nil {
		return nil, b.beforeRefund
	}
	return b.PaymentServiceClient.Refund(ctx, in, opts...)
}

// payment returns the payment with a number, if there is one.
func (s *shop) payment(t *testing.T, id string) *paymentsv1.Payment {
	t.Helper()
	p, err := s.payments.GetPayment(t.Context(), &paymentsv1.GetPaymentRequest{PaymentId: id})
	if err != nil {
		return nil
	}
	return p
}

type brokenCatalog struct {
	catalogv1.CatalogServiceClient
	err error
}

func (b *brokenCatalog) BatchGetProducts(ctx context.Context, in *catalogv1.BatchGetProductsRequest, opts ...grpc.CallOption) (*catalogv1.BatchGetProductsResponse, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.CatalogServiceClient.BatchGetProducts(ctx, in, opts...)
}
