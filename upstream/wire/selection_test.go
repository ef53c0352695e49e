package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream/wire"
)

func pageType() protoreflect.MessageDescriptor {
	return (*ordersv1.ListOrdersResponse)(nil).ProtoReflect().Descriptor()
}

func orderType() protoreflect.MessageDescriptor {
	return (*ordersv1.Order)(nil).ProtoReflect().Descriptor()
}

// written writes a selection in one form.
func written(sel *wire.Selection) string {
	if sel == nil {
		return ""
	}
	var parts []string
	for _, f := range sel.Fields {
		s := string(f.Name)
		if f.Sub != nil {
			s += "(" + written(f.Sub) + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ",")
}

func TestParseFields(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, want string }{
		{"nextPageToken", "next_page_token"},
		{"next_page_token,orders", "next_page_token,orders"},
		{"orders(orderId,items(productId)),nextPageToken", "orders(order_id,items(product_id)),next_page_token"},
		{"orders.orderId,orders.total.currencyCode", "orders(order_id,total(currency_code))"},
		{"orders/orderId,orders/items/quantity", "orders(order_id,items(quantity))"},
		{"orders(total/minorUnits)", "orders(total(minor_units))"},
		{"orders.orderId,orders", "orders"},
		{"orders,orders.orderId", "orders"},
		{"orders(*),nextPageToken", "orders(order_id,customer_id,items,total,state,note,payment_id,create_time,update_time,labels,cancel_reason),next_page_token"},
		{"*", "orders,next_page_token"},
		{" orders ( orderId , note ) ", "orders(order_id,note)"},
	}
	for _, c := range cases {
		got, err := wire.ParseFields(pageType(), c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, written(got)); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

func TestParseFieldsErrors(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text, want string
		offset     int
	}{
		{"", `fields: a name is missing before ""`, 0},
		{"ordrs", `fields: unknown field "ordrs", did you mean "orders"?`, 0},
		{"orders(ordrId)", `fields: unknown field "ordrId", did you mean "orderId"?`, 7},
		{"orders(", `fields: a name is missing before ""`, 7},
		{"orders(orderId", `fields: a closing parenthesis is missing in "orders(orderId"`, 0},
		{"orders)", `fields: unexpected ")"`, 6},
		{"orders,", `fields: a name is missing before ""`, 7},
		{"orders,,nextPageToken", `fields: a name is missing before ",nextPageToken"`, 7},
		{"nextPageToken.x", `fields: nothing can be selected within "nextPageToken"`, 0},
		{"orders.createTime.seconds", `fields: nothing can be selected within "createTime"`, 7},
		{"orders.labels.x", `fields: nothing can be selected within "labels"`, 7},
		{strings.Repeat("x", 9000), `fields: longer than 8192 bytes: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."`, 0},
		{"*x", `fields: unknown field "*x"`, 0},
	}
	for _, c := range cases {
		_, err := wire.ParseFields(pageType(), c.text)
		e, ok := errors.AsType[*wire.FieldsError](err)
		if !ok || e.Error() != c.want || e.Offset != c.offset {
			t.Errorf("%.40s: got %v (%+v)", c.text, err, e)
		}
	}
}

func TestParseFieldsDepth(t *testing.T) {
	t.Parallel()
	md := loadWorld(t).root(0)
	if _, err := wire.ParseFields(md, strings.Repeat("recursiveMessage.", 31)+"optionalInt32"); err != nil {
		t.Error(err)
	}
	if _, err := wire.ParseFields(md, strings.Repeat("recursiveMessage(", 40)+"optionalInt32"+strings.Repeat(")", 40)); err == nil {
		t.Error("too deep a selection is accepted")
	}
}

func TestBadSelection(t *testing.T) {
	t.Parallel()
	for _, sel := range []*wire.Selection{
		{Fields: []wire.Selected{{Name: "nope"}}},
		{Fields: []wire.Selected{{Name: "order_id", Sub: &wire.Selection{}}}},
		{Fields: []wire.Selected{{Name: "items", Sub: &wire.Selection{Fields: []wire.Selected{{Name: "nope"}}}}}},
	} {
		if _, err := wire.NewRenderer(orderType(), sel, wire.RenderOptions{}); err == nil {
			t.Errorf("a renderer of %s is made", written(sel))
		}
		if _, err := wire.NewProjector(orderType(), sel); err == nil {
			t.Errorf("a projector of %s is made", written(sel))
		}
	}
}

func TestSelectionOrderAndAliases(t *testing.T) {
	t.Parallel()
	sel := &wire.Selection{Fields: []wire.Selected{
		{Name: "note", As: "text"},
		{Name: "order_id"},
		{Name: "note"},
		{Name: "total", Sub: &wire.Selection{Fields: []wire.Selected{{Name: "minor_units", As: "cents"}}}},
		{Name: "labels"},
		{Name: "items", Sub: &wire.Selection{}},
	}}
	r, err := wire.NewRenderer(orderType(), sel, wire.RenderOptions{NumericInt64: true})
	if err != nil {
		t.Fatal(err)
	}
	o := sampleOrder(1)
	o.Items = o.GetItems()[:2]
	o.Note = "n"
	got, err := r.Append([]byte("data: "), marshal(t, o))
	const want = `data: {"text":"n","orderId":"ord-0000000001","note":"n","total":{"cents":12345},` +
		`"labels":{"campaign":"spring","channel":"mobile","gift":"no","warehouse":"berlin-3"},"items":[{},{}]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
}

func TestProjector(t *testing.T) {
	t.Parallel()
	sel, err := wire.ParseFields(pageType(), "orders(items(productId),labels,createTime),nextPageToken")
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.NewProjector(pageType(), sel)
	if err != nil {
		t.Fatal(err)
	}
	page := samplePage()
	got, err := p.Append([]byte("x"), marshal(t, page))
	if err != nil {
		t.Fatal(err)
	}
	want := &ordersv1.ListOrdersResponse{NextPageToken: page.GetNextPageToken()}
	for _, o := range page.GetOrders() {
		short := &ordersv1.Order{Labels: o.GetLabels(), CreateTime: o.GetCreateTime()}
		for _, item := range o.GetItems() {
			short.Items = append(short.Items, &ordersv1.OrderItem{ProductId: item.GetProductId()})
		}
		want.Orders = append(want.Orders, short)
	}
	into := new(ordersv1.ListOrdersResponse)
	if err := proto.Unmarshal(got[1:], into); err != nil || got[0] != 'x' {
		t.Fatal(err)
	}
	if !proto.Equal(into, want) {
		t.Errorf("got %v\nwant %v", into, want)
	}
	if _, err := p.Append(nil, []byte{0x0a, 5, 1}); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	whole, err := wire.NewProjector(pageType(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := whole.Append(nil, []byte{0x12, 1, 'a'}); err != nil || string(got) != "\x12\x01a" {
		t.Errorf("got %x, %v", got, err)
	}
}
