package service

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCounters(t *testing.T) {
	t.Parallel()
	var c Counters
	if got := c.Calls(); len(got) != 0 {
		t.Errorf("new counters say %v", got)
	}
	for _, method := range []string{"/shop.v1.A/Get", "/shop.v1.A/List", "/shop.v1.A/Get"} {
		c.count(method)
	}
	calls := c.Calls()
	if diff := cmp.Diff(map[string]int64{"shop.v1.A/Get": 2, "shop.v1.A/List": 1}, calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	calls["shop.v1.A/Get"] = 100 // a copy
	const want = `# HELP shop_grpc_calls_total Calls that the service took.
# TYPE shop_grpc_calls_total counter
shop_grpc_calls_total{method="shop.v1.A/Get"} 2
shop_grpc_calls_total{method="shop.v1.A/List"} 1
`
	if err := testutil.CollectAndCompare(&c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
