package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"
)

// share is what one balancer of a channel has of its endpoints.
type share struct {
	zones map[string]string // of each, by address; "" if nobody knows
	ready map[string]bool   // those with a connection
}

// keep says which endpoints a balancer has; nil is HTTP's, of which there is one. The
// channel forgets those that none of
// its balancers has any more.
func (ch *channel) keep(b *lb, endpoints []resolver.Endpoint) {
	zones := make(map[string]string, len(endpoints))
	for _, e := range endpoints {
		zones[address(e)] = zoneOf(e)
	}
	ch.holding.Lock()
	defer ch.holding.Unlock()
	if ch.held == nil {
		ch.held = map[*lb]*share{}
	}
	s := ch.held[b]
	if s == nil {
		s = &share{}
		ch.held[b] = s
	}
	s.zones = zones
	ch.forget()
	for address := range zones {
		ch.pool.Host(address)
	}
}

// drop says that a balancer has no endpoints any more. Those of a channel that is
// left without balancers are remembered: it may only be idle.
func (ch *channel) drop(b *lb) {
	ch.holding.Lock()
	defer ch.holding.Unlock()
	last := ch.held[b]
	delete(ch.held, b)
	if len(ch.held) > 0 && last != nil {
		ch.forget()
	}
}

// forget lets the pool forget what no balancer has. The lock is held.
func (ch *channel) forget() {
	all := map[string]bool{}
	for _, s := range ch.held {
		for address := range s.zones {
			all[address] = true
		}
	}
	ch.pool.Keep(all)
}

// readyIn returns the endpoints that a balancer has last said to be connected.
func (ch *channel) readyIn(b *lb) map[string]bool {
	ch.holding.Lock()
	defer ch.holding.Unlock()
	if s := ch.held[b]; s != nil {
		return s.ready
	}
	return nil
}

// tellReady says which endpoints of a balancer are connected.
func (ch *channel) tellReady(b *lb, ready map[string]bool) {
	ch.holding.Lock()
	defer ch.holding.Unlock()
	if s := ch.held[b]; s != nil {
		s.ready = ready
	}
}

// all returns what the channel's balancers have together.
func (ch *channel) all() share {
	ch.holding.Lock()
	defer ch.holding.Unlock()
	all := share{zones: map[string]string{}, ready: map[string]bool{}}
	for _, s := range ch.held {
		maps.Copy(all.zones, s.zones)
		maps.Copy(all.ready, s.ready)
	}
	return all
}

// placed adds what the channel's source knows of endpoints to them. They become
// such as the balancers above ours can eject, too.
func (ch *channel) placed(state resolver.State) resolver.State {
	state.Endpoints = slices.Clone(state.Endpoints)
	for i, e := range state.Endpoints {
		place := ch.source.Place(e)
		state.Endpoints[i].Attributes = e.Attributes.
			WithValue(zoneKey{}, place.Zone).
			WithValue(labelsKey{}, labels(place.Labels)).
			WithValue(weightKey{}, place.Weight)
	}
	return pickfirst.EnableHealthListener(state)
}

// security returns what secures the channel's connections, and says which balancer it
// has.
func (ch *channel) security() ([]grpc.DialOption, error) {
	own := &secure{mesh: ch.mesh, channel: ch}
	if ch.source == nil {
		return []grpc.DialOption{
			grpc.WithTransportCredentials(own),
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + balancerName + `":{}}]}`),
			// A name server must not change our policy.
			grpc.WithDisableServiceConfig(),
		}, nil
	}
	inner, err := ch.source.Credentials(own)
	if err != nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(&borrowed{TransportCredentials: inner, own: own})}, nil
}

// borrowed is transport security that a channel's source brings. What the mesh asks
// of connections holds for its connections, too.
type borrowed struct {
	credentials.TransportCredentials
	own *secure
}

var _ credentials.TransportCredentials = (*borrowed)(nil)

// UsesXDS tells gRPC's xDS balancers to hand over what they know of security.
func (*borrowed) UsesXDS() bool { return true }

// Clone returns itself: it is immutable.
func (b *borrowed) Clone() credentials.TransportCredentials { return b }

// ClientHandshake pins the server, whoever the source would let it be.
func (b *borrowed) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := b.own.channel.permitted(authority); err != nil {
		return nil, nil, err
	}
	pinned := b.own.mesh.lives.reviewed(b.own.channel.pinned) // by whose authorities, the source knows
	conn, info, err := b.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	shown, ok := info.(credentials.TLSInfo)
	if ok && b.own.mesh.lives.knows(&shown) {
		return conn, info, nil // the mesh's own has made it
	}
	if err := b.own.pin(&shown); err != nil {
		_ = conn.Close()
		b.own.mesh.onEvent(Event{Kind: HandshakeRefused, Target: b.own.channel.target, Err: err})
		return nil, nil, err
	}
	return b.own.mesh.lives.limit(conn, info, nil, pinned)
}

// pin says why the server of a connection is not one that is expected.
func (s *secure) pin(info *credentials.TLSInfo) error {
	expected, err := s.channel.expected()
	if err != nil {
		return err
	}
	if info.SPIFFEID == nil {
		return errors.New("mesh: the server showed no SPIFFE certificate")
	}
	if id := peerID(info); !slices.Contains(expected, id) {
		return fmt.Errorf("mesh: the server is %s, which is not among those expected of %s", id, s.channel.target)
	}
	return nil
}
