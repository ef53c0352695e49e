package shop_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	"github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/protos/gen/shop/users/v1"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/schema/shop"
	"github.com/portico-bff/portico/upstream"
)

// stack answers for four services and counts their calls.
type stack struct {
	upstream.Caller
	mu    sync.Mutex
	calls []string
}

func (s *stack) Invoke(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	_, name, _ := strings.Cut(m.Name, "/")
	var out proto.Message
	switch name {
	case "ListOrders":
		out = &ordersv1.ListOrdersResponse{Orders: []*ordersv1.Order{
			{OrderId: "ord-1", CustomerId: "usr-1", State: ordersv1.OrderState_ORDER_STATE_PAID, Items: []*ordersv1.OrderItem{
				{ProductId: "prd-1", Quantity: 2, UnitPrice: &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 250}},
				{ProductId: "prd-2", Quantity: 1},
			}},
			{OrderId: "ord-2", CustomerId: "usr-1", Items: []*ordersv1.OrderItem{{ProductId: "prd-1", Quantity: 1}}, Labels: map[string]string{"gift": "yes"}},
		}}
	case "BatchGetUsers":
		in := &usersv1.BatchGetUsersRequest{}
		if err := proto.Unmarshal(req, in); err != nil {
			return upstream.Reply{}, err
		}
		name += " " + strings.Join(in.GetUserIds(), ",")
		out = &usersv1.BatchGetUsersResponse{Users: []*usersv1.User{{UserId: "usr-1", DisplayName: "Ada"}}}
	case "BatchGetProducts":
		in := &catalogv1.BatchGetProductsRequest{}
		if err := proto.Unmarshal(req, in); err != nil {
			return upstream.Reply{}, err
		}
		name += " " + strings.Join(in.GetProductIds(), ",")
		out = &catalogv1.BatchGetProductsResponse{Products: []*catalogv1.Product{{ProductId: "prd-2", Title: "Milk"}, {ProductId: "prd-1", Title: "Rye"}}}
	case "ListBoxes":
		out = &fleetv1.ListBoxesResponse{Boxes: []*fleetv1.Box{{BoxId: "box-1", Name: "Polar", OrderId: "ord-1"}, {BoxId: "box-2", Name: "Fjord"}}}
	case "BatchGetLatestReadings":
		out = &fleetv1.BatchGetLatestReadingsResponse{Readings: []*fleetv1.Reading{{BoxId: "box-2", Celsius: 3.5, Sequence: 42}}}
	case "BatchGetOrders":
		out = &ordersv1.BatchGetOrdersResponse{Orders: []*ordersv1.Order{{OrderId: "ord-1", CustomerId: "usr-1"}}}
	case "CreateOrder":
		in := &ordersv1.CreateOrderRequest{}
		if err := proto.Unmarshal(req, in); err != nil {
			return upstream.Reply{}, err
		}
		out = &ordersv1.Order{OrderId: "ord-9", Items: in.GetItems(), Note: in.GetNote(), Labels: in.GetLabels()}
	case "SendCommand":
		in := &fleetv1.SendCommandRequest{}
		if err := proto.Unmarshal(req, in); err != nil {
			return upstream.Reply{}, err
		}
		out = &fleetv1.Command{CommandId: "cmd-1", BoxId: in.GetBoxId(), Kind: in.GetKind(), Value: in.GetValue()}
	default:
		return upstream.Reply{}, status.Error(codes.Unimplemented, name)
	}
	s.mu.Lock()
	s.calls = append(s.calls, name)
	s.mu.Unlock()
	msg, err := proto.Marshal(out)
	return upstream.Reply{Message: msg}, err
}

func execute(t *testing.T, query string) (data string, calls []string) {
	t.Helper()
	s := compile(t)
	doc, errs := s.Parse("q", query)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	op, err := s.Compile(doc, doc.Operations[0])
	if err != nil {
		t.Fatal(err)
	}
	caller := &stack{}
	r := op.Execute(t.Context(), caller, nil)
	if len(r.Errors) > 0 {
		t.Fatal(r.Errors)
	}
	return string(r.Data), slices.Sorted(slices.Values(caller.calls))
}

func compile(t *testing.T) *schema.Schema {
	t.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		t.Fatal(err)
	}
	sdl, err := shop.SDL()
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.New(sdl, d, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFourServices asserts the calls of one query that crosses orders, users, catalog and fleet.
func TestFourServices(t *testing.T) {
	t.Parallel()
	data, calls := execute(t, `{
		orders(first: 2) { orders { id state customer { displayName } items { quantity unitPrice { minorUnits } product { title } } labels { key value } } nextPageToken }
		boxes { boxes { name latestReading { celsius sequence } order { id customer { displayName } } } }
	}`)
	wantCalls := []string{
		"BatchGetLatestReadings", "BatchGetOrders", "BatchGetProducts prd-1,prd-2", "BatchGetUsers usr-1", "BatchGetUsers usr-1", "ListBoxes", "ListOrders",
	}
	if diff := cmp.Diff(wantCalls, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	want := `{"orders":{"orders":[{"id":"ord-1","state":"PAID","customer":{"displayName":"Ada"},"items":[` +
		`{"quantity":2,"unitPrice":{"minorUnits":"250"},"product":{"title":"Rye"}},{"quantity":1,"unitPrice":null,"product":{"title":"Milk"}}],"labels":[]},` +
		`{"id":"ord-2","state":null,"customer":{"displayName":"Ada"},"items":[{"quantity":1,"unitPrice":null,"product":{"title":"Rye"}}],` +
		`"labels":[{"key":"gift","value":"yes"}]}],"nextPageToken":null},` +
		`"boxes":{"boxes":[{"name":"Polar","latestReading":null,"order":{"id":"ord-1","customer":{"displayName":"Ada"}}},` +
		`{"name":"Fjord","latestReading":{"celsius":3.5,"sequence":"42"},"order":null}]}}`
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestMutations(t *testing.T) {
	t.Parallel()
	data, _ := execute(t, `mutation {
		createOrder(input: {items: [{productId: "prd-1"}, {productId: "prd-2", quantity: 3}], note: "ring", labels: [{key: "a", value: "b"}]}) {
			id note items { productId quantity } labels { key value }
		}
		sendCommand(boxId: "box-1", kind: SET_TEMPERATURE, value: 4.5, ttlSeconds: 60) { id boxId kind value }
	}`)
	want := `{"createOrder":{"id":"ord-9","note":"ring","items":[{"productId":"prd-1","quantity":1},{"productId":"prd-2","quantity":3}],` +
		`"labels":[{"key":"a","value":"b"}]},"sendCommand":{"id":"cmd-1","boxId":"box-1","kind":"SET_TEMPERATURE","value":4.5}}`
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}
