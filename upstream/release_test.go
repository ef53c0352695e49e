package upstream_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream"
)

// lengthy answers with an order whose note is long, and different for each id.
func lengthy(_ context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	return &ordersv1.Order{OrderId: r.GetOrderId(), Note: strings.Repeat(r.GetOrderId()+" ", 500)}, nil
}

func checkLengthy(t *testing.T, id string, message []byte) {
	t.Helper()
	want, _ := lengthy(t.Context(), &ordersv1.GetOrderRequest{OrderId: id})
	var got ordersv1.Order
	if err := proto.Unmarshal(message, &got); err != nil || !proto.Equal(&got, want) {
		t.Errorf("the answer for %s is of %s, %v", id, got.GetOrderId(), err)
	}
}

// Replies that are released, kept, released twice or forgotten by some never change under the hands of others.
func TestReleasedMemoryIsNobodyElses(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{getOrder: lengthy}, nil)
	get := method(t, shop(t), orderService+"/GetOrder")
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			kept := map[string]upstream.Reply{}
			for i := range 200 {
				id := fmt.Sprintf("order-%d-%d", worker, i)
				reply, err := c.Invoke(t.Context(), get, marshal(t, &ordersv1.GetOrderRequest{OrderId: id}))
				if err != nil {
					t.Error(err)
					return
				}
				checkLengthy(t, id, reply.Message)
				switch i % 4 {
				case 0:
					reply.Release()
				case 1:
					again := reply
					reply.Release()
					again.Release()
				case 2:
					kept[id] = reply.Keep()
				case 3:
					kept[id] = reply
				}
			}
			for id, reply := range kept {
				checkLengthy(t, id, reply.Message)
			}
		})
	}
	wg.Wait()
}

func TestKeep(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{getOrder: lengthy}, nil)
	reply, err := c.Invoke(t.Context(), method(t, shop(t), orderService+"/GetOrder"), marshal(t, &ordersv1.GetOrderRequest{OrderId: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	kept := reply.Keep()
	if reply.Message != nil {
		t.Error("what was kept can still be read where it came from")
	}
	again := kept.Keep()
	kept.Release()
	checkLengthy(t, "a", kept.Message)
	checkLengthy(t, "a", again.Message)
	if cap(again.Message) > len(again.Message)*5/4 {
		t.Errorf("%d bytes are kept in %d", len(again.Message), cap(again.Message))
	}
}

// Messages that are empty or larger than anything lent are the garbage collector's from the start: keeping copies nothing.
func TestKeepWhatIsNotLent(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{getOrder: func(_ context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
		if r.GetOrderId() == "" {
			return &ordersv1.Order{}, nil
		}
		return &ordersv1.Order{Note: strings.Repeat("x", 2<<20)}, nil
	}}, nil)
	for _, id := range []string{"", "large"} {
		reply, err := c.Invoke(t.Context(), method(t, shop(t), orderService+"/GetOrder"), marshal(t, &ordersv1.GetOrderRequest{OrderId: id}))
		if err != nil {
			t.Fatal(err)
		}
		before := len(reply.Message)
		kept := reply.Keep()
		if len(kept.Message) != before || before > 0 && &kept.Message[0] != &reply.Message[0] {
			t.Errorf("%q: %d bytes became %d of others", id, before, len(kept.Message))
		}
		if reply.Release(); len(kept.Message) != before || len(reply.Message) != before {
			t.Errorf("%q: a message that was not lent is gone", id)
		}
	}
}
