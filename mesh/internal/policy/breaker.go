package policy

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/breaker"
	"github.com/portico-bff/portico/mesh/internal/gate"
)

// Breaker stops the calls of an entry; its zero value never does.
type Breaker struct {
	Opens  bool // whether Config is in use
	Config breaker.Config
	Pool   gate.Config // of calls and streams at a time
}

// Stops says whether it ever stops a call.
func (b *Breaker) Stops() bool { return b.Opens || b.Pool.Running > 0 }

// circuitBreaker reads an entry's: the words are outlierDetection's and, for how much
// there may be at a time, those of Envoy's circuit breakers.
func (r *reader) circuitBreaker(n ast.Node, b *Breaker) {
	b.Config = breaker.Config{Base: 30 * time.Second, Max: 300 * time.Second}
	before, pending := len(r.mistakes), false
	r.mapping(n, "circuitBreaker",
		key{name: "consecutiveGatewayErrors", read: func(n ast.Node) {
			r.integer(n, "consecutiveGatewayErrors", 0, 1_000_000, &b.Config.ConsecutiveGatewayErrors)
		}},
		key{name: "consecutive5xxErrors", read: func(n ast.Node) {
			r.integer(n, "consecutive5xxErrors", 0, 1_000_000, &b.Config.Consecutive5xxErrors)
		}},
		key{name: "baseEjectionTime", read: func(n ast.Node) { r.duration(n, "baseEjectionTime", &b.Config.Base) }},
		key{name: "maxEjectionTime", read: func(n ast.Node) { r.duration(n, "maxEjectionTime", &b.Config.Max) }},
		key{name: "maxRequests", read: func(n ast.Node) { r.integer(n, "maxRequests", 1, 1_000_000, &b.Pool.Running) }},
		key{name: "maxPendingRequests", read: func(n ast.Node) {
			pending = true
			r.integer(n, "maxPendingRequests", 0, 1_000_000, &b.Pool.Waiting)
		}})
	b.Opens = b.Config.ConsecutiveGatewayErrors+b.Config.Consecutive5xxErrors > 0
	switch {
	case len(r.mistakes) > before:
	case pending && b.Pool.Running == 0:
		r.fail(place(n), `circuitBreaker: "maxPendingRequests" without "maxRequests"`)
	case !b.Stops():
		r.fail(place(n), `circuitBreaker: want "consecutiveGatewayErrors", "consecutive5xxErrors" or "maxRequests"`)
	}
}
