package mesh

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// tracing makes a span of every attempt and of every call served, named and
// attributed as OpenTelemetry's RPC conventions say, and passes W3C trace context
// on. Without a provider there are no spans, and no stats handler (gRPC makes a
// dozen objects a call for one): the interceptors pass the context on alone.
type tracing struct {
	tracer trace.Tracer // nil without a provider
}

func newTracing(provider trace.TracerProvider) *tracing {
	if provider == nil {
		return &tracing{}
	}
	return &tracing{tracer: provider.Tracer("github.com/portico-bff/portico/mesh")}
}

// dialOptions and serverOptions add the stats handler where there are spans.
func (t *tracing) dialOptions() []grpc.DialOption {
	if t.tracer == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(&traceHandler{tracing: t, kind: trace.SpanKindClient})}
}

func (t *tracing) serverOptions() []grpc.ServerOption {
	if t.tracer == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(&traceHandler{tracing: t, kind: trace.SpanKindServer})}
}

// send is what a client's interceptor does without spans.
func (t *tracing) send(ctx context.Context) context.Context {
	if t.tracer != nil {
		return ctx
	}
	return inject(ctx)
}

// receive is what a server's interceptor does without spans.
func (t *tracing) receive(ctx context.Context) context.Context {
	if t.tracer != nil {
		return ctx
	}
	return extract(ctx)
}

// inject puts the context of the current span into outgoing metadata.
func inject(ctx context.Context) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if md == nil {
		md = metadata.MD{}
	}
	propagation.TraceContext{}.Inject(ctx, carrier(md))
	return metadata.NewOutgoingContext(ctx, md)
}

// extract takes the caller's span from incoming metadata.
func extract(ctx context.Context) context.Context {
	parent := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if len(parent) == 0 {
		return ctx
	}
	from := carrier{"traceparent": parent, "tracestate": metadata.ValueFromIncomingContext(ctx, "tracestate")}
	return propagation.TraceContext{}.Extract(ctx, from)
}

// traceHandler is told by gRPC where calls begin and end.
type traceHandler struct {
	*tracing
	kind trace.SpanKind
}

var _ stats.Handler = (*traceHandler)(nil)

// TagRPC starts the span, between the incoming and the outgoing context.
func (h *traceHandler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if h.kind == trace.SpanKindServer {
		ctx = extract(ctx)
	}
	name := strings.TrimPrefix(info.FullMethodName, "/")
	service, method, _ := strings.Cut(name, "/")
	ctx, _ = h.tracer.Start(ctx, name, trace.WithSpanKind(h.kind), trace.WithAttributes(
		attribute.String("rpc.system.name", "grpc"),
		attribute.String("rpc.service", service),
		attribute.String("rpc.method", method),
	))
	if h.kind == trace.SpanKindClient {
		ctx = inject(ctx)
	}
	return ctx
}

// HandleRPC ends the span.
func (h *traceHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok {
		return
	}
	span := trace.SpanFromContext(ctx)
	s := status.Convert(end.Error)
	span.SetAttributes(attribute.String("rpc.response.status_code", s.Code().String()))
	if h.failed(s.Code()) {
		span.SetStatus(otelcodes.Error, s.Message())
	}
	span.End()
}

// failed says whether a status is an error of this side's.
func (h *traceHandler) failed(code codes.Code) bool {
	if h.kind == trace.SpanKindClient {
		return code != codes.OK
	}
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// TagConn and HandleConn have nothing to do with calls.
func (h *traceHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (h *traceHandler) HandleConn(context.Context, stats.ConnStats) {}

// carrier is metadata as a propagator sees it.
type carrier metadata.MD

var _ propagation.TextMapCarrier = carrier(nil)

// Get returns the first value of a key.
func (c carrier) Get(key string) string {
	if values := metadata.MD(c).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set replaces a key.
func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }

// Keys lists the keys.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	return keys
}
