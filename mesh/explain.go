package mesh

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// Query is a call to explain.
type Query struct {
	// Caller makes the call; a zero id leaves authorization out.
	Caller spiffeid.ID
	// Target is what the client was made for; "" leaves the client's side out.
	Target string
	// Method is the full method: "/pkg.Service/Method".
	Method string
	// Metadata is what the call carries.
	Metadata metadata.MD
}

// Explanation says what a policy makes of a call.
type Explanation struct {
	Query Query

	// Allowed is the server's answer. Policy is the Authorization that gave it,
	// and Rule the place of its rule; "" and -1 if none matched, which denies.
	Allowed bool
	Policy  string
	Rule    int
	// DryRun is a policy in dry run that would have answered otherwise.
	DryRun string

	// Overload is what bounds the server's work on such calls.
	Overload OverloadExplanation
	// RateLimits bound how often the caller may call the method.
	RateLimits []RateLimitExplanation
	// Egress is the document that lets the caller call the target, and EgressDenied
	// why none does. Both are "" where the policy has no Egress, or the query no
	// caller.
	Egress, EgressDenied string
	// Destination is the host of the Destination in use, "" for the defaults.
	Destination  string
	Identities   []spiffeid.ID
	LoadBalancer string
	// HashHeader is what CONSISTENT_HASH goes by.
	HashHeader string
	// Outside says that the server is not of the mesh and known by its name, or by
	// ServerName: its tls mode is SIMPLE.
	Outside    bool
	ServerName string
	// Plaintext says that the target's server takes callers without TLS, too: its
	// PeerAuthentication is PERMISSIVE.
	Plaintext bool
	// Locality says which endpoints are near, and Warmup how new ones come into use.
	Locality LocalityExplanation
	Warmup   WarmupExplanation
	// Limits are the connectionPool's, in its words; empty if it bounds nothing.
	Limits map[string]int
	// Outlier says when an endpoint is left out.
	Outlier OutlierExplanation
	// Route is the host by which the Route was found, Entry the place of its
	// entry; "" and -1 for the defaults.
	Route   string
	Entry   int
	Timeout time.Duration // zero: the caller's, or 15s if it has none
	// TimeoutMargin is how much earlier than its caller's deadline a call ends, and
	// MinRemainingTime how much time it must have left to be made.
	TimeoutMargin, MinRemainingTime time.Duration
	Retries                         int
	PerTryTimeout                   time.Duration
	// Hedges is how many attempts may run beside the first, HedgingDelay apart, or what
	// HedgingPercentile percent of the entry's calls take, once that is known.
	Hedges            int
	HedgingDelay      time.Duration
	HedgingPercentile float64
	// Breaker stops the entry's calls.
	Breaker BreakerExplanation
	// Split is how the entry shares calls out among subsets, by the value of the
	// header SplitBy or else by chance; empty if it does not.
	Split   []SubsetShare
	SplitBy string
	// Fault is what the entry does to calls on purpose.
	Fault FaultExplanation
	// Mirror is the subset that so many percent of the calls are copied to.
	Mirror        string
	MirrorPercent float64
	RetryOn       []codes.Code
	// RetryRatio and MinRetriesPerSecond are the budget's.
	RetryRatio, MinRetriesPerSecond float64

	// Endpoints of the target's open clients, where a [Mesh] explains.
	Endpoints []EndpointStats
	// Ignored is what an xDS server has sent for the target, to such a client of
	// package mesh/xds, and what has no effect; a line each.
	Ignored []string
}

// RateLimitExplanation is the bucket of one caller and one method by one RateLimit:
// Burst calls at once, and one more every so often.
type RateLimitExplanation struct {
	Name  string
	Burst int
	Every time.Duration
}

// SubsetShare is one part of a split: a subset ("" for all endpoints) and its weight,
// which counts in proportion to the others.
type SubsetShare struct {
	Subset string
	Weight int
}

// Explain says what the policy makes of a call, without making it.
func (p *Policy) Explain(q Query) Explanation {
	e := Explanation{Query: q, Rule: -1, Entry: -1}
	if !q.Caller.IsZero() {
		ctx := metadata.NewIncomingContext(context.Background(), q.Metadata)
		caller := authz.Principal{TrustDomain: q.Caller.TrustDomain().Name(), Path: q.Caller.Path()}
		decision := p.matcher.Decide(ctx, caller, q.Method)
		p.rateRules(caller, q.Method, func(limit *policy.RateLimit, rule *policy.RateRule) bool {
			e.RateLimits = append(e.RateLimits, RateLimitExplanation{Name: limit.Name, Burst: rule.Limit.Burst, Every: rule.Limit.Every})
			return true
		})
		e.Overload = p.explainOverload(caller, q.Method)
		e.Allowed, e.Policy, e.Rule, e.DryRun = decision.Allowed, decision.Policy, decision.Rule, decision.DryRun
	}
	if q.Target == "" {
		return e
	}
	if !q.Caller.IsZero() {
		out := findEgress(p, q.Caller, q.Target)
		e.Egress = out.name
		if out.err != nil {
			e.EgressDenied = status.Convert(out.err).Message()
		}
	}
	plan := newPlan(p, q.Target)
	rule, entry := plan.rule(metadata.NewOutgoingContext(context.Background(), q.Metadata), q.Method)
	e.Destination = plan.destination.Host
	e.Identities = plan.destination.Identities
	e.LoadBalancer = plan.destination.Balance.Algorithm.String()
	e.HashHeader = plan.destination.HashHeader
	e.Outside, e.ServerName = plan.destination.TLS.Mode == policy.SimpleTLS, plan.destination.TLS.ServerName
	e.Plaintext = p.permissiveAt(plan.destination.Identities, q.Target)
	e.places(&plan.destination)
	e.Limits = limits(&plan.destination)
	e.Timeout = rule.Timeout
	e.TimeoutMargin, e.MinRemainingTime = rule.Margin, rule.Minimum
	e.Retries = rule.Retries.Attempts
	e.PerTryTimeout = rule.Retries.PerTryTimeout
	e.Hedges, e.HedgingDelay, e.HedgingPercentile = max(0, rule.Hedging.MaxAttempts-1), rule.Hedging.Delay, rule.Hedging.Percentile
	e.RetryOn = rule.Retries.On.Codes()
	e.Fault = FaultExplanation(rule.Fault)
	if rule.Mirror != nil {
		e.Mirror, e.MirrorPercent = rule.Mirror.Subset.Name, rule.Mirror.Percent
	}
	e.SplitBy = rule.Split.By
	e.Breaker = explainBreaker(&rule.Breaker)
	for _, share := range rule.Split.To {
		part := SubsetShare{Weight: share.Weight}
		if share.Subset != nil {
			part.Subset = share.Subset.Name
		}
		e.Split = append(e.Split, part)
	}
	e.Outlier = explainOutlier(&plan.destination.Outlier)
	e.RetryRatio, e.MinRetriesPerSecond = plan.destination.Budget.Ratio, plan.destination.Budget.MinPerSecond
	if entry >= 0 {
		e.Route, e.Entry = plan.host, entry
	}
	return e
}

// String tells it in a few lines, for people.
func (e Explanation) String() string {
	var b strings.Builder
	if !e.Query.Caller.IsZero() {
		verdict := "denied"
		if e.Allowed {
			verdict = "allowed"
		}
		reason := "no rule allows it"
		if e.Policy != "" {
			reason = fmt.Sprintf("Authorization %q, rule %d", e.Policy, e.Rule+1)
		}
		fmt.Fprintf(&b, "%s from %s: %s (%s)\n", e.Query.Method, e.Query.Caller, verdict, reason)
		if e.DryRun != "" {
			fmt.Fprintf(&b, "  Authorization %q in dry run would decide otherwise\n", e.DryRun)
		}
	}
	for _, limit := range e.RateLimits {
		fmt.Fprintf(&b, "  rate: %d at once, and one every %v (RateLimit %q)\n", limit.Burst, limit.Every, limit.Name)
	}
	e.Overload.write(&b)
	if e.Query.Target == "" {
		return b.String()
	}
	destination := "no Destination: defaults, and ExpectIdentity must pin the server"
	if e.Destination != "" {
		destination = fmt.Sprintf("Destination %q", e.Destination)
	}
	fmt.Fprintf(&b, "%s: %s\n", e.Query.Target, destination)
	switch {
	case e.EgressDenied != "":
		fmt.Fprintf(&b, "  egress: refused (%s)\n", e.EgressDenied)
	case e.Egress != "":
		fmt.Fprintf(&b, "  egress: allowed (Egress %q)\n", e.Egress)
	}
	for _, id := range e.Identities {
		fmt.Fprintf(&b, "  server: %s\n", id)
	}
	if e.Outside {
		fmt.Fprintf(&b, "  server: outside of the mesh, by its name %s\n", cmp.Or(e.ServerName, "in the target"))
	}
	if e.Plaintext {
		b.WriteString("  the server takes callers without TLS, too (PeerAuthentication is PERMISSIVE)\n")
	}
	route := "no Route: defaults"
	if e.Route != "" {
		route = fmt.Sprintf("Route %q, entry %d", e.Route, e.Entry+1)
	}
	timeout := fmt.Sprintf("the caller's, or %v", policy.DefaultTimeout)
	if e.Timeout > 0 {
		timeout = e.Timeout.String()
	}
	fmt.Fprintf(&b, "  balancing: %s\n", e.LoadBalancer)
	e.writePlaces(&b)
	e.writeLimits(&b)
	e.Outlier.write(&b)
	fmt.Fprintf(&b, "  %s\n", route)
	e.writeSplit(&b)
	e.writeFault(&b)
	fmt.Fprintf(&b, "  timeout: %s\n", timeout)
	e.writeMargin(&b)
	e.Breaker.write(&b)
	fmt.Fprintf(&b, "  retries: %d on %s, if the method is idempotent", e.Retries, codeList(e.RetryOn))
	if e.PerTryTimeout > 0 {
		fmt.Fprintf(&b, ", %v a try", e.PerTryTimeout)
	}
	if e.Hedges > 0 {
		delay := e.HedgingDelay.String()
		if e.HedgingPercentile > 0 {
			delay = fmt.Sprintf("p%g of the entry's calls (%s until it is known)", e.HedgingPercentile, delay)
		}
		fmt.Fprintf(&b, "\n  hedges: %d, %s apart, if the method is idempotent", e.Hedges, delay)
	}
	fmt.Fprintf(&b, "\n  budget: %g retries a call, and %g a second\n", e.RetryRatio, e.MinRetriesPerSecond)
	e.writeLive(&b)
	return b.String()
}

// limits returns the bounds that a destination sets.
func limits(d *policy.Destination) map[string]int {
	all := map[string]int{
		"maxConnections":           d.Pool.MaxConnections,
		"http2MaxRequests":         d.Pool.MaxRequests,
		"http1MaxPendingRequests":  d.Pool.MaxPending,
		"maxConcurrentStreams":     d.Balance.MaxActive,
		"maxRequestsPerConnection": d.Pool.MaxRequestsPerConnection,
	}
	if d.Pool.MaxRequests == 0 {
		delete(all, "http1MaxPendingRequests")
	}
	maps.DeleteFunc(all, func(name string, n int) bool { return n == 0 && name != "http1MaxPendingRequests" })
	if len(all) == 0 {
		return nil
	}
	return all
}

// writeLimits tells what the balancer goes by and what bounds there are.
func (e *Explanation) writeLimits(b *strings.Builder) {
	if e.HashHeader != "" {
		fmt.Fprintf(b, "  by the header %s\n", e.HashHeader)
	}
	for i, name := range slices.Sorted(maps.Keys(e.Limits)) {
		before := ", "
		if i == 0 {
			before = "  limits: "
		}
		fmt.Fprintf(b, "%s%s %d", before, name, e.Limits[name])
	}
	if len(e.Limits) > 0 {
		b.WriteString("\n")
	}
}

// writeSplit tells where calls go, in a line.
func (e *Explanation) writeSplit(b *strings.Builder) {
	for i, share := range e.Split {
		before := ", "
		if i == 0 {
			before = "  to: "
		}
		name := "any endpoint"
		if share.Subset != "" {
			name = "subset " + share.Subset
		}
		fmt.Fprintf(b, "%s%s (%d)", before, name, share.Weight)
	}
	switch {
	case e.SplitBy != "":
		fmt.Fprintf(b, ", by the value of %s\n", e.SplitBy)
	case len(e.Split) > 0:
		b.WriteString("\n")
	}
}

// writeFault tells of faults and copies, a line each.
func (e *Explanation) writeFault(b *strings.Builder) {
	if f := e.Fault; f.DelayPercent > 0 {
		fmt.Fprintf(b, "  fault: %g%% wait %v\n", f.DelayPercent, f.Delay)
	}
	if f := e.Fault; f.AbortPercent > 0 {
		fmt.Fprintf(b, "  fault: %g%% end %v\n", f.AbortPercent, f.Abort)
	}
	if e.Mirror != "" {
		fmt.Fprintf(b, "  mirror: %g%% are copied to subset %s\n", e.MirrorPercent, e.Mirror)
	}
}

func codeList(list []codes.Code) string {
	names := make([]string, len(list))
	for i, code := range list {
		names[i] = code.String()
	}
	return strings.Join(names, ", ")
}
