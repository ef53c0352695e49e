package wire_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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

// benchRender runs ours against protojson over generated code.
func benchRender(b *testing.B, m proto.Message, r *wire.Renderer) {
	b.Helper()
	msg := marshal(b, m)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			var err error
			if buf, err = r.Append(buf[:0], msg); err != nil {
				b.Fatal(err)
			}
		}
	})
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
	path, err := wire.NewPath(md, "total.minor_units")
	if err != nil {
		t.Fatal(err)
	}
	table := wire.NewTable(md, []protoreflect.FieldDescriptor{md.Fields().ByName("order_id"), md.Fields().ByName("items")})
	spans := make([]wire.Span, table.Len())
	buf := make([]byte, 0, 8<<10)
	for name, f := range map[string]func() error{
		"render":      func() error { _, err := all.Append(buf, msg); return err },
		"render five": func() error { _, err := five.Append(buf, msg); return err },
		"parse":       func() error { _, err := parser.Append(buf, text); return err },
		"canonical":   func() error { _, err := canonical.Append(buf, msg); return err },
		"path":        func() error { path.First(msg); return nil },
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
