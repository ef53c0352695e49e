package wire_test

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream/wire"
)

// sampleOrder is an order with more than fifty leaf values.
func sampleOrder(i int) *ordersv1.Order {
	o := &ordersv1.Order{
		OrderId: fmt.Sprintf("ord-%010d", i), CustomerId: fmt.Sprintf("usr-%04d", i%100), State: ordersv1.OrderState_ORDER_STATE_SHIPPED,
		Total:      &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 12345},
		Note:       "Please leave it with the neighbour on the second floor, the bell is broken.",
		PaymentId:  fmt.Sprintf("pay-%010d", i),
		CreateTime: &timestamppb.Timestamp{Seconds: 1_767_225_600 + int64(i), Nanos: 123_456_789},
		UpdateTime: &timestamppb.Timestamp{Seconds: 1_767_229_200 + int64(i)},
		Labels:     map[string]string{"channel": "mobile", "campaign": "spring", "gift": "no", "warehouse": "berlin-3"},
	}
	for j := range 8 {
		o.Items = append(o.Items, &ordersv1.OrderItem{
			ProductId: fmt.Sprintf("prd-%05d", i*8+j), Quantity: int32(j + 1),
			UnitPrice: &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: int64(300*j + 99)},
		})
	}
	return o
}

func samplePage() *ordersv1.ListOrdersResponse {
	p := &ordersv1.ListOrdersResponse{NextPageToken: "eyJvIjo1MH0"}
	for i := range 50 {
		p.Orders = append(p.Orders, sampleOrder(i))
	}
	return p
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func renderer(tb testing.TB, md protoreflect.MessageDescriptor, fields string) *wire.Renderer {
	tb.Helper()
	var sel *wire.Selection
	if fields != "" {
		var err error
		if sel, err = wire.ParseFields(md, fields); err != nil {
			tb.Fatal(err)
		}
	}
	r, err := wire.NewRenderer(md, sel, wire.RenderOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// fiveFields are the five fields of an order that a list shows.
const fiveFields = "orderId,state,total,createTime,customerId"

// benchRender runs ours, in all of its ways, against protojson over generated code.
func benchRender(b *testing.B, m proto.Message, r *wire.Renderer) {
	b.Helper()
	msg := marshal(b, m)
	for _, way := range []struct {
		name   string
		render func(dst, msg []byte) ([]byte, error)
	}{{"wire", r.Append}, {"wire-any-order", r.AppendAnyOrder}, {"wire-indexed", r.AppendIndexed}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = way.render(buf[:0], msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			into := m.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(msg, into); err != nil {
				b.Fatal(err)
			}
			var err error
			if buf, err = (protojson.MarshalOptions{}).MarshalAppend(buf[:0], into); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(msg, m.ProtoReflect().New().Interface()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRenderOrder(b *testing.B) {
	o := sampleOrder(7)
	benchRender(b, o, renderer(b, o.ProtoReflect().Descriptor(), ""))
}

func BenchmarkRenderPage(b *testing.B) {
	p := samplePage()
	benchRender(b, p, renderer(b, p.ProtoReflect().Descriptor(), ""))
}

func BenchmarkRenderFive(b *testing.B) {
	o := sampleOrder(7)
	benchRender(b, o, renderer(b, o.ProtoReflect().Descriptor(), fiveFields))
}

func BenchmarkParse(b *testing.B) {
	o := sampleOrder(7)
	text, err := protojson.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	p, err := wire.NewParser(o.ProtoReflect().Descriptor(), wire.ParseOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			if buf, err = p.Append(buf[:0], text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			into := new(ordersv1.Order)
			if err := protojson.Unmarshal(text, into); err != nil {
				b.Fatal(err)
			}
			if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], into); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	o := sampleOrder(7)
	msg := marshal(b, o)
	c, err := wire.NewCanonicalizer(o.ProtoReflect().Descriptor(), wire.ParseOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		if buf, err = c.Append(buf[:0], msg); err != nil {
			b.Fatal(err)
		}
	}
}

// keysRequest is the request of a batch for the customers of a page of orders, with a mask: composed by a template and, as
// the slower way, by a builder.
type keysRequest struct {
	builder    *wire.Builder
	ids, token *wire.Slot
	size       *wire.Slot
	number     []byte
	template   *wire.Template
	key        *wire.Path
	orders     []wire.Value
}

func newKeysRequest(tb testing.TB) *keysRequest {
	tb.Helper()
	file := protodesc.ToFileDescriptorProto(new(ordersv1.ListOrdersRequest).ProtoReflect().Descriptor().ParentFile())
	file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{Name: new("Lookup"), Field: []*descriptorpb.FieldDescriptorProto{
		{Name: new("ids"), Number: new(int32(3)), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()},
		{Name: new("list"), Number: new(int32(1)), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: new(".shop.orders.v1.ListOrdersRequest")},
	}})
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		tb.Fatal(err)
	}
	b := wire.NewBuilder(fd.Messages().ByName("Lookup"), wire.ParseOptions{})
	slot := func(path string) *wire.Slot {
		s, err := b.Slot(path)
		if err != nil {
			tb.Fatal(err)
		}
		return s
	}
	r := &keysRequest{builder: b, ids: slot("ids"), token: slot("list.page_token"), size: slot("list.page_size"), number: []byte("50")}
	if r.template, err = b.Template(r.ids, r.token, r.size); err != nil {
		tb.Fatal(err)
	}
	page := samplePage()
	md := page.ProtoReflect().Descriptor()
	orders, err := wire.NewPath(md, "orders")
	if err != nil {
		tb.Fatal(err)
	}
	orders.All(marshal(tb, page), func(v wire.Value) bool {
		r.orders = append(r.orders, v)
		return true
	})
	if r.key, err = wire.NewPath(md.Fields().ByName("orders").Message(), "customer_id"); err != nil {
		tb.Fatal(err)
	}
	return r
}

func (r *keysRequest) compose(dst []byte) ([]byte, error) {
	return r.template.Append(dst, func(i int, to *wire.Target) error {
		switch i {
		case 0:
			for _, order := range r.orders {
				v, _ := r.key.First(order.Raw())
				if err := to.SetValue(v); err != nil {
					return err
				}
			}
			return nil
		case 1:
			return to.SetText("eyJvIjo1MH0")
		default:
			return to.SetJSON(r.number)
		}
	})
}

func (r *keysRequest) build(dst []byte) ([]byte, error) {
	m := r.builder.New()
	for _, order := range r.orders {
		v, _ := r.key.First(order.Raw())
		if err := m.SetValue(r.ids, v); err != nil {
			return nil, err
		}
	}
	if err := m.SetText(r.token, "eyJvIjo1MH0"); err != nil {
		return nil, err
	}
	if err := m.SetJSON(r.size, r.number); err != nil {
		return nil, err
	}
	return m.Append(dst)
}

func BenchmarkRequest(b *testing.B) {
	r := newKeysRequest(b)
	one := *r
	one.orders = one.orders[:1]
	for _, c := range []struct {
		name string
		make func(dst []byte) ([]byte, error)
	}{{"template/1", one.compose}, {"builder/1", one.build}, {"template/50", r.compose}, {"builder/50", r.build}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = c.make(buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocations guards what runs for every request: none of it allocates once its buffers have grown.
func TestAllocations(t *testing.T) { //nolint:paralleltest // AllocsPerRun forbids it
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	o := sampleOrder(7)
	md := o.ProtoReflect().Descriptor()
	msg := marshal(t, o)
	text, err := protojson.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	all, five := renderer(t, md, ""), renderer(t, md, fiveFields)
	parser, err := wire.NewParser(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := wire.NewCanonicalizer(md, wire.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeysRequest(t)
	scalar := func(path string) func() error {
		p := must(wire.NewPath(md, path))(t)
		raw := make([]byte, 0, 64)
		return func() error {
			p.All(msg, func(v wire.Value) bool {
				raw = v.AppendText(v.AppendRaw(raw[:0]))
				return true
			})
			if v, ok := p.First(msg); !ok || len(v.AppendRaw(raw[:0])) == 0 {
				return errors.New("no value at " + path)
			}
			return nil
		}
	}
	table := wire.NewTable(md, []protoreflect.FieldDescriptor{md.Fields().ByName("order_id"), md.Fields().ByName("items")})
	spans := make([]wire.Span, table.Len())
	buf := make([]byte, 0, 8<<10)
	for name, f := range map[string]func() error{
		"render":      func() error { _, err := all.Append(buf, msg); return err },
		"render five": func() error { _, err := five.Append(buf, msg); return err },
		"parse":       func() error { _, err := parser.Append(buf, text); return err },
		"canonical":   func() error { _, err := canonical.Append(buf, msg); return err },
		"string key":  scalar("order_id"),
		"enum key":    scalar("state"),
		"nested key":  scalar("total.minor_units"),
		"message key": scalar("items"),
		"template":    func() error { _, err := keys.compose(buf); return err },
		"table":       func() error { return table.Scan(msg, spans) },
	} {
		if n := testing.AllocsPerRun(200, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
