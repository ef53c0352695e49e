package mesh

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/resolver"
)

// resolvers returns the resolver for a target of the mesh: gRPC's own for its
// schemes (dns, unix, passthrough and registered ones), ours for static. Either
// way its answers carry the channel to the balancer.
func resolvers(ch *channel, target string) (resolver.Builder, error) {
	scheme, rest, ok := strings.Cut(target, ":")
	switch {
	case ok && scheme == "static":
		addresses := strings.Split(strings.TrimPrefix(rest, "///"), ",")
		for _, a := range addresses {
			if !strings.Contains(a, ":") {
				return nil, fmt.Errorf("mesh: target %q: endpoint %q, want host:port", target, a)
			}
		}
		return &carrying{Builder: staticResolver{addresses}, channel: ch}, nil
	case ok && resolver.Get(scheme) != nil:
		return &carrying{Builder: resolver.Get(scheme), channel: ch}, nil
	default:
		return &carrying{Builder: resolver.Get("dns"), channel: ch}, nil
	}
}

// carrying adds the channel to what a resolver says.
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
	if len(state.Endpoints) == 0 && len(state.Addresses) == 0 {
		return errors.New("mesh: no endpoints")
	}
	state.Attributes = state.Attributes.WithValue(channelKey{}, c.channel)
	return c.ClientConn.UpdateState(state)
}

// staticResolver knows a fixed list of endpoints.
type staticResolver struct{ addresses []string }

// Scheme is what targets begin with.
func (staticResolver) Scheme() string { return "static" }

// Build reports the list once.
func (s staticResolver) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	endpoints := make([]resolver.Endpoint, len(s.addresses))
	for i, a := range s.addresses {
		endpoints[i] = resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}}
	}
	if err := cc.UpdateState(resolver.State{Endpoints: endpoints}); err != nil {
		return nil, err
	}
	return s, nil
}

// ResolveNow has nothing new to say.
func (staticResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close has nothing to end.
func (staticResolver) Close() {}
