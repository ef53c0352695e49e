package payments_test

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/payments"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

func start(t *testing.T) paymentsv1.PaymentServiceClient {
	t.Helper()
	s, err := payments.Open(t.Context(), filepath.Join(t.TempDir(), "payments.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return paymentsv1.NewPaymentServiceClient(servicetest.Serve(t, paymentsv1.File_shop_payments_v1_payments_proto,
		func(r grpc.ServiceRegistrar) { paymentsv1.RegisterPaymentServiceServer(r, s) }, slog.New(slog.DiscardHandler)))
}

func charge(order string, cents int64) *paymentsv1.ChargeRequest {
	return &paymentsv1.ChargeRequest{
		OrderId: order, CustomerId: "usr-0003", Amount: &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: cents},
	}
}

func TestChargeOnce(t *testing.T) {
	t.Parallel()
	client := start(t)
	var wg sync.WaitGroup
	paid := make([]*paymentsv1.Payment, 8)
	for i := range paid {
		wg.Go(func() {
			var err error
			if paid[i], err = client.Charge(t.Context(), charge("ord-0000061", 1250)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := &paymentsv1.Payment{
		PaymentId: "pay-0000061", OrderId: "ord-0000061", CustomerId: "usr-0003",
		Amount: &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 1250}, State: paymentsv1.PaymentState_PAYMENT_STATE_CHARGED,
		CreateTime: paid[0].GetCreateTime(),
	}
	for _, p := range paid {
		if diff := cmp.Diff(want, p, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if age := time.Since(want.GetCreateTime().AsTime()); age < 0 || age > time.Minute {
		t.Errorf("it was charged %v ago", age)
	}
	_, err := client.Charge(t.Context(), charge("ord-0000061", 1251))
	servicetest.WantReason(t, err, codes.FailedPrecondition, "CHARGED_DIFFERENTLY")
}

func TestRefund(t *testing.T) {
	t.Parallel()
	client := start(t)
	if _, err := client.Charge(t.Context(), charge("ord-0000061", 100)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := client.Refund(t.Context(), &paymentsv1.RefundRequest{OrderId: "ord-0000061"})
		if err != nil || p.GetState() != paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED {
			t.Errorf("got %v, %v", p, err)
		}
	}
	_, err := client.Charge(t.Context(), charge("ord-0000061", 100))
	servicetest.WantReason(t, err, codes.FailedPrecondition, "REFUNDED")
	_, err = client.Refund(t.Context(), &paymentsv1.RefundRequest{OrderId: "ord-9999999"})
	servicetest.WantCode(t, err, codes.NotFound)
}

func TestRefusedCharges(t *testing.T) {
	t.Parallel()
	client := start(t)
	_, err := client.Charge(t.Context(), charge("o", 200_001))
	servicetest.WantReason(t, err, codes.FailedPrecondition, "CARD_DECLINED")
	_, err = client.Charge(t.Context(), charge("o", 0))
	servicetest.WantFields(t, err, "amount.minor_units")
	_, err = client.Charge(t.Context(), &paymentsv1.ChargeRequest{
		OrderId: "o", CustomerId: "c", Amount: &catalogv1.Money{CurrencyCode: "USD", MinorUnits: 1},
	})
	servicetest.WantFields(t, err, "amount.currency_code")
	_, err = client.Charge(t.Context(), &paymentsv1.ChargeRequest{})
	servicetest.WantFields(t, err, "order_id", "customer_id", "amount")
	_, err = client.GetPayment(t.Context(), &paymentsv1.GetPaymentRequest{PaymentId: "pay-0000061"})
	servicetest.WantCode(t, err, codes.NotFound)
}

func TestSeed(t *testing.T) {
	t.Parallel()
	client := start(t)
	for _, want := range seed.Payments(time.Now()) {
		got, err := client.GetPayment(t.Context(), &paymentsv1.GetPaymentRequest{PaymentId: want.GetPaymentId()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}
