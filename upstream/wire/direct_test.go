package wire_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream/wire"
)

// TestWays tells which messages are rendered in which way. What comes out is the same.
func TestWays(t *testing.T) {
	t.Parallel()
	w := loadWorld(t)
	list := new(ordersv1.ListOrdersResponse).ProtoReflect().Descriptor()
	orders := marshal(t, &ordersv1.ListOrdersResponse{Orders: []*ordersv1.Order{sampleOrder(1), sampleOrder(2)}})
	token := marshal(t, &ordersv1.ListOrdersResponse{NextPageToken: "next"})
	unknown := []byte{0x78, 1}
	all := find(t, w.files, "protobuf_test_messages.proto3.TestAllTypesProto3")
	m := dynamicpb.NewMessage(all)
	if err := protojson.Unmarshal([]byte(`{"oneofUint32":7,"optionalInt32":1,"mapInt32Int32":{"3":1,"1":2},"repeatedInt32":[1,2],"optionalDuration":"1.5s"}`), m); err != nil {
		t.Fatal(err)
	}
	scalars, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		md       protoreflect.MessageDescriptor
		fields   string
		defaults bool
		msg      []byte
		way      wire.Way
	}{
		{name: "in order", md: list, msg: slices.Concat(orders, token), way: wire.InOrder},
		{name: "unknown fields", md: list, msg: slices.Concat(unknown, orders, unknown, token, unknown), way: wire.InOrder},
		{name: "with defaults", md: list, defaults: true, msg: orders, way: wire.InOrder},
		{name: "selected in order", md: list, fields: "orders(orderId,state),nextPageToken", msg: slices.Concat(orders, token), way: wire.InOrder},
		{name: "selected in another order", md: list, fields: "nextPageToken,orders(" + fiveFields + ")", msg: slices.Concat(orders, token), way: wire.InOrder},
		{name: "in another order", md: list, msg: slices.Concat(token, orders), way: wire.AnyOrder},
		{name: "interleaved", md: list, msg: slices.Concat(orders, token, orders), way: wire.Indexed},
		{name: "twice", md: list, msg: slices.Concat(orders, token, token), way: wire.Indexed},
		{name: "twice what is not selected", md: list, fields: "orders", msg: slices.Concat(token, orders, token, token), way: wire.InOrder},
		{name: "oneof after the others", md: all, msg: scalars, way: wire.InOrder},
		{name: "scalar twice", md: all, msg: append(scalars, 8, 1), way: wire.Indexed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var sel *wire.Selection
			if tc.fields != "" {
				sel = must(wire.ParseFields(tc.md, tc.fields))(t)
			}
			r := must(wire.NewRenderer(tc.md, sel, wire.RenderOptions{EmitDefaults: tc.defaults, Resolver: w.types}))(t)
			if got := r.Way(tc.msg); got != tc.way {
				t.Errorf("got way %d, want %d", got, tc.way)
			}
			got, err := r.Append(nil, tc.msg)
			want, wantErr := r.AppendIndexed(nil, tc.msg)
			if err != nil || wantErr != nil || string(got) != string(want) {
				t.Errorf("got %s (%v), want %s (%v)", got, err, want, wantErr)
			}
		})
	}
}
