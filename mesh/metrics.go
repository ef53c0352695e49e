package mesh

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats/opentelemetry"
)

// metrics are a mesh's instruments; nil without a MeterProvider.
//
// What gRPC measures of calls and attempts (gRFC A66) is gRPC's own code. It sees an
// attempt of ours as an attempt, and all of them together as the call.
type metrics struct {
	calls opentelemetry.Options // without a provider gRPC measures nothing

	// gRFC A96's. What is zero is not recorded.
	retries, hedges metric.Int64Histogram
	delay           metric.Float64Histogram

	observed metric.Registration
}

// counter is one of our counts.
type counter struct {
	name, unit, description string
	value                   func(*Stats) uint64
}

// counted are the instruments whose values a [Mesh] counts anyway. The package comment
// has them in a table.
func counted() []counter {
	return []counter{
		{"mesh.client.retries_refused", "{retry}", "Retries and hedges for which the budget had nothing left.", func(s *Stats) uint64 { return s.RetriesRefused }},
		{"mesh.client.ejections", "{ejection}", "Ejections of endpoints.", func(s *Stats) uint64 { return s.Ejections }},
		{"mesh.client.overflows", "{attempt}", "Attempts that a connection pool or an entry's bound did not let out.", func(s *Stats) uint64 { return s.Overflows }},
		{"mesh.client.breaker.opens", "{opening}", "Openings of circuit breakers.", func(s *Stats) uint64 { return s.BreakerOpens }},
		{"mesh.client.breaker.refused", "{call}", "Calls that an open circuit breaker did not let out.", func(s *Stats) uint64 { return s.Broken }},
		{"mesh.client.egress_denied", "{call}", "Calls that the policy's Egress did not let out.", func(s *Stats) uint64 { return s.EgressDenied }},
		{"mesh.client.faults", "{fault}", "Faults injected.", func(s *Stats) uint64 { return s.Faults }},
		{"mesh.client.mirrors", "{call}", "Copies of calls that were sent.", func(s *Stats) uint64 { return s.Mirrors }},
		{"mesh.client.mirrors_dropped", "{call}", "Copies of calls that were not sent.", func(s *Stats) uint64 { return s.MirrorsDropped }},
		{"mesh.server.allowed", "{call}", "Calls that a rule allowed.", func(s *Stats) uint64 { return s.Allowed }},
		{"mesh.server.denied", "{call}", "Calls that a rule denied, or none allowed.", func(s *Stats) uint64 { return s.Denied }},
		{"mesh.server.dry_run_differs", "{call}", "Decisions that a policy in dry run would change.", func(s *Stats) uint64 { return s.DryRunDiffers }},
		{"mesh.server.limited", "{call}", "Calls that a RateLimit refused.", func(s *Stats) uint64 { return s.Limited }},
		{"mesh.server.shed", "{call}", "Calls that the server had too much to do for.", func(s *Stats) uint64 { return s.Shed }},
		{"mesh.server.plaintext", "{call}", "Calls that came without TLS, allowed or not.", func(s *Stats) uint64 { return s.Plaintext }},
		{"mesh.connections.revoked", "{connection}", "Connections closed because their peers were trusted no more.", func(s *Stats) uint64 { return s.Revoked }},
		{"mesh.server.expired", "{call}", "Calls refused because the connection's certificate had ended.", func(s *Stats) uint64 { return s.Expired }},
		{"mesh.server.panics", "{panic}", "Panics of handlers.", func(s *Stats) uint64 { return s.Panics }},
		{"mesh.too_late", "{call}", "Calls not made, or not begun, as too little time was left.", func(s *Stats) uint64 { return s.TooLate }},
		{"mesh.streams_rotated", "{stream}", "Streams that ended with their connection's certificate.", func(s *Stats) uint64 { return s.Rotated }},
		{"mesh.policy.loads", "{load}", "Changes of the policy file that were taken up.", func(s *Stats) uint64 { return s.PolicyLoads }},
		{"mesh.policy.errors", "{error}", "Changes of the policy file that were refused.", func(s *Stats) uint64 { return s.PolicyErrors }},
		{"mesh.discovery.errors", "{error}", "Failures to find endpoints.", func(s *Stats) uint64 { return s.DiscoveryErrors }},
	}
}

// gauges are the instruments of what is so at the moment.
type gauges struct {
	budget, endpoints, breakers         metric.Int64ObservableGauge
	limit, running, waiting, policyInfo metric.Int64ObservableGauge
	base, expiry                        metric.Float64ObservableGauge
}

// newMetrics makes the instruments of m.
func newMetrics(o *Options, m *Mesh) (*metrics, error) {
	if o.MeterProvider == nil {
		return nil, nil //nolint:nilnil // no provider, no metrics
	}
	meter, x := o.MeterProvider.Meter("github.com/portico-bff/portico/mesh"), &metrics{}
	if !o.NoCallMetrics {
		x.calls.MetricsOptions.MeterProvider = o.MeterProvider
	}
	var failure error
	note := func(err error) {
		if err != nil && failure == nil {
			failure = fmt.Errorf("mesh: making an instrument: %w", err)
		}
	}
	histogram := func(name, unit, description string) metric.Int64Histogram {
		h, err := meter.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(1, 2, 3, 4, 5))
		note(err)
		return h
	}
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		note(err)
		return g
	}
	seconds := func(name, description string) metric.Float64ObservableGauge {
		g, err := meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
		note(err)
		return g
	}
	var err error
	x.retries = histogram("grpc.client.call.retries", "{retry}", "Number of retries during the client call. If there were no retries, 0 is not reported.")
	x.hedges = histogram("grpc.client.call.hedges", "{hedge}", "Number of hedges during the client call. If there were no hedges, 0 is not reported.")
	x.delay, err = meter.Float64Histogram("grpc.client.call.retry_delay", metric.WithUnit("s"),
		metric.WithDescription("Total time of delay while there is no active attempt during the client call."),
		metric.WithExplicitBucketBoundaries(opentelemetry.DefaultLatencyBounds...))
	note(err)
	g := &gauges{
		budget:     gauge("mesh.client.retry_budget", "{retry}", "Retries and hedges that the budget of a target has left."),
		endpoints:  gauge("mesh.client.endpoints", "{endpoint}", "Endpoints of a target by state: ready, ejected, connecting."),
		breakers:   gauge("mesh.client.breaker.open", "{breaker}", "1 while the circuit breaker of an entry is open or probing."),
		limit:      gauge("mesh.server.concurrency.limit", "{call}", "Calls that the server works on at a time, by what it has found that it can bear."),
		running:    gauge("mesh.server.concurrency.running", "{call}", "Calls that it works on."),
		waiting:    gauge("mesh.server.concurrency.waiting", "{call}", "Calls that wait for that."),
		base:       seconds("mesh.server.concurrency.base", "What a call takes when the server has little to do."),
		expiry:     seconds("mesh.certificate.expiry", "Time until the process's own certificate ends."),
		policyInfo: gauge("mesh.policy.info", "1", "1, with the version of the policy in force."),
	}
	observables := []metric.Observable{g.budget, g.endpoints, g.breakers, g.limit, g.running, g.waiting, g.base, g.expiry, g.policyInfo}
	counts := counted()
	counters := make([]metric.Int64ObservableCounter, len(counts))
	for i, c := range counts {
		counters[i], err = meter.Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		note(err)
		observables = append(observables, counters[i])
	}
	if failure != nil {
		return nil, failure
	}
	x.observed, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := m.Stats()
		for i := range counts {
			o.ObserveInt64(counters[i], int64(counts[i].value(&s)))
		}
		g.observe(o, &s)
		return nil
	}, observables...)
	if err != nil {
		return nil, fmt.Errorf("mesh: watching the counts: %w", err)
	}
	return x, nil
}

// observe tells the gauges. Clients of one target are taken together.
func (g *gauges) observe(o metric.Observer, s *Stats) {
	type place struct{ target, name string }
	sums := map[place]int64{}
	for _, b := range s.Budgets {
		sums[place{b.Target, ""}] += int64(b.Retries)
	}
	for at, n := range sums {
		o.ObserveInt64(g.budget, n, metric.WithAttributes(attribute.String("grpc.target", at.target)))
	}
	clear(sums)
	for i := range s.Endpoints {
		sums[place{s.Endpoints[i].Target, s.Endpoints[i].state()}]++
	}
	for at, n := range sums {
		o.ObserveInt64(g.endpoints, n, metric.WithAttributes(attribute.String("grpc.target", at.target), attribute.String("mesh.state", at.name)))
	}
	clear(sums)
	for _, b := range s.Breakers {
		open := int64(0)
		if b.State != "closed" {
			open = 1
		}
		sums[place{b.Target, b.Entry}] = max(sums[place{b.Target, b.Entry}], open)
	}
	for at, n := range sums {
		o.ObserveInt64(g.breakers, n, metric.WithAttributes(attribute.String("grpc.target", at.target), attribute.String("mesh.entry", at.name)))
	}
	for _, l := range s.Overloads {
		labels := metric.WithAttributes(attribute.String("mesh.overload", l.Name), attribute.Int("mesh.rule", l.Rule))
		o.ObserveInt64(g.limit, int64(l.Limit), labels)
		o.ObserveInt64(g.running, int64(l.Running), labels)
		o.ObserveInt64(g.waiting, int64(l.Waiting), labels)
		o.ObserveFloat64(g.base, l.Base.Seconds(), labels)
	}
	if !s.CertificateExpiry.IsZero() {
		o.ObserveFloat64(g.expiry, time.Until(s.CertificateExpiry).Seconds())
	}
	o.ObserveInt64(g.policyInfo, 1, metric.WithAttributes(attribute.String("mesh.policy.version", s.PolicyVersion)))
}

// state is the endpoint's in a word.
func (e *EndpointStats) state() string {
	switch {
	case e.Ejected:
		return "ejected"
	case e.Ready:
		return "ready"
	default:
		return "connecting"
	}
}

// dialOptions and serverOptions add gRPC's own metrics.
func (x *metrics) dialOptions() []grpc.DialOption {
	if x == nil || x.calls.MetricsOptions.MeterProvider == nil {
		return nil
	}
	return []grpc.DialOption{opentelemetry.DialOption(x.calls)}
}

func (x *metrics) serverOptions() []grpc.ServerOption {
	if x == nil || x.calls.MetricsOptions.MeterProvider == nil {
		return nil
	}
	return []grpc.ServerOption{opentelemetry.ServerOption(x.calls)}
}

// close ends the observation.
func (x *metrics) close() error {
	if x == nil {
		return nil
	}
	return x.observed.Unregister()
}

// again is what a call has taken beyond its first attempt.
type again struct {
	retries, hedges int
	delay           time.Duration
}

// record notes the further attempts of a call, if there were any. The method is named
// where gRPC's own metrics name it: if it is known to be one of few.
func (x *metrics) record(ctx context.Context, conn *grpc.ClientConn, method string, opts []grpc.CallOption, a again) {
	if x == nil || a.retries+a.hedges == 0 {
		return
	}
	name := "other"
	for _, opt := range opts {
		if _, ok := opt.(grpc.StaticMethodCallOption); ok {
			name = strings.TrimPrefix(method, "/")
		}
	}
	labels := metric.WithAttributes(attribute.String("grpc.method", name), attribute.String("grpc.target", conn.CanonicalTarget()))
	if a.retries > 0 {
		x.retries.Record(ctx, int64(a.retries), labels)
		x.delay.Record(ctx, a.delay.Seconds(), labels)
	}
	if a.hedges > 0 {
		x.hedges.Record(ctx, int64(a.hedges), labels)
	}
}

// BudgetStats describes the retry budget of one client.
type BudgetStats struct {
	Target string `json:"target"`
	// Retries is how many retries and hedges it has left.
	Retries int `json:"retries"`
}
