package policy

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/portico-bff/portico/mesh/internal/split"
)

// Subset is the endpoints of a destination that have some labels.
type Subset struct {
	Name   string
	Labels map[string]string
}

// Covers says whether an endpoint with these labels belongs to the subset.
func (s *Subset) Covers(labels map[string]string) bool {
	for name, value := range s.Labels {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// Split shares an entry's calls out among subsets; its zero value does not.
type Split struct {
	To     []Share
	Shares split.Shares // of To's weights
	By     string       // the header whose value decides; "": chance does
}

// Share is one part of a split.
type Share struct {
	Subset *Subset // nil: every endpoint
	Weight int
}

// reference is a destination that a route names. It is looked up when everything has
// been read.
type reference struct {
	host, subset string // subset is "" for every endpoint
	at, subsetAt *token.Token
	set          func(*Subset)
}

// subsets reads a Destination's.
func (r *reader) subsets(n ast.Node, d *Destination) {
	r.each(n, "subsets", func(n ast.Node) {
		s := &Subset{Labels: map[string]string{}}
		r.mapping(n, "subset",
			key{name: "name", must: true, read: func(n ast.Node) {
				s.Name, _ = r.text(n, "name")
				if slices.ContainsFunc(d.Subsets, func(other *Subset) bool { return other.Name == s.Name }) {
					r.fail(place(n), "subset: a second one for %q", s.Name)
				}
			}},
			key{name: "labels", must: true, read: func(n ast.Node) {
				pairs, ok := r.pairs(n, "labels")
				for _, pair := range pairs {
					name := pair.Key.GetToken().Value
					s.Labels[name], _ = r.text(pair.Value, "label "+name)
				}
				if ok && len(pairs) == 0 {
					r.fail(place(n), "labels: want at least one")
				}
			}})
		d.Subsets = append(d.Subsets, s)
	})
}

// split reads an entry's route: destinations with weights.
func (r *reader) split(n ast.Node, to *Split) {
	size := 0
	if sequence, ok := n.(*ast.SequenceNode); ok {
		size = len(sequence.Values)
	}
	to.To = make([]Share, 0, size) // never moved: references point into it
	sum := 0
	r.each(n, "route", func(n ast.Node) {
		to.To = append(to.To, Share{Weight: 100})
		share := &to.To[len(to.To)-1]
		r.mapping(n, "route",
			key{name: "destination", must: true, read: func(n ast.Node) {
				r.ownDestination(n, "destination", false, func(s *Subset) { share.Subset = s })
			}},
			// One destination gets everything and needs no weight.
			key{name: "weight", must: size > 1, read: func(n ast.Node) { r.integer(n, "weight", 0, 1_000_000, &share.Weight) }})
		sum += share.Weight
	})
	if sum == 0 {
		r.fail(place(n), "route: want at least one destination with a weight above 0")
		return
	}
	weights := make([]int, len(to.To))
	for i, share := range to.To {
		weights[i] = share.Weight
	}
	to.Shares = split.New(weights)
}

// splitBy reads the header that a split hashes.
func (r *reader) splitBy(n ast.Node, to *Split) {
	r.mapping(n, "splitBy", key{name: "httpHeaderName", must: true, read: func(n ast.Node) {
		name, _ := r.text(n, "httpHeaderName")
		to.By = strings.ToLower(name)
	}})
}

// ownDestination reads a host and a subset of it, where the host must be the route's
// own: a client has the endpoints of one.
func (r *reader) ownDestination(n ast.Node, what string, must bool, set func(*Subset)) {
	ref := reference{set: set}
	r.mapping(n, what,
		key{name: "host", must: true, read: func(n ast.Node) {
			ref.host, _ = r.text(n, "host")
			ref.at = place(n)
		}},
		key{name: "subset", must: must, read: func(n ast.Node) {
			ref.subset, _ = r.text(n, "subset")
			ref.subsetAt = place(n)
		}})
	if ref.host != "" {
		r.named = append(r.named, ref)
	}
}

// own refuses destinations of a route that are not its own hosts.
func (r *reader) own(hosts []string) {
	for _, ref := range r.named {
		switch {
		case !slices.Contains(hosts, ref.host):
			r.fail(ref.at, "host: %q, want one of the route's own hosts (%s): a route chooses among the subsets of one service", ref.host, list(hosts))
		case ref.subset != "":
			r.references = append(r.references, ref)
		}
	}
	r.named = nil
}

// resolve finds the subsets that routes name.
func (r *reader) resolve(p *Policy) {
	for _, ref := range r.references {
		var known []string
		for _, d := range p.Destinations {
			if d.Host != ref.host {
				continue
			}
			for _, s := range d.Subsets {
				known = append(known, s.Name)
				if s.Name == ref.subset {
					ref.set(s)
				}
			}
		}
		if !slices.Contains(known, ref.subset) {
			r.fail(ref.subsetAt, "subset: the Destination %q has no subset %q%s", ref.host, ref.subset, hint(ref.subset, known))
		}
	}
}
