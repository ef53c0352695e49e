package policy

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/adaptive"
	"github.com/portico-bff/portico/mesh/internal/authz"
)

// Overload bounds what a server takes on.
type Overload struct {
	Name string
	// Trusted are the callers who may say that their calls are more important than
	// others'.
	Trusted []authz.PrincipalPattern
	Rules   []OverloadRule
}

// OverloadRule is the bound of the calls that it matches, all callers together.
type OverloadRule struct {
	Who     authz.Rule
	Limited bool // whether Limit bounds them
	Limit   adaptive.Config
	Minimum time.Duration // calls with less time left are not begun
	ID      string        // of the document's name and the rule's place: its limiter outlives a reload
}

// Trusts says whether the caller may say how important its calls are.
func (o *Overload) Trusts(caller authz.Principal) bool {
	for i := range o.Trusted {
		if o.Trusted[i].Match(caller) {
			return true
		}
	}
	return false
}

func (r *reader) overload(n ast.Node, p *Policy, names map[string]bool) {
	var o Overload
	r.mapping(n, "Overload",
		key{name: "kind", read: ignore},
		key{name: "name", must: true, read: func(n ast.Node) {
			o.Name, _ = r.text(n, "name")
			r.once(n, names, "Overload", o.Name)
		}},
		key{name: "criticalityFrom", read: func(n ast.Node) {
			r.each(n, "criticalityFrom", func(n ast.Node) { o.Trusted = r.principal(n, o.Trusted) })
		}},
		key{name: "rules", must: true, read: func(n ast.Node) {
			r.each(n, "rules", func(n ast.Node) { o.Rules = append(o.Rules, r.overloadRule(n)) })
		}})
	for i := range o.Rules {
		o.Rules[i].ID = o.Name + " " + strconv.Itoa(i)
	}
	p.Overloads = append(p.Overloads, o)
}

func (r *reader) overloadRule(n ast.Node) OverloadRule {
	rule, queued, before := OverloadRule{Limit: adaptive.Default()}, false, len(r.mistakes)
	r.mapping(n, "rule",
		r.from(&rule.Who),
		r.to(&rule.Who),
		key{name: "gradientControllerConfig", read: func(n ast.Node) {
			rule.Limited = true
			r.gradient(n, &rule.Limit)
		}},
		key{name: "maxPendingRequests", read: func(n ast.Node) {
			queued = true
			r.integer(n, "maxPendingRequests", 0, 100_000, &rule.Limit.MaxPending)
		}},
		key{name: "maxPendingDuration", read: func(n ast.Node) {
			queued = true
			r.duration(n, "maxPendingDuration", &rule.Limit.MaxWait)
		}},
		key{name: "minRemainingTime", read: func(n ast.Node) { r.duration(n, "minRemainingTime", &rule.Minimum) }})
	switch {
	case len(r.mistakes) > before:
	case queued && !rule.Limited:
		r.fail(place(n), `rule: calls wait for a "gradientControllerConfig" only; add one ({} has Envoy's defaults)`)
	case !rule.Limited && rule.Minimum == 0:
		r.fail(place(n), `rule: want "gradientControllerConfig" or "minRemainingTime"`)
	}
	return rule
}

// gradient reads the words of Envoy's adaptive concurrency filter.
func (r *reader) gradient(n ast.Node, c *adaptive.Config) {
	jitter, buffer := 100*c.Jitter, 100*c.Buffer
	r.mapping(n, "gradientControllerConfig",
		key{name: "sampleAggregatePercentile", read: func(n ast.Node) {
			r.percentage(n, "sampleAggregatePercentile", &c.Percentile)
		}},
		key{name: "concurrencyLimitParams", read: func(n ast.Node) {
			r.mapping(n, "concurrencyLimitParams",
				key{name: "maxConcurrencyLimit", read: func(n ast.Node) {
					r.integer(n, "maxConcurrencyLimit", 1, 1_000_000, &c.MaxLimit)
				}},
				key{name: "concurrencyUpdateInterval", read: func(n ast.Node) {
					r.duration(n, "concurrencyUpdateInterval", &c.Window)
				}})
		}},
		key{name: "minRttCalcParams", read: func(n ast.Node) {
			r.mapping(n, "minRttCalcParams",
				key{name: "interval", read: func(n ast.Node) { r.duration(n, "interval", &c.Interval) }},
				key{name: "requestCount", read: func(n ast.Node) { r.integer(n, "requestCount", 1, 1_000_000, &c.Samples) }},
				key{name: "minConcurrency", read: func(n ast.Node) { r.integer(n, "minConcurrency", 1, 1_000_000, &c.MinLimit) }},
				key{name: "jitter", read: func(n ast.Node) { r.percentage(n, "jitter", &jitter) }},
				key{name: "buffer", read: func(n ast.Node) { r.percentage(n, "buffer", &buffer) }})
		}})
	c.Jitter, c.Buffer = jitter/100, buffer/100
	if c.MinLimit > c.MaxLimit {
		r.fail(place(n), "gradientControllerConfig: minConcurrency is %d, want at most maxConcurrencyLimit, %d", c.MinLimit, c.MaxLimit)
	}
}
