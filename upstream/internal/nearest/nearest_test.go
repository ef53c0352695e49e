package nearest_test

import (
	"testing"

	"github.com/portico-bff/portico/upstream/internal/nearest"
)

func TestName(t *testing.T) {
	t.Parallel()
	known := []string{"order_id", "customer_id", "items", "id"}
	for word, want := range map[string]string{
		"order_di": "order_id", "itms": "items", "custmer": "", "customerid": "customer_id", "completely_else": "", "": "id",
	} {
		if got := nearest.Name(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := nearest.Name("x", nil); got != "" {
		t.Errorf("got %q", got)
	}
}
