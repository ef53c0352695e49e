package events

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what hubs do. No label takes a value that a client chooses.
type metrics struct {
	logs    *prometheus.GaugeVec
	readers *prometheus.GaugeVec
	replays *prometheus.CounterVec
	gaps    *prometheus.CounterVec
	dropped *prometheus.CounterVec
}

// newMetrics registers the metrics with r; nil registers them nowhere. Hubs with the same r share their metrics.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		logs: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portico_event_logs", Help: "Event logs that are kept, with and without readers.",
		}, []string{"rpc"}),
		readers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portico_event_readers", Help: "Readers of event logs.",
		}, []string{"rpc"}),
		replays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_event_replays_total", Help: "Readers that came back and went on where they were.",
		}, []string{"rpc"}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_event_gaps_total", Help: "Gaps that readers were told of: the log was unknown, overrun or ended.",
		}, []string{"rpc", "reason"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_event_logs_dropped_total", Help: "Event logs without readers that were dropped: expired, or evicted by new ones.",
		}, []string{"rpc", "reason"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(
		register(r, &m.logs), register(r, &m.readers), register(r, &m.replays), register(r, &m.gaps), register(r, &m.dropped),
	)
}

// register registers a metric. If one like it is there already, of a hub that this one will replace, the two share it.
func register[C prometheus.Collector](r prometheus.Registerer, metric *C) error {
	err := r.Register(*metric)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			*metric = existing
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// meters are the metrics of one method.
type meters struct {
	open, reading             prometheus.Gauge
	replays, expired, evicted prometheus.Counter
	gaps                      func(Gap) prometheus.Counter
}

func (m *metrics) of(rpc string) *meters {
	return &meters{
		open: m.logs.WithLabelValues(rpc), reading: m.readers.WithLabelValues(rpc), replays: m.replays.WithLabelValues(rpc),
		expired: m.dropped.WithLabelValues(rpc, "expired"), evicted: m.dropped.WithLabelValues(rpc, "evicted"),
		gaps: func(reason Gap) prometheus.Counter { return m.gaps.WithLabelValues(rpc, string(reason)) },
	}
}
