// Package payments is the demo's payment service: it charges an order once and refunds
// it in full. The mesh lets the order service alone call it. [Open] makes it, [Run] runs
// it as a program.
package payments

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/store"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// cardLimit is the highest amount that the demo's cards pay at once, in minor units: a
// charge above it is declined.
const cardLimit = 2_000_00

//go:embed migrations/*.sql
var migrations embed.FS

// Service implements shop.payments.v1.PaymentService. It is safe for concurrent use.
// Close it.
type Service struct {
	paymentsv1.UnimplementedPaymentServiceServer
	db *store.DB
}

var _ paymentsv1.PaymentServiceServer = (*Service)(nil)

// Open opens the payments in their file; a new file gets the payments of the demo's orders.
func Open(ctx context.Context, path string) (*Service, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, path, store.Schema{Migrations: files, Seed: fill})
	if err != nil {
		return nil, err
	}
	return &Service{db: db}, nil
}

// Close closes the file.
func (s *Service) Close() error { return s.db.Close() }

// Charge implements the service. A second charge for the same order gives the first
// payment, if it is for the same customer and amount, and was not refunded meanwhile.
func (s *Service) Charge(ctx context.Context, req *paymentsv1.ChargeRequest) (*paymentsv1.Payment, error) {
	amount := req.GetAmount()
	switch {
	case amount.GetCurrencyCode() != seed.Currency:
		return nil, refuse.Invalid("amount.currency_code", "only "+seed.Currency+" is taken")
	case amount.GetMinorUnits() <= 0:
		return nil, refuse.Invalid("amount.minor_units", "must be more than zero")
	case amount.GetMinorUnits() > cardLimit:
		return nil, refuse.Precondition("CARD_DECLINED", "the card was declined", req.GetCustomerId())
	}
	var paid *paymentsv1.Payment
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO payments (order_id, customer_id, currency_code, minor_units, state, create_time)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (order_id) DO NOTHING`,
			req.GetOrderId(), req.GetCustomerId(), amount.GetCurrencyCode(), amount.GetMinorUnits(),
			paymentsv1.PaymentState_PAYMENT_STATE_CHARGED, time.Now().UnixNano())
		if err != nil {
			return err
		}
		paid, err = one(tx.QueryRowContext(ctx, selectBy+`order_id = ?`, req.GetOrderId()))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("charge %s: %w", req.GetOrderId(), err)
	}
	switch {
	case paid.GetCustomerId() != req.GetCustomerId() || paid.GetAmount().GetMinorUnits() != amount.GetMinorUnits():
		return nil, refuse.Precondition("CHARGED_DIFFERENTLY", "this order was charged before, for another customer or amount", req.GetOrderId())
	case paid.GetState() == paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED:
		return nil, refuse.Precondition("REFUNDED", "the payment of this order was refunded", req.GetOrderId())
	}
	return paid, nil
}

// Refund implements the service. A second refund gives the same answer as the first.
func (s *Service) Refund(ctx context.Context, req *paymentsv1.RefundRequest) (*paymentsv1.Payment, error) {
	var payment *paymentsv1.Payment
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE payments SET state = ? WHERE order_id = ?`,
			paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED, req.GetOrderId())
		if err != nil {
			return err
		}
		payment, err = one(tx.QueryRowContext(ctx, selectBy+`order_id = ?`, req.GetOrderId()))
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, refuse.NotFound("Payment", "of order "+req.GetOrderId())
	}
	if err != nil {
		return nil, fmt.Errorf("refund %s: %w", req.GetOrderId(), err)
	}
	return payment, nil
}

// GetPayment implements the service.
func (s *Service) GetPayment(ctx context.Context, req *paymentsv1.GetPaymentRequest) (*paymentsv1.Payment, error) {
	payment, err := one(s.db.QueryRow(ctx, selectBy+`payment_id = ?`, req.GetPaymentId()))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, refuse.NotFound("Payment", req.GetPaymentId())
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", req.GetPaymentId(), err)
	}
	return payment, nil
}

const selectBy = `SELECT payment_id, order_id, customer_id, currency_code, minor_units, state, create_time FROM payments WHERE `

func one(row *sql.Row) (*paymentsv1.Payment, error) {
	var charged int64
	p := &paymentsv1.Payment{Amount: &catalogv1.Money{}}
	err := row.Scan(&p.PaymentId, &p.OrderId, &p.CustomerId, &p.Amount.CurrencyCode, &p.Amount.MinorUnits, &p.State, &charged)
	p.CreateTime = store.Timestamp(charged)
	return p, err
}

// fill puts the payments of the demo's orders into a new file.
func fill(ctx context.Context, tx *sql.Tx) error {
	for _, p := range seed.Payments(time.Now()) {
		_, err := tx.ExecContext(ctx, `INSERT INTO payments (order_id, customer_id, currency_code, minor_units, state, create_time)
			VALUES (?, ?, ?, ?, ?, ?)`,
			p.GetOrderId(), p.GetCustomerId(), p.GetAmount().GetCurrencyCode(), p.GetAmount().GetMinorUnits(),
			p.GetState(), store.Nanos(p.GetCreateTime()))
		if err != nil {
			return fmt.Errorf("payment of %s: %w", p.GetOrderId(), err)
		}
	}
	return nil
}
