package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh/internal/breaker"
	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

func TestParseCircuitBreaker(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse("m.yaml", []byte(`
kind: Route
hosts: [orders]
http:
- circuitBreaker: {consecutiveGatewayErrors: 2, consecutive5xxErrors: 5, baseEjectionTime: 1s, maxEjectionTime: 1m, maxRequests: 10, maxPendingRequests: 3}
- circuitBreaker: {consecutive5xxErrors: 5}
- circuitBreaker: {maxRequests: 10}
- {}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]policy.Breaker, 0, 4)
	for _, rule := range p.Routes[0].Rules {
		got = append(got, rule.Breaker)
	}
	want := []policy.Breaker{
		{
			Opens:  true,
			Config: breaker.Config{ConsecutiveGatewayErrors: 2, Consecutive5xxErrors: 5, Base: time.Second, Max: time.Minute},
			Pool:   gate.Config{Running: 10, Waiting: 3},
		},
		{Opens: true, Config: breaker.Config{Consecutive5xxErrors: 5, Base: 30 * time.Second, Max: 300 * time.Second}},
		{Config: breaker.Config{Base: 30 * time.Second, Max: 300 * time.Second}, Pool: gate.Config{Running: 10}},
		{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCircuitBreakerMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Route\nhosts: [orders]\nhttp:\n- circuitBreaker: ", [][2]string{
		{`{}`, `m.yaml:4:19: circuitBreaker: want "consecutiveGatewayErrors", "consecutive5xxErrors" or "maxRequests"`},
		{`{baseEjectionTime: 1s}`, `circuitBreaker: want "consecutiveGatewayErrors", "consecutive5xxErrors" or "maxRequests"`},
		{`{consecutiveErrors: 5}`, `circuitBreaker: the mesh does not honour "consecutiveErrors"`},
		{`{maxPendingRequests: 5}`, `circuitBreaker: "maxPendingRequests" without "maxRequests"`},
		{`{maxRequests: 0}`, `maxRequests: 0, want a whole number from 1 to 1000000`},
	})
}
