package picker

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// DefaultRingSize is Istio's least number of points.
const DefaultRingSize = 1024

// point is a place on the ring: requests that hash to it or before it, as far as
// the last point, go to the member.
type point struct {
	hash   uint64
	member int
}

// onRing chooses by the request's hash: the first host from there on that will do.
// All hosts have their places, connected or not, so that a host that comes and goes
// moves no requests but its own.
func (p *picking) onRing() (Choice, bool) {
	p.once.Do(func() { p.ring = newRing(p.members, p.config.RingSize) })
	start := sort.Search(len(p.ring), func(i int) bool { return p.ring[i].hash >= p.request.Hash })
	second, last := -1, -1
	for i := range p.ring {
		at := p.ring[(start+i)%len(p.ring)].member
		if !p.members[at].Ready {
			continue
		}
		host := p.members[at].Host
		if ok, probe := p.try(at); ok {
			return Choice{Index: at, Host: host, Probe: probe}, true
		}
		if p.full(host) {
			continue
		}
		if last < 0 {
			last = at
		}
		if second < 0 && !host.Ejected() {
			second = at
		}
	}
	if second < 0 {
		second = last
	}
	if second < 0 {
		return Choice{}, false
	}
	return Choice{Index: second, Host: p.members[second].Host}, true
}

// newRing gives every member points by its weight, at least size together.
func newRing(members []Member, size int) []point {
	each := max(1, (max(size, 1)+len(members)-1)/len(members))
	sum := 0.0
	for _, m := range members {
		sum += m.weight()
	}
	ring := make([]point, 0, each*len(members))
	for i, m := range members {
		hash := Hash(m.Host.Address())
		for range max(1, int(math.Round(float64(each*len(members))*m.weight()/sum))) {
			ring = append(ring, point{hash: hash, member: i})
			hash = Mix(hash + golden)
		}
	}
	slices.SortFunc(ring, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return ring
}

const golden = 0x9e3779b97f4a7c15

// Hash turns text into what [Request].Hash wants: FNV-1a, and murmur's finalizer,
// as FNV alone leaves similar texts near each other.
func Hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return Mix(h)
}

// Mix makes one hash out of another.
func Mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
