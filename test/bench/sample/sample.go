// Package sample makes the messages that the benchmarks move: an [Order] with more than fifty leaf values, about 650
// bytes in wire format and 1.4 kB as JSON, and a [Page] of such orders. Every field has a value, so that it makes no
// difference whether a contender writes fields without one.
package sample

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
)

// PageSize is how many orders a page has.
const PageSize = 50

// Five names five fields of an order: what a list shows.
const Five = "orderId,state,createTime,total,customer(displayName)"

// ID is the name of the order with this number.
func ID(i int) string { return fmt.Sprintf("ord-%010d", i) }

// Order makes the order with this number.
func Order(i int) *benchv1.Order {
	created := time.Date(2026, time.March, 1, 9, 30, i%60, 123_456_789, time.UTC)
	o := &benchv1.Order{
		OrderId:    ID(i),
		Customer:   &benchv1.Customer{CustomerId: fmt.Sprintf("usr-%04d", i%100), DisplayName: "Amélie Rochat", Email: "amelie@example.com"},
		State:      benchv1.OrderState_ORDER_STATE_SHIPPED,
		CreateTime: timestamppb.New(created),
		UpdateTime: timestamppb.New(created.Add(40 * time.Minute)),
		Subtotal:   euros(10_995),
		Tax:        euros(2_089),
		Total:      euros(13_084),
		ShippingAddress: &benchv1.Address{
			Street: "Rue de la Gare 17", PostalCode: "1003", City: "Lausanne", CountryCode: "CH",
		},
		Payment: &benchv1.Payment{
			PaymentId: fmt.Sprintf("pay-%010d", i), CardSuffix: "4242", Captured: true, CaptureTime: timestamppb.New(created.Add(time.Minute)),
		},
		Labels:           map[string]string{"channel": "mobile", "campaign": "spring", "warehouse": "lausanne-3"},
		Note:             "Please leave it with the neighbour on the second floor; \"the bell\" is broken, and the dog is friendly but not fond of parcels.",
		Revision:         int64(i) + 7,
		Gift:             true,
		WeightKg:         3.75,
		DeliveryEstimate: durationpb.New(26 * time.Hour),
		Tags:             []string{"cold", "fragile", "weekend"},
	}
	for j := range 4 {
		o.Items = append(o.Items, &benchv1.Item{
			ProductId: fmt.Sprintf("prd-%05d", i*4+j), Title: fmt.Sprintf("Chicken thighs, %d00 g", j+1), Quantity: int32(j + 1), UnitPrice: euros(int64(300*j + 99)),
		})
	}
	return o
}

func euros(cents int64) *benchv1.Money {
	return &benchv1.Money{CurrencyCode: "EUR", MinorUnits: cents}
}

// Page makes a page of orders.
func Page() *benchv1.ListOrdersResponse {
	page := &benchv1.ListOrdersResponse{NextPageToken: "after-50"}
	for i := range PageSize {
		page.Orders = append(page.Orders, Order(i))
	}
	return page
}
