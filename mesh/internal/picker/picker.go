// Package picker chooses a host for a request among those in use, past those that
// are ejected and those that an earlier attempt of the same request has tried. It
// knows no transport.
package picker

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// Algorithm is how a host is chosen.
type Algorithm int

// The algorithms, in Istio's words.
const (
	// RoundRobin takes all in turn.
	RoundRobin Algorithm = iota
	// LeastRequest takes the one with fewer requests at the time out of two
	// that are drawn by chance.
	LeastRequest
	// Random draws one.
	Random
)

// String returns Istio's word.
func (a Algorithm) String() string {
	switch a {
	case LeastRequest:
		return "LEAST_REQUEST"
	case Random:
		return "RANDOM"
	case RoundRobin:
	}
	return "ROUND_ROBIN"
}

// Set is an immutable list of hosts, in one order for all. It is safe for
// concurrent use.
type Set struct {
	hosts []*outlier.Host
	next  atomic.Uint32
}

// Choice is a picked host: its place in the list given to [New], and whether the
// request is the probe that may bring it back (see [outlier.Host.Admit]).
type Choice struct {
	Index int
	Host  *outlier.Host
	Probe bool
}

// New returns a set of hosts; there must be at least one.
func New(hosts []*outlier.Host) *Set {
	s := &Set{hosts: hosts}
	s.next.Store(rand.Uint32()) //nolint:gosec // spreads load, no secret
	return s
}

// Pick chooses a host. tried says which to avoid if there is another; nil avoids
// none. If every host is ejected, it gives one all the same: a service whose
// hosts all fail is better tried than given up.
func (s *Set) Pick(algorithm Algorithm, tried func(*outlier.Host) bool, now time.Time) Choice {
	switch algorithm {
	case LeastRequest:
		return s.draw(2, tried, now)
	case Random:
		return s.draw(1, tried, now)
	case RoundRobin:
	}
	return s.inTurn(tried, now)
}

// draw takes the least busy of so many hosts drawn by chance.
func (s *Set) draw(candidates int, tried func(*outlier.Host) bool, now time.Time) Choice {
	best, found := -1, 0
	for range 2 * len(s.hosts) {
		at := rand.IntN(len(s.hosts)) //nolint:gosec // spreads load, no secret
		host := s.hosts[at]
		if at == best || tried != nil && tried(host) {
			continue
		}
		ok, probe := host.Admit(now)
		if probe {
			return Choice{Index: at, Host: host, Probe: true}
		}
		if !ok {
			continue
		}
		if best < 0 || host.Active() < s.hosts[best].Active() {
			best = at
		}
		if found++; found == candidates {
			break
		}
	}
	if best < 0 {
		return s.search(tried, now)
	}
	return Choice{Index: best, Host: s.hosts[best]}
}

func (s *Set) inTurn(tried func(*outlier.Host) bool, now time.Time) Choice {
	// Each step takes a turn of its own, so that the host behind an ejected one
	// does not get its share besides its own.
	for range s.hosts {
		at := s.turn()
		if tried != nil && tried(s.hosts[at]) {
			continue
		}
		if ok, probe := s.hosts[at].Admit(now); ok {
			return Choice{Index: at, Host: s.hosts[at], Probe: probe}
		}
	}
	return s.search(tried, now)
}

// turn returns whose turn it is.
func (s *Set) turn() int {
	return int(s.next.Add(1) % uint32(len(s.hosts)))
}

// search is for when the turns met no host that will do, which others' turns may
// have caused: any host in use, then one that was tried but is in use, then any.
func (s *Set) search(tried func(*outlier.Host) bool, now time.Time) Choice {
	start, second := s.turn(), -1
	for i := range s.hosts {
		at := (start + i) % len(s.hosts)
		host := s.hosts[at]
		if tried != nil && tried(host) {
			if second < 0 && !host.Ejected() {
				second = at
			}
			continue
		}
		if ok, probe := host.Admit(now); ok {
			return Choice{Index: at, Host: host, Probe: probe}
		}
	}
	if second < 0 {
		second = start
	}
	return Choice{Index: second, Host: s.hosts[second]}
}
