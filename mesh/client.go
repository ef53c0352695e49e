package mesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/portico-bff/portico/mesh/internal/budget"
	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/source"
	"github.com/portico-bff/portico/mesh/internal/timeout"
)

// ExpectIdentity names the SPIFFE ids that the server of a client may have,
// where the policy has no Destination for it. It is an option of
// [Mesh.NewClient] and comes before the policy's identities.
func ExpectIdentity(ids ...string) grpc.DialOption { return expectOption{ids: ids} }

type expectOption struct {
	grpc.EmptyDialOption
	ids []string
}

// NewClient returns a connection to a service of the mesh. The target is one of
//
//	dns:///orders:7000                 every address of the name is an endpoint; the
//	                                   name is looked up every few seconds
//	mesh:///orders                     what Options.Discovery knows of the service
//	srv:///_grpc._tcp.orders.shop      hosts and ports of SRV records, in the same way
//	static:///10.0.0.1:7000,10.0.0.2:7000
//	unix:///run/orders.sock
//	passthrough:///orders:7000         handed to the dialer as it is
//
// or what a registered gRPC resolver knows, but for xds, which is package mesh/xds's;
// without a scheme it is dns. Whom the server may be comes from the policy's
// Destination for the target, or from [ExpectIdentity]; without either, connecting
// fails.
//
// Options may add what they like except transport credentials, a balancer and
// service configs, which are the mesh's. The connection is lazy, and closed by
// the caller.
func (m *Mesh) NewClient(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return m.newClient(target, opts)
}

// newClient is NewClient with options that come after the mesh's.
func (m *Mesh) newClient(target string, opts []grpc.DialOption, last ...grpc.DialOption) (*grpc.ClientConn, error) {
	ch := &channel{mesh: m, target: target, gate: gate.New(gate.Config{}), seed: rand.Uint64(), changed: make(chan struct{}, 1)} //nolint:gosec // spreads load, no secret
	plain := append(clientDefaults(), grpc.WithContextDialer(ch.dial))
	for _, opt := range opts {
		if from, ok := opt.(*source.Source); ok {
			ch.source = from
			continue
		}
		expect, ok := opt.(expectOption)
		if !ok {
			plain = append(plain, opt)
			continue
		}
		for _, s := range expect.ids {
			id, err := spiffeid.FromString(s)
			if err != nil || id.Path() == "" {
				return nil, fmt.Errorf("mesh: target %q: expected identity %q, want a whole SPIFFE id", target, s)
			}
			ch.expect = append(ch.expect, id)
		}
	}
	ch.pool = outlier.NewPool(ch.plan().destination.Outlier, ch.ejected)
	builder, authority, err := m.resolverFor(ch, target)
	if err != nil {
		return nil, err
	}
	if authority != "" {
		plain = append(plain, grpc.WithAuthority(authority))
	}
	plain = append(plain, append(m.trace.dialOptions(), m.metrics.dialOptions()...)...)
	security, err := ch.security()
	if err != nil {
		return nil, fmt.Errorf("mesh: target %q: %w", target, err)
	}
	plain = append(append(plain, security...),
		grpc.WithResolvers(builder),
		grpc.WithNoProxy(),
		// Retries are ours; gRPC still repeats what a server has surely not seen.
		grpc.WithDisableRetry(),
		grpc.WithChainUnaryInterceptor(ch.unary),
		grpc.WithChainStreamInterceptor(ch.stream),
	)
	conn, err := grpc.NewClient(target, append(plain, last...)...)
	if err != nil {
		return nil, fmt.Errorf("mesh: target %q: %w", target, err)
	}
	return conn, nil
}

const (
	clientKeepaliveTime = 30 * time.Second // servers of the mesh allow minPing
	connectBackoff      = 200 * time.Millisecond
	connectBackoffLimit = 10 * time.Second
)

// clientDefaults are options that the caller's may replace.
func clientDefaults() []grpc.DialOption {
	return []grpc.DialOption{
		// Finds peers that are gone without a word, while calls wait for them.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientKeepaliveTime, Timeout: keepaliveTimeout}),
		// gRPC's own backoff grows to two minutes, long after a service is back.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: connectBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectBackoffLimit,
			},
			MinConnectTimeout: policy.DefaultConnectTimeout,
		}),
	}
}

// channel is what the mesh knows of one client.
type channel struct {
	mesh    *Mesh
	target  string
	expect  []spiffeid.ID
	pool    *outlier.Pool
	gate    *gate.Gate
	seed    uint64         // chooses among more endpoints than there may be connections
	changed chan struct{}  // the policy says something else of the endpoints
	source  *source.Source // nil: the mesh finds the endpoints itself
	current atomic.Pointer[plan]

	holding sync.Mutex // guards held
	held    map[*lb]*share

	mirrors atomic.Int64           // copies of calls under way
	reached func(host string) bool // says whether there is a connection, for HTTP

	planning sync.Mutex // held while a new plan is made
}

// plan is the part of one policy that concerns one channel.
type plan struct {
	policy      *Policy
	destination policy.Destination
	budget      *budget.Budget
	egress      egress
	host        string             // of the route, "" if there is none
	rules       []policy.RouteRule // of the route
	guards      []*guard           // of the rules, nil where there is none
	fallback    policy.RouteRule
	timeouts    map[time.Duration]*timeout.Queue // those that the rules speak of
}

// plan returns what the policy in force says of this channel.
func (ch *channel) plan() *plan {
	inForce := ch.mesh.policy.Load()
	if p := ch.current.Load(); p != nil && p.policy == inForce {
		return p
	}
	ch.planning.Lock()
	defer ch.planning.Unlock()
	last := ch.current.Load()
	if last != nil && last.policy == inForce {
		return last
	}
	next := newPlan(inForce, ch.target)
	next.egress = findEgress(inForce, ch.mesh.self, ch.target)
	if last != nil && last.destination.Budget == next.destination.Budget {
		next.budget = last.budget
	} else {
		next.budget = budget.New(next.destination.Budget, time.Now())
	}
	ch.guards(next, last)
	if ch.pool != nil {
		ch.pool.Configure(next.destination.Outlier)
	}
	if ch.gate != nil {
		ch.gate.Configure(next.destination.Pool.Gate())
	}
	if last != nil && next.places(&last.destination) {
		select {
		case ch.changed <- struct{}{}:
		default: // it has been told
		}
	}
	ch.current.Store(next)
	return next
}

// places says whether the plan connects to other endpoints than another destination
// does, or ranks them otherwise.
func (p *plan) places(d *policy.Destination) bool {
	return p.destination.Pool.MaxConnections != d.Pool.MaxConnections || !p.destination.Locality.Equal(&d.Locality)
}

// newPlan finds what a policy says of a target; its budget and egress are left to the
// caller.
func newPlan(p *Policy, target string) *plan {
	next := &plan{policy: p, destination: policy.DefaultDestination(), fallback: policy.DefaultRule()}
	for _, d := range p.file.Destinations {
		if policy.Names(d.Host, target) {
			next.destination = d
			break
		}
	}
	for _, r := range p.file.Routes {
		if at := slices.IndexFunc(r.Hosts, func(host string) bool { return policy.Names(host, target) }); at >= 0 {
			next.host, next.rules = r.Hosts[at], r.Rules
			break
		}
	}
	next.timeouts = map[time.Duration]*timeout.Queue{policy.DefaultTimeout: timeout.New(policy.DefaultTimeout)}
	for i := range next.rules {
		for _, d := range []time.Duration{next.rules[i].Timeout, next.rules[i].Retries.PerTryTimeout} {
			if d > 0 && next.timeouts[d] == nil {
				next.timeouts[d] = timeout.New(d)
			}
		}
	}
	return next
}

// rule returns how a call is made, and the place of the entry that says so; -1 is
// the default.
func (p *plan) rule(ctx context.Context, method string) (*policy.RouteRule, int) {
	return p.match(ctx, method, outgoing)
}

// match is rule for calls whose headers are read with values.
func (p *plan) match(ctx context.Context, method string, values func(context.Context, string) []string) (*policy.RouteRule, int) {
	for i := range p.rules {
		if p.rules[i].Matches(ctx, method, values) {
			return &p.rules[i], i
		}
	}
	return &p.fallback, -1
}

// expected returns whom the server may be.
func (ch *channel) expected() ([]spiffeid.ID, error) {
	if len(ch.expect) > 0 {
		return ch.expect, nil
	}
	if ids := ch.plan().destination.Identities; len(ids) > 0 {
		return ids, nil
	}
	return nil, errors.New("mesh: no policy Destination says who serves " + ch.target + ", and the client was made without ExpectIdentity")
}

func (ch *channel) ejected(address string, until time.Time) {
	ch.mesh.counts.ejections.Add(1)
	ch.mesh.onEvent(Event{Kind: EndpointEjected, Target: ch.target, Endpoint: address, Until: until})
}

// open and release say that the channel has a balancer, or one less.
func (ch *channel) open() {
	ch.mesh.mu.Lock()
	defer ch.mesh.mu.Unlock()
	ch.mesh.channels[ch]++
}

func (ch *channel) release() {
	ch.mesh.mu.Lock()
	defer ch.mesh.mu.Unlock()
	if ch.mesh.channels[ch]--; ch.mesh.channels[ch] == 0 {
		delete(ch.mesh.channels, ch)
	}
}

// endpoints describes the channel's endpoints, in no order.
func (ch *channel) endpoints() []EndpointStats {
	all := ch.all()
	warmup, now := ch.plan().destination.Balance.Warmup, time.Now()
	hosts := ch.pool.Hosts()
	list := make([]EndpointStats, 0, len(hosts))
	for address, host := range hosts {
		list = append(list, EndpointStats{
			Target: ch.target, Address: address, Zone: all.zones[address],
			Ready: all.ready[address] || ch.reached != nil && ch.reached(address), Ejected: host.Ejected(), Active: host.Active(),
			Warmth: warmup.Share(host.Age(now)),
		})
	}
	return list
}
