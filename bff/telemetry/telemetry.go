// Package telemetry sends traces where configuration says, by OTLP over gRPC, and nowhere else: without
// configuration nothing leaves the process.
//
// Trace context travels as W3C Trace Context; see [Propagator].
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// The bounds of exporting.
const (
	exportTimeout   = 10 * time.Second
	shutdownTimeout = 5 * time.Second
)

// Config is the "telemetry" section.
type Config struct {
	// Service names this server in traces; "portico" if not given.
	Service string `yaml:"service" json:"service,omitempty" jsonschema:"default=portico" jsonschema_description:"The name of this server in traces."`
	// OTLP is where traces go; without it, nowhere.
	OTLP *OTLP `yaml:"otlp" json:"otlp,omitempty" jsonschema_description:"Where traces go, by OTLP over gRPC; without it, nowhere."`
	// Sample is the share of requests, from 0 to 1, that are traced if the caller has not decided; all if not given.
	Sample *float64 `yaml:"sample" json:"sample,omitempty" jsonschema:"minimum=0,maximum=1,default=1" jsonschema_description:"The share of requests that are traced unless their caller has decided."`
}

// OTLP is a receiver of traces.
type OTLP struct {
	// Endpoint is its host and port, such as otel-collector:4317.
	Endpoint string `yaml:"endpoint" json:"endpoint" jsonschema_description:"Host and port of the receiver, such as otel-collector:4317."`
	// Insecure sends traces without TLS.
	Insecure bool `yaml:"insecure" json:"insecure,omitempty" jsonschema_description:"Send without TLS."`
	// Headers are sent along, such as an API key of the receiver.
	Headers map[string]string `yaml:"headers" json:"headers,omitempty" jsonschema_description:"Headers to send along, such as an API key."`
}

// Propagator reads and writes W3C Trace Context (traceparent, tracestate) and nothing else: baggage of clients is not
// passed on.
func Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// New makes the provider of tracers that config asks for. Sampling follows the caller's decision where there is one.
// shutdown sends what is left and ends the provider's goroutines, within its context and 5 s; it may be called again.
// Errors of exporting go to logger. The error holds a [mistake.Mistake] for everything that is wrong in config.
func New(ctx context.Context, config Config, logger *slog.Logger) (tp trace.TracerProvider, shutdown func(context.Context) error, err error) {
	if err := config.validate(); err != nil {
		return nil, nil, err
	}
	if config.OTLP == nil {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(config.OTLP.Endpoint),
		otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithHeaders(config.OTLP.Headers),
	}
	if config.OTLP.Insecure {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	exporter, err := otlptracegrpc.New(ctx, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("starting the export of traces: %w", err)
	}
	service, sample := config.Service, 1.0
	if service == "" {
		service = "portico"
	}
	if config.Sample != nil {
		sample = *config.Sample
	}
	exporting, abort := context.WithCancel(context.WithoutCancel(ctx))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&logged{SpanExporter: exporter, logger: logger, exporting: exporting}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sample))),
	)
	return provider, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
		defer cancel()
		defer abort() // what is still being sent when the time is over is given up
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("sending the last traces: %w", err)
		}
		return nil
	}, nil
}

func (c Config) validate() error {
	var all []error
	if c.OTLP != nil {
		host, port, err := net.SplitHostPort(c.OTLP.Endpoint)
		if _, number := strconv.ParseUint(port, 10, 16); err != nil || number != nil || host == "" {
			all = append(all, &mistake.Mistake{
				Path: []string{"otlp", "endpoint"}, What: fmt.Sprintf("%q is no endpoint", c.OTLP.Endpoint),
				Expected: "host:port, without a scheme", Err: err,
			})
		}
	}
	if c.Sample != nil && !(*c.Sample >= 0 && *c.Sample <= 1) {
		all = append(all, &mistake.Mistake{Path: []string{"sample"}, What: fmt.Sprintf("%v is no share", *c.Sample), Expected: "0 to 1"})
	}
	return errors.Join(all...)
}

// logged logs errors of exporting, which would otherwise go to a global handler.
type logged struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	// exporting ends when nothing more may be sent.
	exporting context.Context //nolint:containedctx // the batcher passes a context of its own
}

// ExportSpans exports spans. A failure ends here: traces that cannot be sent are lost, and nothing else.
func (l *logged) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.exporting, cancel)() //nolint:contextcheck // the export ends with either context
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil {
		l.logger.WarnContext(ctx, "traces could not be sent", "error", err, "spans", len(spans))
	}
	return nil
}
