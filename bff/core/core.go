// Package core is what every door calls: it finds out who is calling, applies limits and rules, adds what services
// need to know, answers from the cache, and calls the services.
//
// A door calls [Core.Authenticate] once per client request or connection, [Core.Admit] once per client request, and
// then [Core.Invoke] or [Core.Open] for each call. All errors are [*fault.Error], fit for clients.
//
// Invoke is the hot path. What it needs (rules, header templates, cache settings) is compiled by [New]; per call it
// only looks up.
package core

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// defaultCacheBytes bounds the cache if Options do not.
const defaultCacheBytes = 64 << 20

// MethodConfig is one entry of the "methods" section: what holds for the methods that its pattern covers.
type MethodConfig struct {
	// Allow is the rule, a CEL expression: who may call. "true" is everybody.
	Allow string `yaml:"allow" json:"allow" jsonschema:"minLength=1" jsonschema_description:"The rule, a CEL expression over request, principal and now; true is everybody."`
	// Cache lets answers be reused; without it, none is kept.
	Cache *cache.Config `yaml:"cache" json:"cache,omitempty" jsonschema_description:"Lets answers be reused."`
}

// Options are what a [Core] is made of.
type Options struct {
	// Descriptors are the methods that there are.
	Descriptors *upstream.Descriptors
	// Next calls the services.
	Next upstream.Caller
	// Methods says by pattern ([auth.Match]) what may be called by whom. What it does not list is denied.
	Methods map[string]MethodConfig
	// Upstreams are the configured upstreams; the core applies their headers.
	Upstreams map[string]upstream.Config
	// Limits apply to every client request, all of them.
	Limits []limit.Config
	// CacheBytes bounds the memory of cached answers; 64 MiB if 0.
	CacheBytes int64
	// Auth finds out who is calling; nil admits everybody as the anonymous principal, and no credentials.
	Auth *auth.Authenticator
	// Logger is told what no caller gets to see; nil discards it.
	Logger *slog.Logger
	// Metrics takes the core's metrics, which cores share; nil registers them nowhere.
	Metrics prometheus.Registerer
	// Tracer traces calls; nil traces none.
	Tracer trace.TracerProvider
	// Previous is the core that this one will replace, not closed yet; nil if there is none. What clients have used of
	// limits that stay as they are goes on to count, and answers are still known if upstreams and cache settings stay.
	Previous *Core
}

// Core is what every door calls. It is safe for concurrent use. Close it when done.
type Core struct {
	next    upstream.Caller
	rules   *auth.Rules
	auth    *auth.Authenticator
	methods map[*upstream.Method]*method
	cache   *cache.Cache
	answers answers
	limits  []limited
	metrics *metrics
	tracer  trace.Tracer
	traced  bool // the tracer does something
	logger  *slog.Logger
}

var _ upstream.RowCaller = (*Core)(nil)

// method is what is compiled for one method. But for its metrics, it is immutable.
type method struct {
	*upstream.Method
	headers *headerPolicy
	cache   *cache.Config // nil: answers are not kept
	public  bool

	// What calls would otherwise make or look up each time.
	spanOptions []trace.SpanStartOption
	ok          [doors]lazy[prometheus.Counter]
	hits        lazy[prometheus.Counter]
	duration    lazy[prometheus.Observer]
}

// limited is one configured limit.
type limited struct {
	*limit.Limiter
	config   limit.Config
	per      limit.Per
	admitted *lazy[prometheus.Counter]
}

// Operation is what a client asks for, as limits see it.
type Operation struct {
	// Name names the operation; it must come from configuration or descriptors, not from the client.
	Name string
	// Door is the door that the client stands at.
	Door request.Door
}

// New makes a Core. The error holds a [mistake.Mistake] for everything that is wrong, at paths like ["methods",
// PATTERN, "allow"], ["upstreams", NAME, "headers", "set", HEADER] and ["limits", "0", "rate"].
func New(o Options) (*Core, error) {
	c := &Core{next: o.Next, auth: o.Auth, logger: o.Logger}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider()
	}
	c.tracer = o.Tracer.Tracer("github.com/portico-bff/portico/bff/core")
	_, untraced := c.tracer.(noop.Tracer)
	c.traced = !untraced
	err := errors.Join(c.compileMethods(o), c.compileLimits(o.Limits, o.Previous))
	if err != nil {
		return nil, err
	}
	if c.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, err
	}
	c.answers = answersOf(&o)
	if o.Previous != nil && reflect.DeepEqual(o.Previous.answers, c.answers) {
		c.cache = o.Previous.cache.Share()
		return c, nil
	}
	if c.cache, err = cache.New(c.answers.size); err != nil {
		return nil, mistake.In(err, "cache")
	}
	return c, nil
}

// answers are the settings that decide what an answer in the cache is and how long it holds. Who may see it is none of
// them: the rule comes before every look.
type answers struct {
	size      int64
	upstreams map[string]upstream.Config
	cached    map[string]*cache.Config // by pattern, for all patterns: each may take methods away from another
}

func answersOf(o *Options) answers {
	a := answers{size: o.CacheBytes, upstreams: o.Upstreams, cached: make(map[string]*cache.Config, len(o.Methods))}
	if a.size == 0 {
		a.size = defaultCacheBytes
	}
	for pattern, m := range o.Methods {
		a.cached[pattern] = m.Cache
	}
	return a
}

// Close waits for shared calls under way and ends the cache. It does not close what [New] was given.
func (c *Core) Close() error {
	c.cache.Close()
	return nil
}

// compileMethods compiles the rules, the header policies and the cache settings.
func (c *Core) compileMethods(o Options) error {
	var all []error
	patterns := make(map[string]string, len(o.Methods))
	for _, p := range slices.Sorted(maps.Keys(o.Methods)) {
		patterns[p] = o.Methods[p].Allow
		if cc := o.Methods[p].Cache; cc != nil {
			all = append(all, mistake.In(cc.Validate(), "methods", p, "cache"))
		}
	}
	rules, err := auth.NewRules(patterns, o.Descriptors)
	c.rules = rules
	for _, m := range mistake.List(err) {
		at := []string{"methods"}
		if len(m.Path) == 1 && !m.Key { // the pattern's rule rather than the pattern
			moved := *m
			moved.Path = append(slices.Clone(m.Path), "allow")
			m = &moved
		}
		all = append(all, mistake.In(m, at...))
	}
	winners, _ := auth.Match(slices.Collect(maps.Keys(o.Methods)), o.Descriptors) // NewRules has reported its mistakes
	policies := map[string]*headerPolicy{}
	for _, name := range slices.Sorted(maps.Keys(o.Upstreams)) {
		policy, err := newHeaderPolicy(o.Upstreams[name].Headers)
		all = append(all, mistake.In(err, "upstreams", name, "headers"))
		for _, service := range o.Upstreams[name].Services {
			policies[service] = policy
		}
	}
	c.methods = map[*upstream.Method]*method{}
	for _, service := range o.Descriptors.Services() {
		policy := policies[service]
		if policy == nil {
			policy = &headerPolicy{}
		}
		for _, m := range o.Descriptors.Methods(service) {
			compiled := &method{Method: m, headers: policy, spanOptions: spanOptions(m)}
			if p, ok := winners[m]; ok && m.Unary() {
				compiled.cache = o.Methods[p].Cache
				compiled.public = compiled.cache != nil && compiled.cache.Scope == cache.Public
			}
			c.methods[m] = compiled
		}
	}
	return errors.Join(all...)
}

// compileLimits makes the limits. Of those that the previous core has too, it takes over what is counted.
func (c *Core) compileLimits(configs []limit.Config, previous *Core) error {
	var all []error
	var there []limited
	if previous != nil {
		there = slices.Clone(previous.limits)
	}
	for i, cfg := range configs {
		if at := slices.IndexFunc(there, func(l limited) bool { return l.config == cfg }); at >= 0 {
			c.limits = append(c.limits, there[at])
			there = slices.Delete(there, at, at+1)
			continue
		}
		l, err := limit.New(cfg)
		if err != nil {
			all = append(all, mistake.In(err, "limits", strconv.Itoa(i)))
			continue
		}
		c.limits = append(c.limits, limited{Limiter: l, config: cfg, per: cfg.Per, admitted: &lazy[prometheus.Counter]{}})
	}
	return errors.Join(all...)
}

// Authenticate finds out who shows the credentials and returns a context that carries the principal. Doors call it
// once per client request or connection.
func (c *Core) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	p, err := c.Identify(ctx, cred)
	if err != nil {
		return ctx, err
	}
	return auth.NewContext(ctx, p), nil
}

// Identify is [Core.Authenticate] for those whose context has a place for the principal already.
func (c *Core) Identify(ctx context.Context, cred auth.Credentials) (*auth.Principal, error) {
	p, err := c.principal(ctx, cred)
	if err != nil {
		f := fault.From(err)
		c.metrics.auth.WithLabelValues(doorLabel(cred.Door), fault.Name(f.Code)).Inc()
		return nil, f
	}
	c.metrics.authenticated(cred.Door, p.Kind).Inc()
	return p, nil
}

func (c *Core) principal(ctx context.Context, cred auth.Credentials) (*auth.Principal, error) {
	switch {
	case c.auth != nil:
		return c.auth.Authenticate(ctx, cred)
	case cred.Bearer != "" || cred.APIKey != "":
		return nil, fault.New(codes.Unauthenticated, "no credentials are accepted here")
	default:
		return &auth.Principal{Kind: auth.Anonymous}, nil
	}
}

// Ready returns what the core still waits for, by name: the keys of token issuers. It is empty when nothing is.
func (c *Core) Ready(context.Context) map[string]error {
	out := map[string]error{}
	if c.auth != nil {
		if err := c.auth.Ready(); err != nil {
			out["auth"] = err
		}
	}
	return out
}

// Admit counts a client request of a weight (1 for a simple one) against every limit. If one refuses, nothing is
// counted and the error is ResourceExhausted with the time after which to try again. The result is that of the limit
// that is nearest to its end, for response headers; its Limit is 0 if no limit concerns the client.
func (c *Core) Admit(ctx context.Context, op Operation, weight int) (limit.Result, error) {
	tightest := limit.Result{Allowed: true}
	for i, l := range c.limits {
		key, ok := limitKey(ctx, l.per, op)
		if !ok {
			continue
		}
		r := l.Take(key, weight)
		if !r.Allowed {
			c.metrics.limits.WithLabelValues(string(l.per), "refused").Inc()
			for _, before := range c.limits[:i] {
				if key, ok := limitKey(ctx, before.per, op); ok {
					before.Give(key, weight)
				}
			}
			return r, tooMany(r)
		}
		l.admitted.get(c.metrics.limits, string(l.per), "admitted").Inc()
		if tightest.Limit == 0 || r.Remaining*tightest.Limit < tightest.Remaining*r.Limit {
			tightest = r
		}
	}
	return tightest, nil
}

func tooMany(r limit.Result) error {
	if r.RetryAfter == 0 {
		return fault.New(codes.ResourceExhausted, "the request asks for more than the limit ever allows at once")
	}
	return fault.New(codes.ResourceExhausted, "too many requests", fault.WithRetryAfter(r.RetryAfter))
}

// limitKey is who shares a limit with this request; false if the limit does not concern it.
func limitKey(ctx context.Context, per limit.Per, op Operation) (string, bool) {
	p := auth.FromContext(ctx)
	switch per {
	case limit.PerPrincipal:
		if p.Authenticated {
			return string(p.Kind) + "\x00" + p.Issuer + "\x00" + p.Subject, true
		}
		return addressKey(request.FromContext(ctx).Remote), true
	case limit.PerAddress:
		return addressKey(request.FromContext(ctx).Remote), true
	case limit.PerDevice:
		return p.Issuer + "\x00" + p.Subject, p.Kind == auth.Device
	case limit.PerDoor:
		return string(op.Door), true
	default:
		return "", false
	}
}

// addressKey is a client's address; of an IPv6 one the /64, which one client has all of.
func addressKey(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		if prefix, err := a.WithZone("").Prefix(64); err == nil {
			return prefix.Addr().String()
		}
	}
	return a.String()
}
