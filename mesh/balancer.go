package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/source"
)

// balancerName is what the mesh's balancer is called in service configs.
const balancerName = source.Balancer

// gRPC keeps balancers in a map that may be written only while the program
// initialises, without a lock; registering in New would race with other channels.
//
//nolint:gochecknoinits // see above
func init() { balancer.Register(lbBuilder{}) }

// lbBuilder makes the balancer of a channel. It keeps no state: the channel
// comes with the resolver's state.
type lbBuilder struct{}

var (
	_ balancer.Builder      = lbBuilder{}
	_ balancer.ConfigParser = lbBuilder{}
)

// Name is what service configs call it.
func (lbBuilder) Name() string { return balancerName }

// ParseConfig takes any config: policy comes from elsewhere.
func (lbBuilder) ParseConfig(json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	return lbConfig{}, nil
}

type lbConfig struct {
	serviceconfig.LoadBalancingConfig
}

// Build makes a balancer over one pick_first for each endpoint.
func (lbBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	b := &lb{ClientConn: cc}
	b.Balancer = endpointsharding.NewBalancer(b, opts, b.connection, endpointsharding.Options{})
	return b
}

// lb is the balancer of one channel, or of one part of it where the channel's source
// stands several below its own: connections are endpointsharding's and pick_first's,
// choosing is ours.
type lb struct {
	balancer.Balancer
	balancer.ClientConn
	channel *channel // set by the first update, before any picker is made
}

// channelKey is where a resolver's state carries its channel.
type channelKey struct{}

// UpdateClientConnState takes the endpoints.
func (b *lb) UpdateClientConnState(state balancer.ClientConnState) error {
	ch, ok := state.ResolverState.Attributes.Value(channelKey{}).(*channel)
	if !ok {
		return balancer.ErrBadResolverState
	}
	if b.channel == nil {
		b.channel = ch
		ch.open()
	}
	if ch.source != nil {
		state.ResolverState = ch.placed(state.ResolverState)
	}
	state.ResolverState.Endpoints = ch.reachable(state.ResolverState.Endpoints)
	ch.keep(b, state.ResolverState.Endpoints)
	state.BalancerConfig = nil
	return b.Balancer.UpdateClientConnState(state)
}

// Close lets go of the channel.
func (b *lb) Close() {
	b.Balancer.Close()
	if b.channel != nil {
		b.channel.drop(b)
		b.channel.release()
	}
}

// UpdateState puts our picker in place of the sharding one's round robin.
func (b *lb) UpdateState(state balancer.State) {
	ch := b.channel
	if ch == nil {
		b.ClientConn.UpdateState(state)
		return
	}
	children := endpointsharding.ChildStatesFromPicker(state.Picker)
	ready := make(map[string]bool, len(children))
	before := ch.readyIn(b)
	locality := &ch.plan().destination.Locality
	members := make([]member, len(children))
	for i, child := range children {
		members[i] = member{
			host:   ch.pool.Host(address(child.Endpoint)),
			state:  child.State.ConnectivityState,
			picker: child.State.Picker,
			tier:   locality.Tier(ch.mesh.zone, zoneOf(child.Endpoint)),
		}
		members[i].labels, _ = child.Endpoint.Attributes.Value(labelsKey{}).(labels)
		members[i].weight, _ = child.Endpoint.Attributes.Value(weightKey{}).(uint32)
		if members[i].state == connectivity.Ready {
			ready[members[i].host.Address()] = true
			if !before[members[i].host.Address()] {
				members[i].host.Start(time.Now())
			}
		}
	}
	ch.tellReady(b, ready)
	if len(ready) > 0 {
		state.Picker = newPicker(ch, members)
	}
	b.ClientConn.UpdateState(state)
}

// address is what an endpoint is known by.
func address(endpoint resolver.Endpoint) string {
	if len(endpoint.Addresses) == 0 {
		return ""
	}
	return endpoint.Addresses[0].Addr
}

// lbPicker chooses among the endpoints that are connected.
type lbPicker struct {
	channel *channel
	set     *picker.Set
	pickers []balancer.Picker
	members []member // connected or not
	made    time.Time
	subsets atomic.Pointer[subsetPickers]
}

// newPicker makes a picker among the members that are connected, of which there must
// be one.
func newPicker(ch *channel, members []member) *lbPicker {
	p := &lbPicker{channel: ch, members: members, made: time.Now(), pickers: make([]balancer.Picker, len(members))}
	list := make([]picker.Member, len(members))
	for i, m := range members {
		list[i] = picker.Member{Host: m.host, Tier: m.tier, Ready: m.state == connectivity.Ready, Weight: m.weight}
		p.pickers[i] = m.picker
	}
	p.set = picker.New(list)
	return p
}

// Pick chooses an endpoint of the call's subset.
func (p *lbPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	call, _ := info.Ctx.Value(callKey{}).(*call)
	if call == nil || call.subset == nil {
		return p.pick(info, call)
	}
	within := p.within(call.subset)
	if narrowed, ok := within.(*lbPicker); ok {
		return narrowed.pick(info, call)
	}
	return within.Pick(info)
}

// pick chooses an endpoint, away from those that the call has tried.
func (p *lbPicker) pick(info balancer.PickInfo, call *call) (balancer.PickResult, error) {
	destination := &p.channel.plan().destination
	began := p.now(call)
	choice, err := p.choose(info, call, destination, began)
	if err != nil {
		return balancer.PickResult{}, err
	}
	result, err := p.pickers[choice.Index].Pick(info)
	if err != nil {
		choice.Host.End(outlier.Ignored, 0, began)
		if choice.Probe {
			choice.Host.Return()
		}
		return result, err
	}
	if call != nil {
		call.host.Store(choice.Host)
	}
	inner := result.Done
	result.Done = func(done balancer.DoneInfo) {
		now := time.Now()
		what := outcome(done.Err, call, now)
		choice.Host.End(what, now.Sub(began), now)
		choice.Host.Report(what, choice.Probe, now)
		if call != nil {
			call.trailer = done.Trailer
		}
		if inner != nil {
			inner(done)
		}
	}
	return result, nil
}

// now is the time, for a call that has not waited for this picker the one that it knows.
func (p *lbPicker) now(call *call) time.Time {
	if call != nil && p.made.Before(call.began) {
		return call.began
	}
	return time.Now()
}

// choose chooses an endpoint and counts the request that it now has.
func (p *lbPicker) choose(info balancer.PickInfo, call *call, d *policy.Destination, now time.Time) (picker.Choice, error) {
	request := picker.Request{Now: now}
	if call != nil && len(call.tried) > 0 {
		request.Tried, request.Elsewhere = call.hasTried, call.elsewhere
	}
	if d.HashHeader != "" {
		request.Hash = hashOf(info.Ctx, d.HashHeader)
	}
	for range chooseAttempts {
		choice, ok := p.set.Pick(&d.Balance, request)
		if !ok {
			break
		}
		if choice.Host.Begin(d.Balance.MaxActive, now) {
			return choice, nil
		}
		if choice.Probe { // others were quicker to fill it
			choice.Host.Return()
		}
	}
	if call != nil {
		call.refused.Store(true)
	}
	return picker.Choice{}, p.channel.full(fmt.Sprintf("its endpoints have %d requests each (maxConcurrentStreams)", d.Balance.MaxActive))
}

// chooseAttempts is how often an endpoint may fill up between being chosen and used.
const chooseAttempts = 3

// hashOf is the hash of a call's header, or a random one if it has none.
func hashOf(ctx context.Context, header string) uint64 { return hashOfValues(outgoing(ctx, header)) }

func hashOfValues(values []string) uint64 {
	if len(values) > 0 {
		return picker.Hash(values[0])
	}
	return rand.Uint64() //nolint:gosec // spreads load, no secret
}
