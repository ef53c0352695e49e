package mesh

import (
	"context"
	"fmt"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/split"
)

// member is an endpoint as the balancer knows it.
type member struct {
	host   *outlier.Host
	labels labels
	tier   int // how far away it is
	weight uint32
	state  connectivity.State
	picker balancer.Picker // of its connection
}

// subsetPickers are the pickers of the subsets that one plan speaks of.
type subsetPickers struct {
	plan     *plan
	bySubset map[*policy.Subset]balancer.Picker
}

// within returns the picker among the endpoints of a subset.
func (p *lbPicker) within(subset *policy.Subset) balancer.Picker {
	plan := p.channel.plan()
	known := p.subsets.Load()
	if known == nil || known.plan != plan {
		known = &subsetPickers{plan: plan, bySubset: map[*policy.Subset]balancer.Picker{}}
		for _, s := range plan.subsets() {
			known.bySubset[s] = p.narrow(s)
		}
		p.subsets.Store(known)
	}
	if narrowed, ok := known.bySubset[subset]; ok {
		return narrowed
	}
	return p.narrow(subset) // of a plan that has been replaced since the call began
}

// narrow makes the picker among the endpoints of a subset. If none is connected, it
// is that of one that soon may be, or else of one that could not.
func (p *lbPicker) narrow(subset *policy.Subset) balancer.Picker {
	var covered []member
	var waiting, failing balancer.Picker
	ready := false
	for _, m := range p.members {
		if !subset.Covers(m.labels) {
			continue
		}
		covered = append(covered, m) // connected or not: they count for the health of a zone
		switch m.state {
		case connectivity.Ready:
			ready = true
		case connectivity.TransientFailure:
			failing = m.picker
		default:
			waiting = m.picker
		}
	}
	switch {
	case ready:
		return newPicker(p.channel, covered)
	case waiting != nil:
		return waiting
	case failing != nil:
		return failing
	default:
		return noEndpoint{subset: subset.Name, target: p.channel.target}
	}
}

// noEndpoint is the picker of a subset without endpoints.
type noEndpoint struct {
	subset, target string
}

// Pick fails.
func (n noEndpoint) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, fmt.Errorf("mesh: no endpoint of %s belongs to subset %q", n.target, n.subset)
}

// subsets returns all subsets that the plan's entries speak of.
func (p *plan) subsets() []*policy.Subset {
	var list []*policy.Subset
	for i := range p.rules {
		for _, share := range p.rules[i].Split.To {
			if share.Subset != nil {
				list = append(list, share.Subset)
			}
		}
		if mirror := p.rules[i].Mirror; mirror != nil {
			list = append(list, mirror.Subset)
		}
	}
	return list
}

// subset chooses where a call goes, once for all its attempts; nil is anywhere.
func (m *Mesh) subset(ctx context.Context, s *policy.Split) *policy.Subset {
	return m.share(s, func(name string) []string { return outgoing(ctx, name) })
}

// share is subset for calls whose headers are read with values.
func (m *Mesh) share(s *policy.Split, values func(name string) []string) *policy.Subset {
	switch len(s.To) {
	case 0:
		return nil
	case 1:
		return s.To[0].Subset
	}
	if s.By != "" {
		if key := values(s.By); len(key) > 0 {
			return s.To[s.Shares.At(split.Point(key[0]))].Subset
		}
	}
	return s.To[s.Shares.At(m.chance())].Subset
}
