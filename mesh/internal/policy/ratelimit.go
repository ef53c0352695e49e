package policy

import (
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/rate"
)

// RateLimit bounds how often callers may call methods.
type RateLimit struct {
	Name  string
	Rules []RateRule
}

// RateRule gives each caller a bucket for each method that it matches.
type RateRule struct {
	Who   authz.Rule
	Limit rate.Limit
	ID    string // of the document's name and the rule's place: its buckets outlive a reload
}

func (r *reader) rateLimit(n ast.Node, p *Policy, names map[string]bool) {
	var l RateLimit
	r.mapping(n, "RateLimit",
		key{name: "kind", read: ignore},
		key{name: "name", must: true, read: func(n ast.Node) {
			l.Name, _ = r.text(n, "name")
			r.once(n, names, "RateLimit", l.Name)
		}},
		key{name: "rules", must: true, read: func(n ast.Node) {
			r.each(n, "rules", func(n ast.Node) { l.Rules = append(l.Rules, r.rateRule(n)) })
		}})
	for i := range l.Rules {
		l.Rules[i].ID = l.Name + " " + strconv.Itoa(i)
	}
	p.RateLimits = append(p.RateLimits, l)
}

func (r *reader) rateRule(n ast.Node) RateRule {
	var rule RateRule
	r.mapping(n, "rule",
		r.from(&rule.Who),
		r.to(&rule.Who),
		key{name: "tokenBucket", must: true, read: func(n ast.Node) { r.tokenBucket(n, &rule.Limit) }})
	return rule
}

// tokenBucket reads Envoy's words.
func (r *reader) tokenBucket(n ast.Node, l *rate.Limit) {
	tokens, interval := 1, time.Second
	r.mapping(n, "tokenBucket",
		key{name: "maxTokens", must: true, read: func(n ast.Node) { r.integer(n, "maxTokens", 1, 1_000_000, &l.Burst) }},
		key{name: "tokensPerFill", read: func(n ast.Node) { r.integer(n, "tokensPerFill", 1, 1_000_000, &tokens) }},
		key{name: "fillInterval", must: true, read: func(n ast.Node) { r.duration(n, "fillInterval", &interval) }})
	if interval > time.Hour || interval/time.Duration(tokens) < 10*time.Nanosecond {
		r.fail(place(n), "tokenBucket: want a fillInterval of at most 1h, and at most a token every 10ns")
		return
	}
	l.Every = interval / time.Duration(tokens)
}
