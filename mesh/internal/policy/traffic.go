package policy

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/outlier"
)

func (r *reader) destination(n ast.Node, p *Policy, names map[string]bool) {
	d := DefaultDestination()
	pinned := false
	r.mapping(n, "Destination",
		key{name: "kind", read: ignore},
		key{name: "host", must: true, read: func(n ast.Node) {
			d.Host, _ = r.text(n, "host")
			r.once(n, names, "Destination", d.Host)
		}},
		key{name: "identities", read: func(n ast.Node) {
			pinned = true
			r.each(n, "identities", func(n ast.Node) {
				s, ok := r.text(n, "identity")
				if !ok {
					return
				}
				id, err := spiffeid.FromString(s)
				if err != nil || id.Path() == "" {
					r.fail(place(n), `identity: %q, want a whole SPIFFE id such as "spiffe://shop.test/orders"`, s)
					return
				}
				d.Identities = append(d.Identities, id)
			})
			if sequence, ok := n.(*ast.SequenceNode); ok && len(sequence.Values) == 0 {
				r.fail(place(n), "identities: want at least one: a server is always pinned")
			}
		}},
		key{name: "trafficPolicy", read: func(n ast.Node) { r.trafficPolicy(n, &d) }},
		key{name: "subsets", read: func(n ast.Node) { r.subsets(n, &d) }})
	switch {
	case !pinned && d.TLS.Mode == MutualTLS:
		r.fail(place(n), `Destination: "identities" is missing`)
	case pinned && d.TLS.Mode == SimpleTLS:
		r.fail(place(n), `Destination: "identities" are of servers in the mesh; with tls mode "SIMPLE" a server is known by its name`)
	}
	p.Destinations = append(p.Destinations, d)
}

func (r *reader) trafficPolicy(n ast.Node, d *Destination) {
	r.mapping(n, "trafficPolicy",
		key{name: "tls", read: func(n ast.Node) { r.tls(n, &d.TLS) }},
		key{name: "loadBalancer", read: func(n ast.Node) { r.loadBalancer(n, d) }},
		key{name: "connectionPool", read: func(n ast.Node) { r.connectionPool(n, d) }},
		key{name: "outlierDetection", read: func(n ast.Node) { r.outlierDetection(n, &d.Outlier, &d.Balance.MinHealthPercent) }},
		key{name: "retryBudget", read: func(n ast.Node) {
			r.mapping(n, "retryBudget",
				key{name: "retryRatio", read: func(n ast.Node) {
					r.number(n, "retryRatio", 0, 10, &d.Budget.Ratio)
				}},
				key{name: "minRetriesPerSecond", read: func(n ast.Node) {
					r.number(n, "minRetriesPerSecond", 0, 100_000, &d.Budget.MinPerSecond)
				}},
				key{name: "ttl", read: func(n ast.Node) { r.duration(n, "ttl", &d.Budget.TTL) }})
		}})
}

func (r *reader) outlierDetection(n ast.Node, c *outlier.Config, minHealth *int) {
	r.mapping(n, "outlierDetection",
		key{name: "consecutiveGatewayErrors", read: func(n ast.Node) {
			r.integer(n, "consecutiveGatewayErrors", 0, 1_000_000, &c.ConsecutiveGatewayErrors)
		}},
		key{name: "consecutive5xxErrors", read: func(n ast.Node) {
			r.integer(n, "consecutive5xxErrors", 0, 1_000_000, &c.Consecutive5xxErrors)
		}},
		key{name: "interval", read: func(n ast.Node) { r.duration(n, "interval", &c.Interval) }},
		key{name: "baseEjectionTime", read: func(n ast.Node) {
			r.duration(n, "baseEjectionTime", &c.BaseEjection)
		}},
		key{name: "maxEjectionTime", read: func(n ast.Node) {
			r.duration(n, "maxEjectionTime", &c.MaxEjection)
		}},
		key{name: "maxEjectionPercent", read: func(n ast.Node) {
			r.integer(n, "maxEjectionPercent", 0, 100, &c.MaxEjectionPercent)
		}},
		key{name: "minHealthPercent", read: func(n ast.Node) { r.integer(n, "minHealthPercent", 0, 100, minHealth) }},
		key{name: "successRateEjection", read: func(n ast.Node) {
			// gRFC A50's defaults.
			c.SuccessRate = outlier.SuccessRate{StdevFactor: 1900, MinimumHosts: 5, RequestVolume: 100}
			r.mapping(n, "successRateEjection",
				key{name: "stdevFactor", read: func(n ast.Node) {
					r.integer(n, "stdevFactor", 1, 1_000_000, &c.SuccessRate.StdevFactor)
				}},
				key{name: "minimumHosts", read: func(n ast.Node) {
					r.integer(n, "minimumHosts", 2, 1_000_000, &c.SuccessRate.MinimumHosts)
				}},
				key{name: "requestVolume", read: func(n ast.Node) {
					r.integer(n, "requestVolume", 1, 1_000_000, &c.SuccessRate.RequestVolume)
				}})
		}})
}

func (r *reader) route(n ast.Node, p *Policy, names map[string]bool) {
	var route Route
	r.mapping(n, "Route",
		key{name: "kind", read: ignore},
		key{name: "hosts", must: true, read: func(n ast.Node) {
			r.each(n, "hosts", func(n ast.Node) {
				if host, ok := r.text(n, "host"); ok {
					r.once(n, names, "Route", host)
					route.Hosts = append(route.Hosts, host)
				}
			})
		}},
		key{name: "http", must: true, read: func(n ast.Node) {
			r.each(n, "http", func(n ast.Node) { route.Rules = append(route.Rules, r.routeRule(n)) })
		}})
	r.own(route.Hosts)
	p.Routes = append(p.Routes, route)
}

func (r *reader) routeRule(n ast.Node) RouteRule {
	rule, mirrored := DefaultRule(), -1.0
	r.mapping(n, "http",
		key{name: "name", read: func(n ast.Node) { rule.Name, _ = r.text(n, "name") }},
		key{name: "match", read: func(n ast.Node) {
			r.each(n, "match", func(n ast.Node) { rule.Match = append(rule.Match, r.match(n)) })
		}},
		key{name: "timeout", read: func(n ast.Node) { r.duration(n, "timeout", &rule.Timeout) }},
		key{name: "timeoutMargin", read: func(n ast.Node) { r.duration(n, "timeoutMargin", &rule.Margin) }},
		key{name: "minRemainingTime", read: func(n ast.Node) { r.duration(n, "minRemainingTime", &rule.Minimum) }},
		key{name: "retries", read: func(n ast.Node) { rule.Retries = r.retries(n) }},
		key{name: "hedging", read: func(n ast.Node) {
			r.mapping(n, "hedging",
				key{name: "maxAttempts", must: true, read: func(n ast.Node) {
					r.integer(n, "maxAttempts", 2, 5, &rule.Hedging.MaxAttempts)
				}},
				key{name: "hedgingDelay", must: true, read: func(n ast.Node) {
					r.duration(n, "hedgingDelay", &rule.Hedging.Delay)
				}},
				key{name: "hedgingPercentile", read: func(n ast.Node) {
					r.mapping(n, "hedgingPercentile", key{name: "value", must: true, read: func(n ast.Node) {
						r.number(n, "value", 50, 99.9, &rule.Hedging.Percentile)
					}})
				}})
		}},
		key{name: "circuitBreaker", read: func(n ast.Node) { r.circuitBreaker(n, &rule.Breaker) }},
		key{name: "fault", read: func(n ast.Node) { r.fault(n, &rule.Fault) }},
		key{name: "mirror", read: func(n ast.Node) { rule.Mirror = r.mirror(n) }},
		key{name: "mirrorPercentage", read: func(n ast.Node) { r.percentage(n, "mirrorPercentage", &mirrored) }},
		key{name: "route", read: func(n ast.Node) { r.split(n, &rule.Split) }},
		key{name: "splitBy", read: func(n ast.Node) { r.splitBy(n, &rule.Split) }})
	switch {
	case mirrored >= 0 && rule.Mirror != nil:
		rule.Mirror.Percent = mirrored
	case mirrored >= 0:
		r.fail(place(n), `http: "mirrorPercentage" without "mirror"`)
	}
	if rule.Timeout > 0 && rule.Minimum > rule.Timeout {
		r.fail(place(n), "http: minRemainingTime is %v, want at most the timeout, %v", rule.Minimum, rule.Timeout)
	}
	if rule.Split.By != "" && len(rule.Split.To) < 2 {
		r.fail(place(n), `http: "splitBy" without a "route" of several destinations`)
	}
	return rule
}

func (r *reader) match(n ast.Node) Match {
	var m Match
	r.mapping(n, "match",
		key{name: "uri", read: func(n ast.Node) {
			r.mapping(n, "uri",
				key{name: "exact", read: func(n ast.Node) {
					s, ok := r.text(n, "exact")
					if ok && !strings.HasPrefix(s, "/") {
						r.fail(place(n), `exact: %q, want a full method such as "/shop.orders.v1.OrderService/GetOrder", or a path`, s)
						return
					}
					m.Path = append(m.Path, authz.PathPattern{Path: s})
				}},
				key{name: "prefix", read: func(n ast.Node) {
					s, ok := r.text(n, "prefix")
					if ok && !strings.HasPrefix(s, "/") {
						r.fail(place(n), `prefix: %q, want the beginning of a method such as "/shop.orders.v1.OrderService/"`, s)
						return
					}
					m.Path = append(m.Path, authz.PathPattern{Path: s, Prefix: true})
				}})
			if len(m.Path) > 1 {
				r.fail(place(n), `uri: want "exact" or "prefix", not both`)
			}
		}},
		key{name: "headers", read: func(n ast.Node) { m.Headers = r.headers(n) }})
	return m
}

// headers reads name: {exact: | prefix: | regex:}; an empty mapping means present.
func (r *reader) headers(n ast.Node) []authz.Header {
	pairs, ok := r.pairs(n, "headers")
	if !ok {
		return nil
	}
	headers := make([]authz.Header, 0, len(pairs))
	for _, pair := range pairs {
		h := authz.Header{Name: strings.ToLower(pair.Key.GetToken().Value)}
		r.mapping(pair.Value, "header "+h.Name,
			key{name: "exact", read: func(n ast.Node) { h.Values = r.one(n, "exact") }},
			key{name: "prefix", read: func(n ast.Node) { h.Prefixes = r.one(n, "prefix") }},
			key{name: "regex", read: func(n ast.Node) {
				for _, s := range r.one(n, "regex") {
					re, err := fullRegexp(s)
					if err != nil {
						r.fail(place(n), "regex: %v", err)
						return
					}
					h.Regexps = append(h.Regexps, re)
				}
			}})
		h.Present = len(h.Values)+len(h.Prefixes)+len(h.Regexps) == 0
		headers = append(headers, h)
	}
	return headers
}

// one reads a text as a list of one.
func (r *reader) one(n ast.Node, what string) []string {
	if s, ok := r.text(n, what); ok {
		return []string{s}
	}
	return nil
}

func (r *reader) retries(n ast.Node) Retries {
	retries := defaultRetries()
	r.mapping(n, "retries",
		key{name: "attempts", must: true, read: func(n ast.Node) { r.integer(n, "attempts", 0, 100, &retries.Attempts) }},
		key{name: "perTryTimeout", read: func(n ast.Node) { r.duration(n, "perTryTimeout", &retries.PerTryTimeout) }},
		key{name: "retryOn", read: func(n ast.Node) {
			if s, ok := r.text(n, "retryOn"); ok {
				retries.On = r.retryOn(n, s)
			}
		}},
		key{name: "retryIgnorePreviousHosts", read: func(n ast.Node) {
			r.boolean(n, "retryIgnorePreviousHosts", &retries.IgnorePrevious)
		}},
		key{name: "retryRemoteLocalities", read: func(n ast.Node) {
			r.boolean(n, "retryRemoteLocalities", &retries.RemoteLocalities)
		}},
		key{name: "backoff", read: func(n ast.Node) { r.duration(n, "backoff", &retries.BaseBackoff) }})
	retries.MaxBackoff = 10 * retries.BaseBackoff
	return retries
}

// retryOn reads Istio's conditions, separated by commas.
func (r *reader) retryOn(n ast.Node, s string) Conditions {
	known := []string{"unavailable", "gateway-error", "5xx", "connect-failure", "refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"}
	var c Conditions
	for word := range strings.SplitSeq(s, ",") {
		switch word = strings.TrimSpace(word); word {
		case "unavailable", "gateway-error", "connect-failure", "refused-stream":
			c = c.Add(codes.Unavailable)
		case "5xx":
			c = c.Add(codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss)
		case "cancelled":
			c = c.Add(codes.Canceled)
		case "deadline-exceeded":
			c = c.Add(codes.DeadlineExceeded)
		case "internal":
			c = c.Add(codes.Internal)
		case "resource-exhausted":
			c = c.Add(codes.ResourceExhausted)
		default:
			r.fail(place(n), "retryOn: the mesh does not honour %q, want some of %s%s", word, list(known), hint(word, known))
		}
	}
	return c
}
