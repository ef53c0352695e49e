package edge

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
)

// Core is what the edge asks of package core.
type Core interface {
	// Identify finds out who is calling.
	Identify(ctx context.Context, cred auth.Credentials) (*auth.Principal, error)
	// Admit counts a request against the client's limits.
	Admit(ctx context.Context, op core.Operation, weight int) (limit.Result, error)
}

var _ Core = (*core.Core)(nil)

// Options is what the middleware works with. Core and Door are required.
type Options struct {
	// Core knows clients and their limits.
	Core Core
	// Door tells which door a request is for.
	Door func(r *http.Request) request.Door
	// TakesToken tells whether a request begins a WebSocket whose first message may bring the client's token; nil if none
	// does. Who serves such a request must know [auth.Principal]'s Pending.
	TakesToken func(r *http.Request) bool
	// Logger takes the access log; nil discards it.
	Logger *slog.Logger
	// Metrics takes the metrics; nil registers them nowhere.
	Metrics prometheus.Registerer
	// Tracer traces requests; nil traces none.
	Tracer trace.TracerProvider
}

// Chain returns the middleware in its order, the outermost first. The metrics are registered now; registering them
// twice with the same registerer shares them.
func Chain(cfg Config, o Options) []func(http.Handler) http.Handler {
	cfg = cfg.WithDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider()
	}
	chain := []func(http.Handler) http.Handler{
		identified(o.Door),
		observed(o.Logger, newMetrics(o.Metrics), o.Tracer.Tracer("github.com/portico-bff/portico/bff/edge")),
		recovered(o.Logger),
		compressed,
		guarded,
	}
	if cfg.CORS != nil {
		cors := newCORS(cfg.CORS)
		chain = append(chain, cors.Handler, sameSite(cors))
	} else {
		chain = append(chain, sameSite(nil))
	}
	return append(chain, bounded(int64(cfg.Body), cfg.ReadTimeout), admitted(o.Core, o.TakesToken), decompressed(int64(cfg.Body)))
}
