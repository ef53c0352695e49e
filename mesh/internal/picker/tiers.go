package picker

// overprovision is how much more than its share a host is taken to bear: Envoy's
// overprovisioning factor.
const overprovision = 1.4

// health is how many hosts of a set are in use, and what follows from it.
type health struct {
	changes uint64
	percent int // of all hosts
	// upTo has an entry for each tier: the tiers up to it take that share of the
	// requests. The last one is 1.
	upTo []float64
	// ready is upTo by hosts that are ready, ejected or not.
	ready []float64
}

// look counts the hosts in use, unless that is known.
func (s *Set) look() *health {
	changes := s.members[0].Host.Changes()
	if h := s.health.Load(); h != nil && h.changes == changes {
		return h
	}
	h := &health{changes: changes, upTo: make([]float64, len(s.tiers)), ready: make([]float64, len(s.tiers))}
	inUse, ready := 0, 0
	left, sum := 1.0, 0.0
	for i, t := range s.tiers {
		n := 0
		for _, at := range t.ready {
			if !s.members[at].Host.Ejected() {
				n++
			}
		}
		inUse += n
		ready += len(t.ready)
		share := min(left, overprovision*float64(n)/float64(t.total))
		left -= share
		sum += share
		h.upTo[i], h.ready[i] = sum, float64(ready)
	}
	for i := range h.upTo {
		h.ready[i] /= float64(max(1, ready))
		if sum > 0 {
			h.upTo[i] /= sum
		} else {
			h.upTo[i] = h.ready[i]
		}
	}
	h.percent = 100 * inUse / len(s.members)
	s.health.Store(h)
	return h
}

// tier chooses the tier of a request, by what each can bear.
func (p *picking) tier() int {
	shares := p.health.upTo
	if p.panic {
		shares = p.health.ready
	}
	if p.request.Elsewhere {
		for i := 1; i < len(shares); i++ {
			if p.health.ready[i] > p.health.ready[i-1] {
				return i
			}
		}
	}
	draw := p.float()
	for i, upTo := range shares {
		if draw < upTo {
			return i
		}
	}
	return len(shares) - 1
}

// probe gives the request to a host of a nearer tier whose ejection is over, if all of
// that tier are ejected: it has no share, so that nothing else would bring it back.
func (p *picking) probe(first int) (Choice, bool) {
	if p.request.Elsewhere {
		return Choice{}, false
	}
	for i, t := range p.tiers[:first] {
		if len(t.ready) == 0 || p.health.upTo[i] > 0 {
			continue
		}
		at := t.turn()
		if ok, probe := p.try(at); ok && probe {
			return Choice{Index: at, Host: p.members[at].Host, Probe: true}, true
		}
	}
	return Choice{}, false
}
