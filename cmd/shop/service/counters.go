package service

import (
	"maps"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Counters count the calls that a service took, by method; calls that the mesh refused
// are not among them. The zero Counters stand at zero. They are safe for concurrent use,
// and a [prometheus.Collector] of shop_grpc_calls_total.
type Counters struct {
	mu    sync.Mutex // guards calls
	calls map[string]int64
}

var _ prometheus.Collector = (*Counters)(nil)

// Calls returns how often each method was called, by "package.Service/Method". Methods
// that were never called are absent.
func (c *Counters) Calls() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.calls)
}

// Describe implements [prometheus.Collector].
func (c *Counters) Describe(ch chan<- *prometheus.Desc) { ch <- callsDesc() }

// Collect implements [prometheus.Collector].
func (c *Counters) Collect(ch chan<- prometheus.Metric) {
	for method, n := range c.Calls() {
		ch <- prometheus.MustNewConstMetric(callsDesc(), prometheus.CounterValue, float64(n), method)
	}
}

func (c *Counters) count(fullMethod string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int64{}
	}
	c.calls[strings.TrimPrefix(fullMethod, "/")]++
}

func callsDesc() *prometheus.Desc {
	return prometheus.NewDesc("shop_grpc_calls_total", "Calls that the service took.", []string{"method"}, nil)
}
