// Package picker chooses a host for a request: round robin over the hosts in
// use, past those that are ejected and those that an earlier attempt of the same
// request has tried. It knows no transport.
package picker

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

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
func (s *Set) Pick(tried func(*outlier.Host) bool, now time.Time) Choice {
	n := len(s.hosts)
	start := int(s.next.Add(1) % uint32(n)) //nolint:gosec // a length
	fallback := -1
	for i := range n {
		at := (start + i) % n
		host := s.hosts[at]
		if tried != nil && tried(host) {
			continue
		}
		if ok, probe := host.Admit(now); ok {
			return Choice{Index: at, Host: host, Probe: probe}
		}
		if fallback < 0 {
			fallback = at
		}
	}
	if tried != nil {
		// A host that was tried and is in use comes before one that is ejected.
		for i := range n {
			at := (start + i) % n
			if host := s.hosts[at]; tried(host) && !host.Ejected() {
				return Choice{Index: at, Host: host}
			}
		}
	}
	if fallback < 0 {
		fallback = start
	}
	return Choice{Index: fallback, Host: s.hosts[fallback]}
}
