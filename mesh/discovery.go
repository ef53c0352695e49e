package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

const (
	// dnsDefaultInterval is how often names are looked up.
	dnsDefaultInterval = 5 * time.Second
	// dnsLeastInterval is between two lookups of a name, lost connections or not.
	dnsLeastInterval = time.Second
	dnsLookupTimeout = 5 * time.Second
)

// Endpoint is one place where a service answers.
type Endpoint struct {
	// Address is host:port, or unix:/path.
	Address string
	// Labels say what the endpoint is, such as version: v2; a Destination's
	// subsets choose by them.
	Labels map[string]string
	// Zone is where it is, as "region/zone"; "" if nobody knows. Endpoints near
	// the process's own zone ([Options].Zone) are preferred.
	Zone string
}

func (e Endpoint) equal(other Endpoint) bool {
	return e.Address == other.Address && e.Zone == other.Zone && maps.Equal(e.Labels, other.Labels)
}

// labelsKey is where gRPC's endpoints carry their labels.
type labelsKey struct{}

// zoneKey is where they carry their zone, and weightKey their weight.
type (
	zoneKey   struct{}
	weightKey struct{}
)

// zoneOf returns the zone that discovery told of an endpoint.
func zoneOf(endpoint resolver.Endpoint) string {
	zone, _ := endpoint.Attributes.Value(zoneKey{}).(string)
	return zone
}

// labels are an endpoint's; gRPC compares attributes by Equal.
type labels map[string]string

// Equal says whether the other value is the same labels.
func (l labels) Equal(other any) bool {
	o, ok := other.(labels)
	return ok && maps.Equal(l, o)
}

// Discovery finds the endpoints of services: what a target "mesh:///{service}" is
// looked up in. It must be safe for concurrent use.
type Discovery interface {
	// Watch tells update where a service answers, at first and whenever that
	// changes, until ctx ends; then it returns. An error means that it does
	// not know at the time. Of errors and empty lists the mesh keeps the last
	// good list.
	Watch(ctx context.Context, service string, update func([]Endpoint, error))
}

// watch is a Discovery of one service. again wakes it before its time: a
// connection was lost.
type watch func(ctx context.Context, again <-chan struct{}, update func([]Endpoint, error))

// discovered is the resolver builder over a watch.
type discovered struct {
	scheme  string
	channel *channel
	watch   watch
}

// Scheme is what targets begin with.
func (d *discovered) Scheme() string { return d.scheme }

// Build starts to watch.
func (d *discovered) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{channel: d.channel, cc: cc, cancel: cancel, again: make(chan struct{}, 1)}
	w.work.Go(func() { d.watch(ctx, w.again, w.update) })
	w.work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.channel.changed:
				w.repeat()
			}
		}
	})
	return w, nil
}

// watching is a running watch.
type watching struct {
	channel *channel
	cc      resolver.ClientConn
	cancel  context.CancelFunc
	again   chan struct{}
	work    sync.WaitGroup

	mu   sync.Mutex // guards last, and puts updates in order
	last []Endpoint
}

// ResolveNow asks for news.
func (w *watching) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case w.again <- struct{}{}:
	default: // it has been asked
	}
}

// Close ends the watch and waits for it.
func (w *watching) Close() {
	w.cancel()
	w.work.Wait()
}

// update hands on a changed list, and keeps the last good one otherwise.
func (w *watching) update(endpoints []Endpoint, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && len(endpoints) == 0 {
		err = errors.New("no endpoints")
	}
	if err != nil {
		err = fmt.Errorf("mesh: finding %s: %w", w.channel.target, err)
		w.channel.mesh.counts.discoveryErrors.Add(1)
		w.channel.mesh.onEvent(Event{Kind: DiscoveryFailed, Target: w.channel.target, Err: err})
		if w.last == nil {
			w.cc.ReportError(err)
		}
		return
	}
	if slices.EqualFunc(endpoints, w.last, Endpoint.equal) {
		return
	}
	w.last = slices.Clone(endpoints)
	for i, e := range endpoints {
		w.last[i].Labels = maps.Clone(e.Labels)
	}
	w.push()
}

// repeat hands on the last list again, to be seen with another policy.
func (w *watching) repeat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last != nil {
		w.push()
	}
}

// push hands on the last list. The lock is held.
func (w *watching) push() {
	state := resolver.State{Endpoints: make([]resolver.Endpoint, len(w.last))}
	for i, e := range w.last {
		state.Endpoints[i] = resolver.Endpoint{
			Addresses:  []resolver.Address{{Addr: e.Address}},
			Attributes: attributes.New(labelsKey{}, labels(e.Labels)).WithValue(zoneKey{}, e.Zone),
		}
	}
	// An error here is the balancer's, which reports it in its own state.
	_ = w.cc.UpdateState(carry(state, w.channel))
}

// lookup finds the addresses of a host.
type lookup func(ctx context.Context, host string) ([]string, error)

// pollDNS looks a name up again and again: DNS tells nobody of new addresses,
// and lost connections alone do not show them.
func pollDNS(find lookup, host, port string, interval time.Duration) watch {
	if _, err := netip.ParseAddr(host); err == nil {
		return fixed([]Endpoint{{Address: net.JoinHostPort(host, port)}})
	}
	return poll(interval, func(ctx context.Context) ([]Endpoint, error) { return resolveOnce(ctx, find, host, port) })
}

// poll asks again and again, and before its time when a connection is lost.
func poll(interval time.Duration, once func(context.Context) ([]Endpoint, error)) watch {
	return func(ctx context.Context, again <-chan struct{}, update func([]Endpoint, error)) {
		for {
			endpoints, err := once(ctx)
			if ctx.Err() != nil {
				return
			}
			update(endpoints, err)
			if !sleep(ctx, dnsLeastInterval) || !waitOr(ctx, again, interval-dnsLeastInterval) {
				return
			}
		}
	}
}

func resolveOnce(ctx context.Context, find lookup, host, port string) ([]Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsLookupTimeout)
	defer cancel()
	addresses, err := find(ctx, host)
	if err != nil {
		return nil, err
	}
	slices.Sort(addresses) // name servers rotate them
	endpoints := make([]Endpoint, len(addresses))
	for i, a := range addresses {
		endpoints[i].Address = net.JoinHostPort(a, port)
	}
	return slices.CompactFunc(endpoints, Endpoint.equal), nil
}

// waitOr waits, or until it is asked again; false means that ctx has ended.
func waitOr(ctx context.Context, again <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-again:
	case <-ctx.Done():
		return false
	}
	return true
}

// fixed is a list that does not change.
func fixed(endpoints []Endpoint) watch {
	return func(ctx context.Context, _ <-chan struct{}, update func([]Endpoint, error)) {
		update(endpoints, nil)
		<-ctx.Done()
	}
}
