package mesh_test

import (
	"context"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh"
)

func TestCallBetweenWorkloads(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	peers := make(chan string, 1)
	_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{
		unary: func(ctx context.Context, text string) (string, error) {
			id, _ := mesh.Peer(ctx)
			peers <- id.String()
			return text, nil
		},
	})
	var n network
	n.add("a:1", listener)
	conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity("spiffe://shop.test/orders"))
	got, err := call(t.Context(), conn, echoMethod, "hello")
	if err != nil || got != "hello" {
		t.Fatalf("call = %q, %v", got, err)
	}
	if peer := <-peers; peer != "spiffe://shop.test/portico" {
		t.Errorf("peer = %q", peer)
	}
}
