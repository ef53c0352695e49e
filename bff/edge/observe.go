package edge

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// observed writes the access log, one line for each request when it has ended, counts it, and traces it.
func observed(logger *slog.Logger, m *metrics, tracer trace.Tracer) func(http.Handler) http.Handler {
	propagator := propagation.TraceContext{}
	_, untraced := tracer.(noop.Tracer)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := exchangeOf(r)
			a := &answering{responseWriter: responseWriter{ResponseWriter: w, conn: gatherer(r)}, start: time.Now(), span: noop.Span{}}
			if !untraced || r.Header["Traceparent"] != nil {
				ctx := propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
				ctx, a.span = tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
				r = r.WithContext(ctx)
			}
			if r.Body != nil && r.Body != http.NoBody {
				a.body.ReadCloser = r.Body
				r.Body = &a.body
			}
			defer func() { // also if the handler gives the connection up by a panic
				took := time.Since(a.start)
				if a.status == 0 {
					a.status = http.StatusOK
				}
				m.observe(x.info.Door, r.Method, x.record.Route, a.status, took)
				if a.span.IsRecording() {
					a.trace(x, r)
				}
				a.span.End()
				a.log(logger, x, r, took)
			}()
			next.ServeHTTP(&a.responseWriter, r)
		})
	}
}

// answering is an answer under way. Unlike the [exchange], it ends with the request.
type answering struct {
	responseWriter
	body  countingBody
	start time.Time
	span  trace.Span
}

// log writes the line of the access log.
func (a *answering) log(logger *slog.Logger, x *exchange, r *http.Request, took time.Duration) {
	ctx, rec := r.Context(), &x.record
	level := slog.LevelInfo
	if a.status >= http.StatusInternalServerError && rec.Code != codes.Canceled {
		level = slog.LevelError
	}
	if !logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("request_id", x.info.ID),
		slog.String("door", string(x.info.Door)),
		slog.String("route", rec.Route),
		slog.String("method", r.Method),
		slog.String("path", x.info.Path),
		slog.Int("status", a.status),
		slog.String("grpc_code", fault.Name(rec.Code)),
		slog.Float64("dur_ms", float64(took.Microseconds())/1e3),
		slog.Int64("bytes_in", a.body.bytes),
		slog.Int64("bytes_out", a.bytes),
		slog.String("ip", x.info.Remote.String()),
		slog.String("ua", userAgent(r)),
	)
	if rec.Operation != "" {
		attrs = append(attrs, slog.String("operation", rec.Operation))
	}
	if rec.Client != "" {
		attrs = append(attrs, slog.String("client_id", rec.Client))
	}
	if cache := cacheWord(rec.Source); cache != "" {
		attrs = append(attrs, slog.String("cache", cache))
	}
	if sc := a.span.SpanContext(); sc.HasTraceID() {
		attrs = append(attrs, slog.String("trace_id", sc.TraceID().String()))
	}
	if rec.Err != nil {
		attrs = append(attrs, slog.String("error", rec.Err.Error()))
		if f, ok := errors.AsType[*fault.Error](rec.Err); ok {
			attrs = append(attrs, slog.String("blame", f.Blame.String()))
		}
	}
	// The logger would look for the line of code that this comes from, which is always this one.
	line := slog.NewRecord(a.start.Add(took), level, "request", 0)
	line.AddAttrs(attrs...)
	_ = logger.Handler().Handle(ctx, line) // as loggers do
}

// userAgent is r.UserAgent, without looking for another spelling of the header's name.
func userAgent(r *http.Request) string {
	if fields := r.Header["User-Agent"]; len(fields) > 0 {
		return fields[0]
	}
	return ""
}

// trace gives the span what the conventions for HTTP servers ask for.
func (a *answering) trace(x *exchange, r *http.Request) {
	name := r.Method
	if x.record.Route != "" {
		name += " " + x.record.Route
	}
	a.span.SetName(name)
	a.span.SetAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("http.route", x.record.Route),
		attribute.Int("http.response.status_code", a.status),
		attribute.String("url.path", x.info.Path),
		attribute.String("portico.door", string(x.info.Door)),
		attribute.String("portico.request_id", x.info.ID),
	)
	if a.status >= http.StatusInternalServerError {
		a.span.SetStatus(otelcodes.Error, fault.Name(x.record.Code))
	}
}

// cacheWord says where an answer came from; empty if from the service.
func cacheWord(s upstream.Source) string {
	switch s {
	case upstream.Hit:
		return "HIT"
	case upstream.Stale:
		return "STALE"
	case upstream.Coalesced:
		return "COALESCED"
	case upstream.Fetched:
	}
	return ""
}

// metrics counts requests (OpenTelemetry's conventions for HTTP servers, as Prometheus spells them).
type metrics struct {
	duration *prometheus.HistogramVec

	// mu guards known.
	mu sync.RWMutex
	// known are the histograms with labels that were used: finding them by their labels costs more than observing.
	known map[series]prometheus.Observer
}

// series is a set of labels. There is a bounded number of each.
type series struct {
	door          request.Door
	method, route string
	status        int
}

func newMetrics(reg prometheus.Registerer) *metrics {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_server_request_duration_seconds", Help: "Time from a request to the end of its answer.",
		Buckets: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10},
	}, []string{"door", "http_request_method", "http_route", "http_response_status_code"})
	if reg != nil {
		if err := reg.Register(h); err != nil {
			if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
				if before, ok := already.ExistingCollector.(*prometheus.HistogramVec); ok {
					h = before
				}
			}
		}
	}
	return &metrics{duration: h, known: map[series]prometheus.Observer{}}
}

func (m *metrics) observe(door request.Door, method, route string, status int, took time.Duration) {
	labels := series{door: door, method: knownMethod(method), route: route, status: status}
	m.mu.RLock()
	o := m.known[labels]
	m.mu.RUnlock()
	if o == nil {
		o = m.duration.WithLabelValues(string(door), labels.method, route, strconv.Itoa(status))
		m.mu.Lock()
		m.known[labels] = o
		m.mu.Unlock()
	}
	o.Observe(took.Seconds())
}

// knownMethod bounds the methods that label metrics.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}
