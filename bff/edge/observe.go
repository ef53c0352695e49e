package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
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
			start := time.Now()
			ctx, span := r.Context(), trace.Span(noop.Span{})
			if !untraced || r.Header["Traceparent"] != nil {
				ctx = propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
				ctx, span = tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
				r = r.WithContext(ctx)
			}
			o := &observation{
				logger: logger, span: span, start: start, w: &responseWriter{ResponseWriter: w},
				info: request.FromContext(ctx), rec: record.FromContext(ctx),
			}
			body := &countingBody{ReadCloser: r.Body}
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = body
			}
			defer func() { // also if the handler gives the connection up by a panic
				o.end(ctx, r, m, body.bytes)
			}()
			next.ServeHTTP(o.w, r)
		})
	}
}

// observation is what there is to say about one request.
type observation struct {
	logger *slog.Logger
	span   trace.Span
	start  time.Time
	w      *responseWriter
	info   *request.Info
	rec    *record.Record
}

func (o *observation) end(ctx context.Context, r *http.Request, m *metrics, in int64) {
	took := time.Since(o.start)
	status := o.w.status
	if status == 0 {
		status = http.StatusOK
	}
	m.observe(o.info.Door, r.Method, o.rec.Route, status, took)
	if o.span.IsRecording() {
		o.trace(r, status)
	}
	o.span.End()
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError && o.rec.Code != codes.Canceled {
		level = slog.LevelError
	}
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("request_id", o.info.ID),
		slog.String("door", string(o.info.Door)),
		slog.String("route", o.rec.Route),
		slog.String("method", r.Method),
		slog.String("path", o.info.Path),
		slog.Int("status", status),
		slog.String("grpc_code", fault.Name(o.rec.Code)),
		slog.Float64("dur_ms", float64(took.Microseconds())/1e3),
		slog.Int64("bytes_in", in),
		slog.Int64("bytes_out", o.w.bytes),
		slog.String("ip", o.info.Remote.String()),
		slog.String("ua", r.UserAgent()),
	)
	if o.rec.Operation != "" {
		attrs = append(attrs, slog.String("operation", o.rec.Operation))
	}
	if o.rec.Client != "" {
		attrs = append(attrs, slog.String("client_id", o.rec.Client))
	}
	if cache := cacheWord(o.rec.Source); cache != "" {
		attrs = append(attrs, slog.String("cache", cache))
	}
	if sc := o.span.SpanContext(); sc.HasTraceID() {
		attrs = append(attrs, slog.String("trace_id", sc.TraceID().String()))
	}
	if o.rec.Err != nil {
		attrs = append(attrs, slog.String("error", o.rec.Err.Error()))
		if f, ok := errors.AsType[*fault.Error](o.rec.Err); ok {
			attrs = append(attrs, slog.String("blame", f.Blame.String()))
		}
	}
	o.logger.LogAttrs(ctx, level, "request", attrs...)
}

// trace gives the span what the conventions for HTTP servers ask for.
func (o *observation) trace(r *http.Request, status int) {
	name := r.Method
	if o.rec.Route != "" {
		name += " " + o.rec.Route
	}
	o.span.SetName(name)
	o.span.SetAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("http.route", o.rec.Route),
		attribute.Int("http.response.status_code", status),
		attribute.String("url.path", o.info.Path),
		attribute.String("portico.door", string(o.info.Door)),
		attribute.String("portico.request_id", o.info.ID),
	)
	if status >= http.StatusInternalServerError {
		o.span.SetStatus(otelcodes.Error, fault.Name(o.rec.Code))
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
type metrics struct{ duration *prometheus.HistogramVec }

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
	return &metrics{duration: h}
}

func (m *metrics) observe(door request.Door, method, route string, status int, took time.Duration) {
	m.duration.WithLabelValues(string(door), knownMethod(method), route, strconv.Itoa(status)).Observe(took.Seconds())
}

// knownMethod bounds the methods that label metrics.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}
