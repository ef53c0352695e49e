package seed_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/seed"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

var now = time.Date(2026, 11, 23, 16, 7, 30, 0, time.UTC)

func TestSizes(t *testing.T) {
	t.Parallel()
	got := map[string]int{
		"users": len(seed.Users(now)), "orders": len(seed.Orders(now)), "payments": len(seed.Payments(now)),
		"boxes": len(seed.Boxes()), "readings": len(seed.Readings(now)), "commands": len(seed.Commands(now)),
	}
	want := map[string]int{"users": 20, "orders": 60, "payments": 60, "boxes": 6, "readings": 6 * 7 * 24 * 4, "commands": 8}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(seed.Products(now)); n < 40 {
		t.Errorf("%d products", n)
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(seed.Orders(now), seed.Orders(now), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(seed.Readings(now), seed.Readings(now), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// The services are filled apart from one another, and must fit.
func TestFits(t *testing.T) {
	t.Parallel()
	products := map[string]*catalogv1.Product{}
	soldOut := 0
	for _, p := range seed.Products(now) {
		products[p.GetProductId()] = p
		if p.GetStock() == 0 {
			soldOut++
		}
	}
	if soldOut != 1 {
		t.Errorf("%d products are sold out, want 1", soldOut)
	}
	users := map[string]*usersv1.User{}
	for _, u := range seed.Users(now) {
		users[u.GetUserId()] = u
	}
	if got := users[seed.AdminID].GetRole(); got != usersv1.Role_ROLE_ADMIN {
		t.Errorf("the admin is a %v", got)
	}
	orders := map[string]*ordersv1.Order{}
	byCustomer := map[string]int{}
	for _, o := range seed.Orders(now) {
		orders[o.GetOrderId()] = o
		byCustomer[o.GetCustomerId()]++
		if users[o.GetCustomerId()].GetRole() != usersv1.Role_ROLE_CUSTOMER {
			t.Errorf("%s belongs to %s, who is no customer", o.GetOrderId(), o.GetCustomerId())
		}
		var total int64
		for _, item := range o.GetItems() {
			p := products[item.GetProductId()]
			if diff := cmp.Diff(p.GetPrice(), item.GetUnitPrice(), protocmp.Transform()); diff != "" {
				t.Errorf("%s: %s: %s", o.GetOrderId(), item.GetProductId(), diff)
			}
			total += int64(item.GetQuantity()) * item.GetUnitPrice().GetMinorUnits()
		}
		if o.GetTotal().GetMinorUnits() != total {
			t.Errorf("%s: total %v, its items cost %d", o.GetOrderId(), o.GetTotal(), total)
		}
		if o.GetCreateTime().AsTime().After(now) || o.GetUpdateTime().AsTime().After(now) {
			t.Errorf("%s is from the future: %v", o.GetOrderId(), o)
		}
	}
	if byCustomer[seed.CustomerID] < 3 {
		t.Errorf("the demo's customer has %d orders", byCustomer[seed.CustomerID])
	}
	for _, p := range seed.Payments(now) {
		o := orders[p.GetOrderId()]
		if o.GetPaymentId() != p.GetPaymentId() || o.GetCustomerId() != p.GetCustomerId() ||
			o.GetTotal().GetMinorUnits() != p.GetAmount().GetMinorUnits() {
			t.Errorf("%v does not pay %v", p, o)
		}
	}
	for _, b := range seed.Boxes() {
		if got := orders[b.GetOrderId()].GetState(); got != ordersv1.OrderState_ORDER_STATE_SHIPPED {
			t.Errorf("%s carries %s, which is %v", b.GetBoxId(), b.GetOrderId(), got)
		}
	}
}

func TestReadingsEndNow(t *testing.T) {
	t.Parallel()
	readings := seed.Readings(now)
	first, last := readings[0].GetMeasureTime().AsTime(), readings[7*24*4-1].GetMeasureTime().AsTime()
	if want := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC); !last.Equal(want) {
		t.Errorf("the last reading is of %v, want %v", last, want)
	}
	if got := last.Sub(first); got != 7*24*time.Hour-15*time.Minute {
		t.Errorf("they span %v", got)
	}
	for _, c := range seed.Commands(now) {
		if !c.GetExpireTime().AsTime().Before(now) {
			t.Errorf("%v has not expired", c)
		}
	}
}
