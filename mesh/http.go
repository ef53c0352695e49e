package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// Transport returns what carries HTTP/1.1 and HTTP/2 requests to one service, for the
// Transport of an http.Client. It is to HTTP what [Mesh.NewClient] is to gRPC: targets
// are the same, and so are the policy's Destination, Route and Egress documents; the
// package comment says what they mean for HTTP.
//
// Requests are for https URLs whose host is the service's name as the target has it,
// with or without its port ("https://orders/..." or "https://orders:7000/..." for
// "dns:///orders:7000"); others, such as a redirect elsewhere, are refused. A target
// that is not understood is the error of every request.
//
// There is one Transport for each target; it is safe for concurrent use, looks the
// service up from its first request on, and ends with [Mesh.Close].
func (m *Mesh) Transport(target string) http.RoundTripper {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.transports[target]
	if !ok {
		t = newHTTPTransport(m, target)
		t.closed = m.closed
		m.transports[target] = t
	}
	return t
}

// httpTransport is the mesh's HTTP client of one service: the same channel that a
// gRPC client has, with net/http in gRPC's place.
type httpTransport struct {
	channel *channel
	builder resolver.Builder
	name    string   // of the service, as TLS asks for it
	hosts   []string // of URLs that are the service's

	work  sync.WaitGroup // copies of requests, and the ends of answers that nobody wants
	known chan struct{}  // closed when lot is first set
	lot   atomic.Pointer[httpLot]

	starting sync.Mutex // guards resolver, wrong and closed
	resolver resolver.Resolver
	wrong    error // why the target cannot be called
	closed   bool

	mu        sync.Mutex // guards what follows, and httpGeneration.ended
	endpoints map[string]*httpEndpoint
	conns     map[*mortalConn]*httpGeneration
	over      bool // there are to be no more connections
}

var _ http.RoundTripper = (*httpTransport)(nil)

// httpLot is the endpoints at a time, or why there are none.
type httpLot struct {
	transport *httpTransport
	err       error
	members   []httpMember
	byHost    map[*outlier.Host]*httpEndpoint
	set       *picker.Set // nil without members

	mu      sync.Mutex // guards what follows
	plan    *plan      // whose subsets these are
	subsets map[*policy.Subset]*httpLot
}

// httpMember is an endpoint of a lot.
type httpMember struct {
	*httpEndpoint

	labels labels
	tier   int
}

func newHTTPTransport(m *Mesh, target string) *httpTransport {
	ch := &channel{mesh: m, target: target, gate: gate.New(gate.Config{}), seed: rand.Uint64(), changed: make(chan struct{}, 1)} //nolint:gosec // spreads load, no secret
	ch.pool = outlier.NewPool(ch.plan().destination.Outlier, ch.ejected)
	t := &httpTransport{
		channel: ch, known: make(chan struct{}),
		endpoints: map[string]*httpEndpoint{}, conns: map[*mortalConn]*httpGeneration{},
	}
	ch.reached = t.connected
	builder, authority, err := m.resolverFor(ch, target)
	if err != nil {
		t.wrong = err
		return t
	}
	t.builder = builder
	var names []string
	switch endpoint := policy.EndpointOf(target); builder.Scheme() {
	case "static":
		names = strings.Split(endpoint, ",")
	case "unix", "unix-abstract":
		names = []string{"localhost"}
	default:
		names = []string{cmp.Or(authority, endpoint)}
	}
	t.name = names[0]
	for _, name := range names {
		t.hosts = append(t.hosts, name)
		if bare, _, err := net.SplitHostPort(name); err == nil {
			t.hosts = append(t.hosts, bare, "["+bare+"]")
		}
	}
	return t
}

// start looks the endpoints up from now on.
func (t *httpTransport) start() error {
	t.starting.Lock()
	defer t.starting.Unlock()
	switch {
	case t.wrong != nil:
		return t.wrong
	case t.closed:
		return errors.New("mesh: closed")
	case t.resolver != nil:
		return nil
	}
	at, err := url.Parse(t.channel.target)
	if err != nil || at.Scheme != t.builder.Scheme() {
		at = &url.URL{Scheme: t.builder.Scheme(), Path: "/" + t.channel.target}
	}
	t.resolver, err = t.builder.Build(resolver.Target{URL: *at}, &httpUpdates{transport: t}, resolver.BuildOptions{DisableServiceConfig: true})
	if err != nil {
		t.wrong = fmt.Errorf("mesh: target %q: %w", t.channel.target, err)
		return t.wrong
	}
	t.channel.open()
	return nil
}

// close ends all that the transport does, and what is still under way. The mesh is
// not to be asked for another one.
func (t *httpTransport) close() {
	t.starting.Lock()
	defer t.starting.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	if t.resolver != nil {
		t.resolver.Close()
		t.channel.release()
	}
	t.keep(nil)
	t.cut(nil)
	t.work.Wait()
}

// CloseIdleConnections closes the connections that no request is on, as
// http.Client's does.
func (t *httpTransport) CloseIdleConnections() {
	t.mu.Lock()
	endpoints := slices.Collect(maps.Values(t.endpoints))
	t.mu.Unlock()
	for _, e := range endpoints {
		e.idle()
	}
}

// httpUpdates is the transport as a resolver of gRPC's sees it.
type httpUpdates struct{ transport *httpTransport }

var _ resolver.ClientConn = (*httpUpdates)(nil)

// UpdateState takes the endpoints.
func (u *httpUpdates) UpdateState(state resolver.State) error {
	t := u.transport
	ch := t.channel
	endpoints := state.Endpoints
	if len(endpoints) == 0 {
		for _, a := range state.Addresses {
			endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
		}
	}
	endpoints = ch.reachable(endpoints)
	keep := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		keep[address(e)] = true
	}
	ch.keep(nil, endpoints)
	locality := &ch.plan().destination.Locality
	lot := &httpLot{transport: t, members: make([]httpMember, len(endpoints))}
	for i, e := range endpoints {
		lot.members[i] = httpMember{httpEndpoint: t.endpoint(address(e)), tier: locality.Tier(ch.mesh.zone, zoneOf(e))}
		lot.members[i].labels, _ = e.Attributes.Value(labelsKey{}).(labels)
	}
	lot.arrange()
	t.keep(keep)
	t.publish(lot)
	return nil
}

// ReportError takes the reason why there are no endpoints. Those there were stay.
func (u *httpUpdates) ReportError(err error) {
	if lot := u.transport.lot.Load(); lot == nil || lot.err != nil {
		u.transport.publish(&httpLot{err: err})
	}
}

// NewAddress is UpdateState of old resolvers.
func (u *httpUpdates) NewAddress(addresses []resolver.Address) {
	_ = u.UpdateState(resolver.State{Addresses: addresses}) // it takes whatever comes
}

// ParseServiceConfig takes none, as NewClient does from a resolver: policy comes from
// elsewhere.
func (u *httpUpdates) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return &serviceconfig.ParseResult{Err: errors.New("mesh: service configs of resolvers are not honoured")}
}

// publish puts endpoints in place.
func (t *httpTransport) publish(lot *httpLot) {
	if t.lot.Swap(lot) == nil {
		close(t.known)
	}
}

// endpoint returns the endpoint with that address, new or as it was.
func (t *httpTransport) endpoint(address string) *httpEndpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.endpoints[address]
	if !ok {
		e = &httpEndpoint{transport: t, host: t.channel.pool.Host(address)}
		e.host.Start(time.Now())
		t.endpoints[address] = e
	}
	return e
}

// connected says whether there is a connection to the address.
func (t *httpTransport) connected(address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.endpoints[address]
	return e != nil && e.open.Load() > 0
}

// keep forgets all endpoints but those; their connections close when their requests
// have ended.
func (t *httpTransport) keep(addresses map[string]bool) {
	t.mu.Lock()
	var gone []*httpEndpoint
	for address, e := range t.endpoints {
		if !addresses[address] {
			gone = append(gone, e)
			delete(t.endpoints, address)
		}
	}
	t.mu.Unlock()
	for _, e := range gone {
		e.retire()
	}
}

// endpointsNow waits for the first endpoints.
func (t *httpTransport) endpointsNow(ctx context.Context) (*httpLot, error) {
	select {
	case <-t.known:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	lot := t.lot.Load()
	return lot, lot.err
}

// arrange makes the set to pick from.
func (l *httpLot) arrange() {
	if len(l.members) == 0 {
		l.err = errors.New("mesh: no endpoints")
		return
	}
	list := make([]picker.Member, len(l.members))
	l.byHost = make(map[*outlier.Host]*httpEndpoint, len(l.members))
	for i, m := range l.members {
		l.byHost[m.host] = m.httpEndpoint
		list[i] = picker.Member{Host: m.host, Tier: m.tier, Ready: true}
	}
	l.set = picker.New(list)
}

// within returns the endpoints of a subset of the plan's; nil is all.
func (l *httpLot) within(plan *plan, subset *policy.Subset) (*httpLot, error) {
	if subset == nil {
		return l, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plan != plan {
		l.plan, l.subsets = plan, map[*policy.Subset]*httpLot{}
	}
	part, ok := l.subsets[subset]
	if !ok {
		part = &httpLot{transport: l.transport}
		for _, m := range l.members {
			if subset.Covers(m.labels) {
				part.members = append(part.members, m)
			}
		}
		part.arrange()
		l.subsets[subset] = part
	}
	if part.err != nil {
		return nil, fmt.Errorf("mesh: no endpoint of %s belongs to subset %q", l.transport.channel.target, subset.Name)
	}
	return part, nil
}
