package core

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// metrics counts what the core does. No label takes a value that a client chooses.
type metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	faults   *prometheus.CounterVec
	cache    *prometheus.CounterVec
	limits   *prometheus.CounterVec
	auth     *prometheus.CounterVec
	streams  *prometheus.GaugeVec

	known [doors][4]lazy[prometheus.Counter] // of auth, by the kind
}

// newMetrics registers the metrics with r; nil registers them nowhere. Cores with the same r share their metrics.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_calls_total", Help: "Calls of methods, by the door they came through and the code they ended with.",
		}, []string{"door", "rpc", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "portico_upstream_duration_seconds", Help: "How long unary calls to services took; answers from the cache are not among them.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"rpc"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_faults_total", Help: "Calls that went wrong, by who is to blame.",
		}, []string{"rpc", "blame"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_cache_total", Help: "Lookups of answers in the cache: hit, miss, coalesced or stale. Rows of batches count one by one.",
		}, []string{"rpc", "result"}),
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_limit_decisions_total", Help: "Decisions of limits.",
		}, []string{"per", "result"}),
		auth: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_auth_total", Help: "Credentials checked, by the door and the outcome: the principal's kind or the code of the refusal.",
		}, []string{"door", "result"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portico_streams_open", Help: "Streams to services that are open.",
		}, []string{"door", "rpc"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(
		register(r, &m.calls), register(r, &m.duration), register(r, &m.faults), register(r, &m.cache),
		register(r, &m.limits), register(r, &m.auth), register(r, &m.streams),
	)
}

// register registers a metric. If one like it is there already, of a core that this one will replace, the two share it.
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

// authenticated counts credentials that were found good, by the door and the principal's kind.
func (m *metrics) authenticated(door request.Door, kind auth.Kind) prometheus.Counter {
	for i, k := range [...]auth.Kind{auth.Anonymous, auth.User, auth.Service, auth.Device} {
		if k == kind {
			return m.known[doorIndex(door)][i].get(m.auth, doorLabel(door), string(kind))
		}
	}
	return m.auth.WithLabelValues(doorLabel(door), string(kind))
}

// called counts the end of a call.
func (m *metrics) called(door request.Door, rpc string, f *fault.Error) {
	if f == nil {
		m.calls.WithLabelValues(doorLabel(door), rpc, fault.Name(codes.OK)).Inc()
		return
	}
	m.calls.WithLabelValues(doorLabel(door), rpc, fault.Name(f.Code)).Inc()
	m.faults.WithLabelValues(rpc, f.Blame.String()).Inc()
}

// lazy is a metric with its labels, found when it is first used: one that is never used is never shown. The zero value
// is ready; it is safe for concurrent use.
type lazy[T any] struct {
	metric atomic.Pointer[T]
}

// get returns the metric of vec with the labels, which must be the same ones every time.
func (l *lazy[T]) get(vec interface{ WithLabelValues(labels ...string) T }, labels ...string) T {
	if m := l.metric.Load(); m != nil {
		return *m
	}
	m := vec.WithLabelValues(labels...)
	l.metric.Store(&m)
	return m
}

// doors is the number of values that the label door can have.
const doors = 4

// doorIndex numbers them.
func doorIndex(d request.Door) int {
	switch d {
	case request.Web:
		return 0
	case request.Mobile:
		return 1
	case request.IoT:
		return 2
	default:
		return doors - 1
	}
}

// doorLabel keeps unknown doors from making labels.
func doorLabel(d request.Door) string {
	switch d {
	case request.Web, request.Mobile, request.IoT:
		return string(d)
	default:
		return "none"
	}
}
