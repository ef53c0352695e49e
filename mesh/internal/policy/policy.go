// Package policy reads mesh policy files: YAML documents in the words of Istio
// and Linkerd. Everything is checked at once, each mistake with its place; a key
// or a value that the mesh does not honour is refused by name, never ignored.
package policy

import (
	"context"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/budget"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// Policy is the contents of one file.
type Policy struct {
	Authorizations []authz.Policy
	Destinations   []Destination
	Routes         []Route
	Egresses       []Egress
	RateLimits     []RateLimit
	Peers          []PeerAuthentication
	Overloads      []Overload
}

// Destination says how one service is reached.
type Destination struct {
	Host       string
	Identities []spiffeid.ID
	TLS        TLS
	Balance    picker.Config
	HashHeader string // what picker.ConsistentHash goes by
	Locality   Locality
	Pool       Pool
	Outlier    outlier.Config
	Budget     budget.Config
	Subsets    []*Subset
}

// Route says how calls to some hosts are made: the first entry whose match fits.
type Route struct {
	Hosts []string
	Rules []RouteRule
}

// RouteRule is one entry of a route.
type RouteRule struct {
	Name    string
	Match   []Match       // any of them; none: every call
	Timeout time.Duration // no call takes longer; zero leaves it to the caller
	// Margin is how much earlier than the caller's deadline a call ends, and Minimum
	// how much time it must have left to be made.
	Margin, Minimum time.Duration
	Retries         Retries
	Hedging         Hedging
	Breaker         Breaker
	Split           Split
	Fault           Fault
	Mirror          *Mirror // nil: none
}

// DefaultTimeout is the deadline of a call that has none, and no route's.
const DefaultTimeout = 15 * time.Second

// Hedging says when an attempt gets company, in the words of gRFC A6.
type Hedging struct {
	MaxAttempts int           // at a time, with the first; below two there is no hedging
	Delay       time.Duration // between one and the next
	// Percentile of what the entry's calls take is the delay, once that is known; zero: Delay
	// in any case.
	Percentile float64
}

// Match matches a call when each of its parts does.
type Match struct {
	Path    []authz.PathPattern // at most one; none: every method
	Headers []authz.Header
}

// Retries says which failed attempts are made again.
type Retries struct {
	Attempts      int // retries, beyond the first attempt
	PerTryTimeout time.Duration
	On            Conditions
	// IgnorePrevious prefers hosts that were not tried yet.
	IgnorePrevious bool
	// RemoteLocalities prefers hosts of other zones than the nearest.
	RemoteLocalities bool
	// BaseBackoff is about what the first retry waits; each further one waits
	// twice as long, up to MaxBackoff.
	BaseBackoff, MaxBackoff time.Duration
}

// Conditions is a set of status codes.
type Conditions uint32

// Has says whether the code is in the set.
func (c Conditions) Has(code codes.Code) bool { return code < 32 && c&(1<<code) != 0 }

// Add returns the set with these codes too.
func (c Conditions) Add(list ...codes.Code) Conditions {
	for _, code := range list {
		c |= 1 << code
	}
	return c
}

// Codes lists the set.
func (c Conditions) Codes() []codes.Code {
	var list []codes.Code
	for code := range codes.Code(32) {
		if c.Has(code) {
			list = append(list, code)
		}
	}
	return list
}

// DefaultDestination is what holds for a destination that no document names.
func DefaultDestination() Destination {
	return Destination{
		Outlier: outlier.Config{
			ConsecutiveGatewayErrors: 5,
			Interval:                 10 * time.Second,
			BaseEjection:             30 * time.Second,
			MaxEjection:              300 * time.Second,
			MaxEjectionPercent:       50,
		},
		Budget: budget.Config{Ratio: 0.2, MinPerSecond: 10, TTL: 10 * time.Second},
	}
}

// DefaultRule is what holds for a call that no route names.
func DefaultRule() RouteRule {
	return RouteRule{Retries: defaultRetries()}
}

func defaultRetries() Retries {
	return Retries{
		Attempts:       2,
		On:             Conditions(0).Add(codes.Unavailable),
		IgnorePrevious: true,
		BaseBackoff:    25 * time.Millisecond,
		MaxBackoff:     250 * time.Millisecond,
	}
}

// Names says whether a policy's host means the target that a client was made
// for: the whole target, its host and port, or its host.
func Names(host, target string) bool {
	if host == target {
		return true
	}
	endpoint := EndpointOf(target)
	if host == endpoint {
		return true
	}
	name, _, ok := cutPort(endpoint)
	return ok && host == name
}

// EndpointOf returns a target without its scheme and what looks it up.
func EndpointOf(target string) string {
	endpoint := target
	if _, rest, ok := strings.Cut(target, "://"); ok {
		if _, path, ok := strings.Cut(rest, "/"); ok {
			rest = path
		}
		endpoint = rest
	} else if scheme, rest, ok := strings.Cut(target, ":"); ok && (scheme == "dns" || scheme == "static" || scheme == "passthrough") {
		endpoint = rest
	}
	return endpoint
}

func cutPort(endpoint string) (host, port string, ok bool) {
	at := strings.LastIndexByte(endpoint, ':')
	if at < 0 || strings.Contains(endpoint, ",") {
		return "", "", false
	}
	return strings.Trim(endpoint[:at], "[]"), endpoint[at+1:], true
}

// Matches says whether the entry is for this call. values reads its metadata.
func (r *RouteRule) Matches(ctx context.Context, method string, values func(context.Context, string) []string) bool {
	for i := range r.Match {
		if r.Match[i].matches(ctx, method, values) {
			return true
		}
	}
	return len(r.Match) == 0
}

func (m *Match) matches(ctx context.Context, method string, values func(context.Context, string) []string) bool {
	for _, p := range m.Path {
		if !p.Match(method) {
			return false
		}
	}
	for i := range m.Headers {
		if !m.Headers[i].Match(values(ctx, m.Headers[i].Name)) {
			return false
		}
	}
	return true
}
