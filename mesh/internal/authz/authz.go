// Package authz decides who may call which method: a compiled form of Istio's
// AuthorizationPolicy. A DENY rule that matches denies; then an ALLOW rule that
// matches allows; everything else is denied.
//
// [Matcher.Decide] runs for every call and does not allocate.
package authz

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// Principal is a verified SPIFFE id in its two parts. The zero value is a caller of
// whom nothing is known: a rule that allows some principals, or all but some, does not
// match it, and one that denies some does, as it may be any of them.
type Principal struct {
	TrustDomain string
	Path        string // with its leading slash
}

// Policy is one named list of rules that all allow or all deny.
type Policy struct {
	Name string
	Deny bool
	// DryRun leaves decisions as they are and tells where they would change.
	DryRun bool
	Rules  []Rule
}

// Rule matches a call when each of its parts does. An empty list of From, To
// or When leaves that part open.
type Rule struct {
	From []Source
	To   []Operation
	When []Header
}

// Source matches callers: any of Principals (if there are any) and none of
// NotPrincipals.
type Source struct {
	Principals, NotPrincipals []PrincipalPattern
}

// Operation matches methods: any of Paths (if there are any) and none of
// NotPaths.
type Operation struct {
	Paths, NotPaths []PathPattern
}

// PrincipalPattern is an exact principal, or with Prefix set all whose path
// starts with Path. Any matches every principal.
type PrincipalPattern struct {
	Principal
	Prefix bool
	Any    bool
}

// PathPattern is a full method ("/pkg.Service/Method"), or with Prefix set all
// methods that start so. An empty prefix matches everything.
type PathPattern struct {
	Path   string
	Prefix bool
}

// Header matches metadata: some value of Name equals one of Values, starts with
// one of Prefixes or matches one of Regexps, or with Present set there is any.
type Header struct {
	Name     string
	Values   []string
	Prefixes []string
	Regexps  []*regexp.Regexp
	Present  bool
	Not      bool // the other way round
}

// Decision is the answer to one call.
type Decision struct {
	Allowed bool
	// Policy is the name of the policy that decided, and Rule the index of its
	// rule; "" and -1 when nothing matched.
	Policy string
	Rule   int
	// DryRun is the name of a policy in dry run that would have decided the
	// other way, "" if there is none.
	DryRun string
}

// Matcher is a compiled set of policies, immutable and safe for concurrent use.
// The zero value denies everything.
type Matcher struct {
	values   func(context.Context, string) []string
	exact    map[string]candidates // by full method
	services map[string]candidates // by "/pkg.Service/"
	rest     candidates
}

// candidates are the rules that can match a method.
type candidates struct {
	deny, allow []rule
}

type rule struct {
	Rule
	policy string
	index  int
	dryRun bool
}

// Compile indexes policies by method. values reads the metadata of the call that
// a context belongs to; it is asked only for rules with headers.
func Compile(policies []Policy, values func(context.Context, string) []string) *Matcher {
	m := &Matcher{values: values, exact: map[string]candidates{}, services: map[string]candidates{}}
	for _, policy := range policies {
		for _, r := range policy.Rules {
			for _, operation := range r.To {
				m.name(operation.Paths)
				m.name(operation.NotPaths)
			}
		}
	}
	for method := range m.exact {
		m.exact[method] = collect(policies, func(p PathPattern) bool { return p.Match(method) })
	}
	for service := range m.services {
		m.services[service] = collect(policies, func(p PathPattern) bool {
			return p.Prefix && (strings.HasPrefix(p.Path, service) || strings.HasPrefix(service, p.Path))
		})
	}
	m.rest = collect(policies, func(p PathPattern) bool { return p.Prefix })
	return m
}

// name notes the methods and services that a rule speaks of.
func (m *Matcher) name(patterns []PathPattern) {
	for _, p := range patterns {
		if !p.Prefix {
			m.exact[p.Path] = candidates{}
		}
		if service := service(p.Path); service != "" {
			m.services[service] = candidates{}
		}
	}
}

// service returns "/pkg.Service/" of a full method, or "".
func service(path string) string {
	end := strings.LastIndexByte(path, '/')
	if end <= 0 {
		return ""
	}
	return path[:end+1]
}

// collect keeps the rules that may match a path for which possible holds.
func collect(policies []Policy, possible func(PathPattern) bool) candidates {
	var c candidates
	for _, policy := range policies {
		for i, r := range policy.Rules {
			if !reaches(r, possible) {
				continue
			}
			compiled := rule{Rule: r, policy: policy.Name, index: i, dryRun: policy.DryRun}
			if policy.Deny {
				c.deny = append(c.deny, compiled)
			} else {
				c.allow = append(c.allow, compiled)
			}
		}
	}
	return c
}

func reaches(r Rule, possible func(PathPattern) bool) bool {
	if len(r.To) == 0 {
		return true
	}
	for _, operation := range r.To {
		if len(operation.Paths) == 0 {
			return true
		}
		if slices.ContainsFunc(operation.Paths, possible) {
			return true
		}
	}
	return false
}

// Decide says whether the caller may call the method. The context is that of
// the call, for rules that read its metadata.
func (m *Matcher) Decide(ctx context.Context, caller Principal, method string) Decision {
	c, ok := m.exact[method]
	if !ok {
		if c, ok = m.services[service(method)]; !ok {
			c = m.rest
		}
	}
	denies, wouldDeny := m.first(ctx, c.deny, (*Rule).MayCover, caller, method)
	if denies != nil {
		return Decision{Policy: denies.policy, Rule: denies.index}
	}
	allows, wouldAllow := m.first(ctx, c.allow, (*Rule).Covers, caller, method)
	if allows != nil {
		return Decision{Allowed: true, Policy: allows.policy, Rule: allows.index, DryRun: wouldDeny}
	}
	if wouldDeny != "" {
		wouldAllow = "" // both together would change nothing
	}
	return Decision{Rule: -1, DryRun: wouldAllow}
}

// first returns the first rule that matches, and the policy of the first one in dry
// run that matched before it.
func (m *Matcher) first(ctx context.Context, rules []rule, covers func(*Rule, Principal, string) bool, caller Principal, method string) (found *rule, dryRun string) {
	for i := range rules {
		r := &rules[i]
		if r.dryRun && dryRun != "" || !covers(&r.Rule, caller, method) || !m.matchWhen(ctx, r.When) {
			continue
		}
		if !r.dryRun {
			return r, dryRun
		}
		dryRun = r.policy
	}
	return nil, dryRun
}

// Covers says whether the rule's From and To match. Of the zero Principal no From does.
func (r *Rule) Covers(caller Principal, method string) bool {
	if caller == (Principal{}) {
		return len(r.From) == 0 && matchTo(r.To, method)
	}
	return matchFrom(r.From, caller) && matchTo(r.To, method)
}

// MayCover is Covers for rules that restrict: of the zero Principal every From matches.
func (r *Rule) MayCover(caller Principal, method string) bool {
	return (caller == (Principal{}) || matchFrom(r.From, caller)) && matchTo(r.To, method)
}

func matchFrom(sources []Source, caller Principal) bool {
	for i := range sources {
		s := &sources[i]
		if (len(s.Principals) == 0 || anyPrincipal(s.Principals, caller)) && !anyPrincipal(s.NotPrincipals, caller) {
			return true
		}
	}
	return len(sources) == 0
}

func anyPrincipal(patterns []PrincipalPattern, caller Principal) bool {
	for i := range patterns {
		if patterns[i].Match(caller) {
			return true
		}
	}
	return false
}

// Match says whether the pattern covers the caller.
func (p *PrincipalPattern) Match(caller Principal) bool {
	switch {
	case p.Any:
		return true
	case p.Prefix:
		return strings.HasPrefix(caller.Path, p.Path) && p.TrustDomain == caller.TrustDomain
	default: // the domain is the same for most
		return p.Path == caller.Path && p.TrustDomain == caller.TrustDomain
	}
}

func matchTo(operations []Operation, method string) bool {
	for i := range operations {
		o := &operations[i]
		if (len(o.Paths) == 0 || anyPath(o.Paths, method)) && !anyPath(o.NotPaths, method) {
			return true
		}
	}
	return len(operations) == 0
}

func anyPath(patterns []PathPattern, method string) bool {
	for _, p := range patterns {
		if p.Match(method) {
			return true
		}
	}
	return false
}

// Match says whether the pattern covers the method.
func (p PathPattern) Match(method string) bool {
	if p.Prefix {
		return strings.HasPrefix(method, p.Path)
	}
	return p.Path == method
}

func (m *Matcher) matchWhen(ctx context.Context, headers []Header) bool {
	for i := range headers {
		h := &headers[i]
		if !h.Match(m.values(ctx, h.Name)) {
			return false
		}
	}
	return true
}

// Match says whether these values of the header fit.
func (h *Header) Match(values []string) bool { return h.among(values) != h.Not }

func (h *Header) among(values []string) bool {
	if h.Present && len(values) > 0 {
		return true
	}
	for _, value := range values {
		if slices.Contains(h.Values, value) {
			return true
		}
		for _, prefix := range h.Prefixes {
			if strings.HasPrefix(value, prefix) {
				return true
			}
		}
		for _, re := range h.Regexps {
			if re.MatchString(value) {
				return true
			}
		}
	}
	return false
}
