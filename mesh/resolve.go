package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/resolver"
)

// resolverFor returns what finds the endpoints of a target, and the authority that
// calls name, "" for gRPC's choice. Its answers carry the channel to the balancer.
func (m *Mesh) resolverFor(ch *channel, target string) (resolver.Builder, string, error) {
	if ch.source != nil {
		return &carrying{Builder: ch.source.Resolver, channel: ch}, "", nil
	}
	scheme, rest, ok := strings.Cut(target, ":")
	if !ok || resolver.Get(scheme) == nil && scheme != "static" && scheme != "mesh" && scheme != "srv" {
		scheme, rest = "dns", target // a plain host:port
	}
	endpoint := strings.TrimPrefix(rest, "///")
	switch {
	case scheme == "xds":
		return nil, "", fmt.Errorf("mesh: target %q: want a client of package mesh/xds", target)
	case scheme == "static":
		addresses := strings.Split(endpoint, ",")
		endpoints := make([]Endpoint, len(addresses))
		for i, a := range addresses {
			if _, _, err := net.SplitHostPort(a); err != nil {
				return nil, "", fmt.Errorf("mesh: target %q: endpoint %q, want host:port", target, a)
			}
			endpoints[i].Address = a
		}
		return &discovered{scheme: scheme, channel: ch, watch: fixed(endpoints)}, addresses[0], nil
	case scheme == "mesh":
		if m.discovery == nil || endpoint == "" {
			return nil, "", fmt.Errorf("mesh: target %q: want a service's name, and Options.Discovery to look it up", target)
		}
		return &discovered{scheme: scheme, channel: ch, watch: func(ctx context.Context, _ <-chan struct{}, update func([]Endpoint, error)) {
			m.discovery.Watch(ctx, endpoint, update)
		}}, endpoint, nil
	case scheme == "srv":
		if endpoint == "" || strings.HasPrefix(endpoint, "/") {
			return nil, "", fmt.Errorf("mesh: target %q: want a name such as _grpc._tcp.orders.shop", target)
		}
		return &discovered{scheme: scheme, channel: ch, watch: pollSRV(m.lookupSRV, m.lookup, endpoint, m.dnsInterval)}, endpoint, nil
	case scheme == "dns" && !strings.HasPrefix(endpoint, "//"):
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil || host == "" || port == "" {
			return nil, "", fmt.Errorf("mesh: target %q: want a name and a port", target)
		}
		return &discovered{scheme: scheme, channel: ch, watch: pollDNS(m.lookup, host, port, m.dnsInterval)}, "", nil
	default:
		return &carrying{Builder: resolver.Get(scheme), channel: ch}, "", nil
	}
}

// carry adds the channel to what a resolver says.
func carry(state resolver.State, ch *channel) resolver.State {
	state.Attributes = state.Attributes.WithValue(channelKey{}, ch)
	return state
}

// carrying is one of gRPC's own resolvers, whose answers carry the channel.
type carrying struct {
	resolver.Builder
	channel *channel
}

// Build builds the wrapped resolver.
func (c *carrying) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	return c.Builder.Build(target, &carryingConn{ClientConn: cc, channel: c.channel}, opts)
}

type carryingConn struct {
	resolver.ClientConn
	channel *channel
}

// UpdateState hands on the endpoints, and the channel with them.
func (c *carryingConn) UpdateState(state resolver.State) error {
	if len(state.Endpoints) == 0 && len(state.Addresses) == 0 && c.channel.source == nil {
		return errors.New("mesh: no endpoints")
	}
	return c.ClientConn.UpdateState(carry(state, c.channel))
}
