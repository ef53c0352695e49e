package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/portico-bff/portico/upstream"
)

// What the cache keeps is not in memory that is lent: whoever releases an answer, or calls meanwhile, never changes it.
func TestCachedAnswersAreNotLent(t *testing.T) {
	t.Parallel()
	text := func(request []byte) string { return strings.Repeat(fmt.Sprintf("%x ", request), 200) }
	clients, err := upstream.NewClients(map[string]upstream.Config{"all": {
		Target: "passthrough:///nowhere", TLS: upstream.TLS{Mode: upstream.TLSNone},
		Services: []string{"shop.catalog.v1.CatalogService", "shop.orders.v1.OrderService"},
	}}, loadShop(t), nil, grpc.WithUnaryInterceptor(
		func(_ context.Context, _ string, req, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			request, _ := req.(*[]byte)
			for _, o := range opts {
				if codec, ok := o.(grpc.ForceCodecV2CallOption); ok {
					return codec.CodecV2.Unmarshal(mem.BufferSlice{mem.SliceBuffer(text(*request))}, reply)
				}
			}
			return errors.New("no codec")
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = clients.Close() })
	s := newShop(t, func(o *Options) { o.Next = clients })
	for range 2 { // from the service, then from the cache
		for i := range 50 {
			id := string(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), fmt.Sprintf("id-%d", i)))
			for _, method := range []string{getProduct, getOrder} {
				reply, err := s.get(as(t.Context(), "usr-0001"), t, method, id)
				if err != nil {
					t.Fatal(err)
				}
				if got := string(reply.Message); got != text([]byte(id)) {
					t.Fatalf("%s %q was answered with %.40q", method, id, got)
				}
				reply.Release()
			}
		}
	}
}
