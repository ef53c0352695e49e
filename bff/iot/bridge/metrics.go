package bridge

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What becomes of messages, as the metric's label tells it. Of those that are not acknowledged (deferred, expired,
// stale, closed) the broker keeps QoS 1 messages and delivers them again.
const (
	resultAccepted = "accepted"
	resultRefused  = "refused"  // for good
	resultShed     = "shed"     // QoS 0, no room
	resultDeferred = "deferred" // no room, or no dead letter
	resultExpired  = "expired"  // not accepted in time
	resultStale    = "stale"    // of a connection that is gone
	resultClosed   = "closed"   // at shutdown
	resultUnrouted = "unrouted" // of an uplink that is no more
)

type metrics struct {
	results    *prometheus.CounterVec
	downlinks  *prometheus.CounterVec
	failures   *prometheus.CounterVec
	calls      *prometheus.HistogramVec
	batch      prometheus.Histogram
	reconnects prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portico_iot_" + name, Help: help}, labels)
	}
	m := &metrics{
		results:   counters("uplink_messages_total", "Messages of uplinks, by what became of them.", "result"),
		downlinks: counters("downlink_messages_total", "Messages of downlinks, by what became of them.", "result"),
		failures:  counters("uplink_call_failures_total", "Calls of uplinks that failed.", "method", "code"),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "portico_iot_uplink_call_seconds", Help: "Duration of calls of uplinks.", Buckets: prometheus.DefBuckets,
		}, []string{"method"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "portico_iot_uplink_batch_messages", Help: "Messages in a call.", Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portico_iot_bridge_disconnects_total", Help: "Times that the bridge lost its connection.",
		}),
	}
	var err error
	for _, c := range []prometheus.Collector{m.results, m.downlinks, m.failures, m.calls, m.batch, m.reconnects} {
		err = errors.Join(err, r.Register(c))
	}
	return m, err
}

// observe registers the metrics that are read from the bridge.
func (m *metrics) observe(r prometheus.Registerer, b *Bridge) error {
	gauge := func(name, help string, value func() float64) error {
		return r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "portico_iot_" + name, Help: help}, value))
	}
	return errors.Join(
		gauge("window_messages", "Messages in memory that wait for their service.", func() float64 {
			count, _ := b.window.size()
			return float64(count)
		}),
		gauge("window_bytes", "Payload bytes in memory that wait for their service.", func() float64 {
			_, bytes := b.window.size()
			return float64(bytes)
		}),
		gauge("oldest_unacked_seconds", "Age of the oldest message that waits for its service.", func() float64 {
			oldest := 0.0
			for _, l := range b.lanes {
				if at := l.oldest.Load(); at != 0 {
					oldest = max(oldest, time.Since(time.Unix(0, at)).Seconds())
				}
			}
			return oldest
		}),
	)
}
