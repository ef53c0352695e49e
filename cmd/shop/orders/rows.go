package orders

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/store"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
)

// unsettled is the state of an order that is not paid yet.
const unsettled = ordersv1.OrderState_ORDER_STATE_UNSPECIFIED

const columns = `number, order_id, customer_id, state, currency_code, minor_units, note, payment_id, labels,
	cancel_reason, create_time, update_time,
	(SELECT json_group_array(json_array(product_id, quantity, order_items.minor_units) ORDER BY position)
		FROM order_items WHERE order_number = number)`

const selectOrders = `SELECT ` + columns + ` FROM orders`

type row struct {
	number int64
	order  *ordersv1.Order
}

func scan(rows *sql.Rows) (row, error) {
	var (
		number, created, updated int64
		labels, items            string
		o                        = &ordersv1.Order{Total: &catalogv1.Money{}}
	)
	err := rows.Scan(&number, &o.OrderId, &o.CustomerId, &o.State, &o.Total.CurrencyCode, &o.Total.MinorUnits, &o.Note,
		&o.PaymentId, &labels, &o.CancelReason, &created, &updated, &items)
	if err != nil {
		return row{}, err
	}
	o.CreateTime, o.UpdateTime = store.Timestamp(created), store.Timestamp(updated)
	if err := json.Unmarshal([]byte(labels), &o.Labels); err != nil {
		return row{}, fmt.Errorf("labels of %s: %w", o.GetOrderId(), err)
	}
	var lines []line
	if err := json.Unmarshal([]byte(items), &lines); err != nil {
		return row{}, fmt.Errorf("items of %s: %w", o.GetOrderId(), err)
	}
	for _, l := range lines {
		o.Items = append(o.Items, &ordersv1.OrderItem{
			ProductId: l.product, Quantity: l.quantity,
			UnitPrice: &catalogv1.Money{CurrencyCode: o.GetTotal().GetCurrencyCode(), MinorUnits: l.minorUnits},
		})
	}
	return row{number: number, order: o}, nil
}

// line is an order item as the query returns it: a JSON array.
type line struct {
	product    string
	quantity   int32
	minorUnits int64
}

func (l *line) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&l.product, &l.quantity, &l.minorUnits})
}

func bare(rows []row) []*ordersv1.Order {
	all := make([]*ordersv1.Order, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.order)
	}
	return all
}

// insert adds an order and says which id it got.
func insert(ctx context.Context, tx *sql.Tx, o *ordersv1.Order) (id string, err error) {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	text, err := json.Marshal(labels)
	if err != nil {
		return "", err
	}
	var number int64
	err = tx.QueryRowContext(ctx, `INSERT INTO orders (customer_id, state, currency_code, minor_units, note, payment_id, labels,
		cancel_reason, create_time, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number, order_id`,
		o.GetCustomerId(), o.GetState(), o.GetTotal().GetCurrencyCode(), o.GetTotal().GetMinorUnits(), o.GetNote(),
		o.GetPaymentId(), string(text), o.GetCancelReason(), store.Nanos(o.GetCreateTime()), store.Nanos(o.GetUpdateTime()),
	).Scan(&number, &id)
	if err != nil {
		return "", fmt.Errorf("insert order: %w", err)
	}
	for i, item := range o.GetItems() {
		_, err := tx.ExecContext(ctx, `INSERT INTO order_items (order_number, position, product_id, quantity, minor_units)
			VALUES (?, ?, ?, ?, ?)`, number, i, item.GetProductId(), item.GetQuantity(), item.GetUnitPrice().GetMinorUnits())
		if err != nil {
			return "", fmt.Errorf("insert item %d: %w", i, err)
		}
	}
	return id, nil
}

// fill puts the demo's orders into a new file.
func fill(ctx context.Context, tx *sql.Tx) error {
	for _, o := range seed.Orders(time.Now()) {
		id, err := insert(ctx, tx, o)
		if err != nil {
			return err
		}
		if id != o.GetOrderId() {
			return fmt.Errorf("order %s became %s", o.GetOrderId(), id)
		}
	}
	return nil
}
