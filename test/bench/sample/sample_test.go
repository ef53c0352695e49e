package sample_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/test/bench/sample"
)

// TestOrder guards the sizes that the marks were set for.
func TestOrder(t *testing.T) {
	t.Parallel()
	order := sample.Order(7)
	if n := proto.Size(order); n < 600 || n > 720 {
		t.Errorf("an order has %d bytes in wire format, want about 650", n)
	}
	text, err := protojson.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		t.Fatal(err)
	}
	if n := compact.Len(); n < 1300 || n > 1500 {
		t.Errorf("an order has %d bytes of JSON, want about 1400", n)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	if n := leaves(tree); n < 50 {
		t.Errorf("an order has %d leaf values, want at least 50", n)
	}
	if n := len(sample.Page().GetOrders()); n != sample.PageSize {
		t.Errorf("a page has %d orders, want %d", n, sample.PageSize)
	}
}

// leaves counts what is no list and no object.
func leaves(tree any) int {
	n := 0
	switch tree := tree.(type) {
	case map[string]any:
		for _, v := range tree {
			n += leaves(v)
		}
	case []any:
		for _, v := range tree {
			n += leaves(v)
		}
	default:
		return 1
	}
	return n
}
