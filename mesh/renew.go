package mesh

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
)

// connection makes what holds the connection to one endpoint.
func (b *lb) connection(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	r := &renewing{cc: cc, opts: opts, limit: func() int {
		return b.channel.plan().destination.Pool.MaxRequestsPerConnection
	}}
	r.current = r.generation()
	return r
}

// renewing is the connection to one endpoint, or the next one, once it has had as
// many requests as it may: the next is made first, then requests go there, and the
// old one closes when its last request has ended.
//
// Its children call back while they hold locks of their own, so its lock is never
// held while it calls them.
type renewing struct {
	cc    balancer.ClientConn
	opts  balancer.BuildOptions
	limit func() int // requests on a connection; zero is any number

	mu            sync.Mutex // guards what follows
	state         balancer.ClientConnState
	current, next *generation
	closed        bool
}

// generation is one connection.
type generation struct {
	balancer.Balancer
	parent   *renewing
	requests atomic.Int64
}

func (r *renewing) generation() *generation {
	g := &generation{parent: r}
	g.Balancer = balancer.Get(pickfirst.Name).Build(callback{ClientConn: r.cc, of: g}, r.opts)
	return g
}

// callback is the channel as the pick_first of a generation sees it.
type callback struct {
	balancer.ClientConn
	of *generation
}

// UpdateState hears of the connection's state.
func (c callback) UpdateState(state balancer.State) { c.of.parent.hear(c.of, state) }

// renew begins to replace g.
func (r *renewing) renew(g *generation) {
	r.mu.Lock()
	if r.closed || r.current != g || r.next != nil {
		r.mu.Unlock()
		return
	}
	next := r.generation()
	r.next = next
	state := r.state
	r.mu.Unlock()
	// What goes wrong with it, it reports by its state.
	_ = next.UpdateClientConnState(state)
}

// hear passes on the current connection's state, and makes the next one current when
// it is ready.
func (r *renewing) hear(g *generation, state balancer.State) {
	r.mu.Lock()
	var old *generation
	switch {
	case r.closed:
		r.mu.Unlock()
		return
	case g == r.next && state.ConnectivityState == connectivity.Ready:
		old, r.current, r.next = r.current, g, nil
	case g != r.current:
		r.mu.Unlock()
		if state.ConnectivityState == connectivity.Idle {
			go g.ExitIdle() // as endpointsharding does; it must not be called from here
		}
		return
	}
	r.mu.Unlock()
	if state.ConnectivityState == connectivity.Ready {
		g.requests.Store(0)
		state.Picker = counting{Picker: state.Picker, connection: g}
	}
	r.cc.UpdateState(state)
	if old != nil {
		old.Close()
	}
}

// counting is the picker of one connection.
type counting struct {
	balancer.Picker
	connection *generation
}

// Pick counts the request, where it matters.
func (c counting) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	result, err := c.Picker.Pick(info)
	if err != nil {
		return result, err
	}
	r := c.connection.parent
	if limit := r.limit(); limit > 0 && c.connection.requests.Add(1) >= int64(limit) {
		r.renew(c.connection)
	}
	return result, nil
}

// both returns the connections there are.
func (r *renewing) both() []*generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		return []*generation{r.current}
	}
	return []*generation{r.current, r.next}
}

// UpdateClientConnState takes the endpoint.
func (r *renewing) UpdateClientConnState(state balancer.ClientConnState) error {
	r.mu.Lock()
	r.state = state
	r.mu.Unlock()
	var first error
	for i, g := range r.both() {
		if err := g.UpdateClientConnState(state); i == 0 {
			first = err
		}
	}
	return first
}

// ResolverError hears that the endpoint could not be looked up.
func (r *renewing) ResolverError(err error) {
	for _, g := range r.both() {
		g.ResolverError(err)
	}
}

// UpdateSubConnState is not used any more.
func (r *renewing) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle connects.
func (r *renewing) ExitIdle() {
	for _, g := range r.both() {
		g.ExitIdle()
	}
}

// Close closes the connections.
func (r *renewing) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, g := range r.both() {
		g.Close()
	}
}
