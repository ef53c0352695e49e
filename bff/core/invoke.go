package core

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// Invoke calls a unary method: the rule first, always; then the cache, where one is declared; then, together with
// others who ask the same at the same time, the service.
func (c *Core) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	info := request.FromContext(ctx)
	reply, err := c.invoke(ctx, info, m, req)
	if err != nil {
		f := present(ctx, err)
		c.metrics.called(info.Door, m.Name, f)
		return upstream.Reply{Header: reply.Header, Trailer: reply.Trailer}, f
	}
	c.methods[m].ok[doorIndex(info.Door)].get(c.metrics.calls, doorLabel(info.Door), m.Name, fault.Name(codes.OK)).Inc()
	return reply, nil
}

func (c *Core) invoke(ctx context.Context, info *request.Info, m *upstream.Method, req []byte) (upstream.Reply, error) {
	compiled := c.methods[m]
	if compiled == nil || !m.Unary() {
		return upstream.Reply{}, misuse(m)
	}
	if err := c.rules.Allow(ctx, m, req, time.Now()); err != nil {
		return upstream.Reply{}, err
	}
	headers, err := compiled.headers.compose(info, auth.FromContext(ctx), compiled.public)
	if err != nil {
		return upstream.Reply{}, err
	}
	if compiled.cache == nil {
		return c.fetch(ctx, compiled, info, headers, req)
	}
	return c.cached(ctx, compiled, info, headers, req)
}

// cached answers from the cache, or calls the service and keeps its answer.
func (c *Core) cached(ctx context.Context, m *method, info *request.Info, headers []sentHeader, req []byte) (upstream.Reply, error) {
	key := callKey(m, headers, req)
	entry, found := c.cache.Lookup(key)
	if found {
		if age := entry.Age(); age < m.cache.MaxAge {
			m.hits.get(c.metrics.cache, m.Name, "hit").Inc()
			if span := trace.SpanFromContext(ctx); span.IsRecording() {
				span.AddEvent("cache hit", trace.WithAttributes(attribute.String("rpc.method", m.Name)))
			}
			return m.reuse(entry.Reply, upstream.Hit, age), nil
		}
	}
	reply, shared, err := c.cache.Do(ctx, key, func(ctx context.Context) (upstream.Reply, error) {
		// Another call may have ended between our look and now.
		if entry, ok := c.cache.Lookup(key); ok && entry.Age() < m.cache.MaxAge {
			return entry.Reply, nil
		}
		reply, err := c.fetch(ctx, m, info, headers, req)
		if err != nil {
			return reply, err
		}
		reply = reply.Keep() // the cache has it, and all who wait
		c.cache.Store(key, reply, m.cache.MaxAge+m.cache.StaleIfError)
		return reply, nil
	})
	switch {
	case err != nil && found && ctx.Err() == nil && outage(err) && entry.Age() < m.cache.MaxAge+m.cache.StaleIfError:
		c.metrics.cache.WithLabelValues(m.Name, "stale").Inc()
		c.logger.WarnContext(ctx, "a stale answer was given for a service that does not answer", "rpc", m.Name, "age", entry.Age(), "error", err)
		return m.reuse(entry.Reply, upstream.Stale, entry.Age()), nil
	case err != nil:
		return reply, err
	case shared:
		c.metrics.cache.WithLabelValues(m.Name, "coalesced").Inc()
		return m.reuse(reply, upstream.Coalesced, 0), nil
	default:
		c.metrics.cache.WithLabelValues(m.Name, "miss").Inc()
		return m.reuse(reply, upstream.Fetched, 0), nil
	}
}

// reuse says how fresh a kept answer is.
func (m *method) reuse(reply upstream.Reply, from upstream.Source, age time.Duration) upstream.Reply {
	reply.Freshness = upstream.Freshness{Source: from, Age: age, MaxAge: max(0, m.cache.MaxAge-age), Public: m.public}
	return reply
}

// outage reports that a service could not be asked, so that a stale answer is better than none.
func outage(err error) bool {
	code := fault.From(err).Code
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// fetch calls the service.
func (c *Core) fetch(ctx context.Context, m *method, info *request.Info, headers []sentHeader, req []byte) (upstream.Reply, error) {
	span := trace.Span(noop.Span{})
	if c.traced {
		ctx, span = c.tracer.Start(ctx, m.Name, m.spanOptions...)
		defer span.End()
	}
	start := time.Now()
	reply, err := c.next.Invoke(outgoing(ctx, info, headers), m.Method, req)
	m.duration.get(c.metrics.duration, m.Name).Observe(time.Since(start).Seconds())
	reply.Header, reply.Trailer = m.headers.visible(reply.Header), m.headers.visible(reply.Trailer)
	reply.Freshness = upstream.Freshness{}
	if err != nil {
		endSpan(span, present(ctx, err))
		// As it is: those who share the call may present it differently.
		return upstream.Reply{Header: reply.Header, Trailer: reply.Trailer}, err
	}
	return reply, nil
}

// outgoing puts the metadata of a call into its context: its headers, the request id and the trace. What a door may
// have left there is not sent.
func outgoing(ctx context.Context, info *request.Info, headers []sentHeader) context.Context {
	md := make(metadata.MD, len(headers)+3)
	for _, h := range headers {
		md[h.name] = h.values
	}
	if info.ID != "" && sendable(requestIDHeader, info.ID) {
		md[requestIDHeader] = []string{info.ID}
	}
	propagation.TraceContext{}.Inject(ctx, carrier(md))
	return metadata.NewOutgoingContext(ctx, md)
}

// carrier lets a propagator write metadata.
type carrier metadata.MD

// Get returns the first value of a key.
func (c carrier) Get(key string) string {
	if v := c[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set sets a key, which the W3C propagator writes in lower case.
func (c carrier) Set(key, value string) { c[key] = []string{value} }

// Keys lists the keys.
func (c carrier) Keys() []string {
	out := make([]string, 0, len(c))
	for k := range c {
		out = append(out, k)
	}
	return out
}

// callKey is the cache key of a call: the method, the canonical request, and every header that is sent.
func callKey(m *method, headers []sentHeader, req []byte) cache.Key {
	var scratch [512]byte
	b := cache.NewKey(scratch[:])
	beginKey(&b, m, headers)
	b.Add(req)
	return b.Key()
}

// beginKey begins a key with the method, who shares its answers, and every header that is sent. The request follows; a
// batch's row adds one part more than a call, so the two never meet.
func beginKey(b *cache.KeyBuilder, m *method, headers []sentHeader) {
	b.AddString(m.Name)
	if m.public {
		b.AddString(string(cache.Public))
	} else {
		b.AddString(string(cache.Private))
	}
	addHeaders(b, headers)
}

// present makes an error fit for the client: one of ours as it is, a service's by whose request it was.
func present(ctx context.Context, err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	switch end := context.Cause(ctx); {
	case end == nil:
	case errors.Is(end, errCredentialsEnded):
		return fault.Wrap(codes.Unauthenticated, "the credentials have expired", err)
	default:
		return fault.From(ctx.Err())
	}
	if fault.IsComposed(ctx) {
		return fault.FromComposed(err)
	}
	return fault.From(err)
}

// misuse is the error for a call that a door should not have made.
func misuse(m *upstream.Method) error {
	return fault.New(codes.Internal, "", fault.WithBlame(fault.Config),
		fault.WithCause(errors.New(m.Name+" is of another descriptor set, or of another stream kind")))
}

// spanOptions describe a method's calls in traces (OpenTelemetry's conventions for RPC).
func spanOptions(m *upstream.Method) []trace.SpanStartOption {
	return []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", m.Name)),
	}
}

// endSpan notes how a call ended.
func endSpan(span trace.Span, f *fault.Error) {
	span.SetAttributes(attribute.String("rpc.response.status_code", fault.Name(f.Code)))
	span.SetStatus(otelcodes.Error, fault.Name(f.Code))
}
