package seed

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// How many orders there are, and how many of the latest are on their way in a box.
const (
	orderCount   = 60
	shippedCount = 6
)

// OrderID returns the id of order n, counted from 1.
func OrderID(n int) string { return fmt.Sprintf("ord-%07d", n) }

// PaymentID returns the id of payment n, counted from 1.
func PaymentID(n int) string { return fmt.Sprintf("pay-%07d", n) }

// Orders returns the orders of the last weeks, the oldest first. Every customer has
// some; the latest are paid, packed or on their way, the others delivered or cancelled.
func Orders(now time.Time) []*ordersv1.Order {
	r := random(1)
	goods := goods()
	customers := len(people()) - 1 // the admin orders nothing
	notes := []string{"", "", "Ring twice, the bell is shy.", "Leave it with the neighbours.", "Second courtyard, blue door.", "Please call on arrival."}
	all := make([]*ordersv1.Order, 0, orderCount)
	for n := 1; n <= orderCount; n++ {
		placed := day(now).Add(-time.Duration(orderCount-n)*8*time.Hour - 2*time.Hour).Add(-time.Duration(r.IntN(360)) * time.Minute)
		o := &ordersv1.Order{
			OrderId:    OrderID(n),
			CustomerId: UserID(2 + (n-1)%customers),
			Total:      &catalogv1.Money{CurrencyCode: Currency},
			State:      stateOf(n),
			Note:       notes[r.IntN(len(notes))],
			PaymentId:  PaymentID(n),
			CreateTime: timestamppb.New(placed),
			UpdateTime: timestamppb.New(placed.Add(time.Duration(20+r.IntN(90)) * time.Minute)),
			Labels:     map[string]string{"channel": []string{"web", "mobile"}[r.IntN(2)]},
		}
		if o.GetState() == ordersv1.OrderState_ORDER_STATE_CANCELLED {
			o.CancelReason = "I ordered this twice."
		}
		for _, i := range r.Perm(len(goods))[:1+r.IntN(5)] {
			quantity := int32(1 + r.IntN(3))
			o.Items = append(o.Items, &ordersv1.OrderItem{
				ProductId: ProductID(i + 1),
				Quantity:  quantity,
				UnitPrice: &catalogv1.Money{CurrencyCode: Currency, MinorUnits: goods[i].cents},
			})
			o.Total.MinorUnits += int64(quantity) * goods[i].cents
		}
		all = append(all, o)
	}
	return all
}

func stateOf(n int) ordersv1.OrderState {
	switch back := orderCount - n; {
	case back < 4:
		return ordersv1.OrderState_ORDER_STATE_PAID
	case back < 8:
		return ordersv1.OrderState_ORDER_STATE_PACKING
	case back < 8+shippedCount:
		return ordersv1.OrderState_ORDER_STATE_SHIPPED
	case n%9 == 0:
		return ordersv1.OrderState_ORDER_STATE_CANCELLED
	default:
		return ordersv1.OrderState_ORDER_STATE_DELIVERED
	}
}

// Payments returns the payment of each order, the oldest first.
func Payments(now time.Time) []*paymentsv1.Payment {
	orders := Orders(now)
	all := make([]*paymentsv1.Payment, 0, len(orders))
	for _, o := range orders {
		p := &paymentsv1.Payment{
			PaymentId:  o.GetPaymentId(),
			OrderId:    o.GetOrderId(),
			CustomerId: o.GetCustomerId(),
			Amount:     o.GetTotal(),
			State:      paymentsv1.PaymentState_PAYMENT_STATE_CHARGED,
			CreateTime: o.GetCreateTime(),
		}
		if o.GetState() == ordersv1.OrderState_ORDER_STATE_CANCELLED {
			p.State = paymentsv1.PaymentState_PAYMENT_STATE_REFUNDED
		}
		all = append(all, p)
	}
	return all
}
