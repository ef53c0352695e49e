package orders

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/store"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
)

// An order that is still unsettled after settleAfter belongs to nobody's call any more.
const (
	settleAfter = time.Minute
	settleEvery = time.Minute
)

// CancelOrder implements the service. An order that is cancelled already stays as it is;
// one that was shipped is FAILED_PRECONDITION.
func (s *Service) CancelOrder(ctx context.Context, req *ordersv1.CancelOrderRequest) (*ordersv1.Order, error) {
	v, err := userView(ctx)
	if err != nil {
		return nil, err
	}
	order, err := s.get(ctx, v, req.GetOrderId())
	if err != nil {
		return nil, err
	}
	switch order.GetState() {
	case ordersv1.OrderState_ORDER_STATE_CANCELLED:
		return order, nil
	case ordersv1.OrderState_ORDER_STATE_PAID, ordersv1.OrderState_ORDER_STATE_PACKING:
	default:
		return nil, refuse.Precondition("SHIPPED", "the order was shipped and cannot be cancelled any more", req.GetOrderId())
	}
	if err := s.refund(ctx, req.GetOrderId()); err != nil {
		return nil, answer("payments", err)
	}
	// The money is on its way back: the order is cancelled, whether or not the caller waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return s.move(ctx, req.GetOrderId(), change{state: ordersv1.OrderState_ORDER_STATE_CANCELLED, reason: req.GetReason()})
}

// A change is what happens to an order: its next state, and what is set with it.
type change struct {
	state           ordersv1.OrderState
	payment, reason string // "": as before
}

// move changes an order, and tells its watchers. The time of a change is later than that
// of the change before, whatever the clock says.
func (s *Service) move(ctx context.Context, id string, c change) (*ordersv1.Order, error) {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE orders SET state = ?, update_time = max(?, update_time + 1),
			payment_id = iif(? = '', payment_id, ?), cancel_reason = iif(? = '', cancel_reason, ?) WHERE order_id = ?`,
			c.state, time.Now().UnixNano(), c.payment, c.payment, c.reason, c.reason, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("move order %s to %v: %w", id, c.state, err)
	}
	order, err := s.get(ctx, view{all: true}, id)
	if err != nil {
		return nil, err
	}
	s.changes.Publish(id, order)
	return order, nil
}

// undo takes back an order that could not be paid: first the money, if any may have
// moved, then the order. What cannot be undone now is left to [Service.Settle].
func (s *Service) undo(ctx context.Context, id string, refund bool) {
	if refund {
		err := s.refund(ctx, id)
		if err != nil && status.Code(err) != codes.NotFound {
			s.logger.WarnContext(ctx, "refund is put off", "order_id", id, "error", err)
			return
		}
	}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM orders WHERE order_id = ? AND state = ?`, id, unsettled)
		return err
	})
	if err != nil {
		s.logger.WarnContext(ctx, "removing an unpaid order is put off", "order_id", id, "error", err)
	}
}

// Settle undoes the orders that a crash, or a payment service that was away, left unpaid
// before the given time.
func (s *Service) Settle(ctx context.Context, before time.Time) error {
	rows, err := s.db.Query(ctx, `SELECT order_id FROM orders WHERE state = 0 AND create_time < ?`, before.UnixNano())
	ids, err := store.Collect(rows, err, func(r *sql.Rows) (id string, err error) { return id, r.Scan(&id) })
	if err != nil {
		return fmt.Errorf("find unsettled orders: %w", err)
	}
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(ctx, settleTimeout)
		s.undo(ctx, id, true)
		cancel()
	}
	return nil
}

// settleLoop settles at once and every minute, until ctx ends.
func (s *Service) settleLoop(ctx context.Context) {
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for {
		if err := s.Settle(ctx, time.Now().Add(-settleAfter)); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "settling orders", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
