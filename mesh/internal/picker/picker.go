// Package picker chooses a host for a request among those in use, past those that
// are ejected, that are full, and that an earlier attempt of the same request has
// tried. It knows no transport.
//
// Hosts come in tiers, nearest first. A tier gets all requests while most of its
// hosts are in use: as in Envoy, what is in use counts 1.4 times (so a tier may miss
// two hosts of seven), and the next tiers take the share that it cannot.
package picker

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// Algorithm is how a host is chosen.
type Algorithm int

// The algorithms, in Istio's words, and Linkerd's.
const (
	// RoundRobin takes all in turn.
	RoundRobin Algorithm = iota
	// LeastRequest takes the one with fewer requests at the time out of two
	// that are drawn by chance.
	LeastRequest
	// Random draws one.
	Random
	// PeakEWMA takes the one where a request costs less out of two that are
	// drawn by chance: see package latency.
	PeakEWMA
	// ConsistentHash takes the same one for the same [Request].Hash, as far as
	// it is in use. It looks at hosts of all tiers.
	ConsistentHash
)

// String returns the word for it.
func (a Algorithm) String() string {
	switch a {
	case LeastRequest:
		return "LEAST_REQUEST"
	case Random:
		return "RANDOM"
	case PeakEWMA:
		return "PEAK_EWMA"
	case ConsistentHash:
		return "CONSISTENT_HASH"
	case RoundRobin:
	}
	return "ROUND_ROBIN"
}

// Config says how hosts are chosen.
type Config struct {
	Algorithm Algorithm
	// RingSize is the least number of points on ConsistentHash's ring.
	RingSize int
	// Warmup lets new hosts take up their share slowly.
	Warmup Warmup
	// MinHealthPercent is the share of hosts in use below which ejections and
	// tiers are disregarded: the few that are left could not bear the load.
	MinHealthPercent int
	// MaxActive is how many requests a host may have at a time; zero is any.
	MaxActive int
}

// Warmup says how the share of a host grows after it has come into use: from
// MinimumPercent of the full one, over Duration, as (age/duration)^(1/Aggression).
// Its zero value gives the full share at once.
type Warmup struct {
	Duration       time.Duration
	Aggression     float64
	MinimumPercent int
}

// Share returns which part of its share a host of that age takes.
func (w *Warmup) Share(age time.Duration) float64 {
	if age >= w.Duration {
		return 1
	}
	part := max(0, float64(age)) / float64(w.Duration)
	return max(float64(w.MinimumPercent)/100, math.Pow(part, 1/w.Aggression))
}

// Member is a host of a [Set].
type Member struct {
	Host *outlier.Host
	// Tier is how far away it is: lower ones are preferred.
	Tier int
	// Ready says whether it can be chosen. Those that cannot are counted, since
	// they are missed.
	Ready bool
	// Weight is its share in proportion to the others of its tier; zero is one.
	Weight uint32
}

// Set is an immutable list of hosts, in one order for all. It is safe for
// concurrent use.
type Set struct {
	members []Member
	tiers   []*tier // nearest first; those without ready hosts, too
	health  atomic.Pointer[health]

	once sync.Once // makes ring
	ring []point

	chance *rand.Rand // nil: the runtime's
}

// tier is the hosts that are equally near.
type tier struct {
	level int
	ready []int // places in members
	turns []int // the same, each as often as its weight says
	total int
	next  atomic.Uint32
}

// Choice is a picked host: its place in the list given to [New], and whether the
// request is the probe that may bring it back (see [outlier.Host.Admit]).
type Choice struct {
	Index int
	Host  *outlier.Host
	Probe bool
}

// Request is what a host is chosen for.
type Request struct {
	Now time.Time
	// Tried says which hosts to avoid if there are others; nil avoids none.
	Tried func(*outlier.Host) bool
	// Hash is for ConsistentHash.
	Hash uint64
	// Elsewhere prefers other tiers than the nearest.
	Elsewhere bool
}

// New returns a set of hosts; at least one must be ready.
func New(members []Member) *Set {
	s := &Set{members: members}
	for i, m := range members {
		at := slices.IndexFunc(s.tiers, func(t *tier) bool { return t.level == m.Tier })
		if at < 0 {
			at = len(s.tiers)
			t := &tier{level: m.Tier}
			t.next.Store(rand.Uint32()) //nolint:gosec // spreads load, no secret
			s.tiers = append(s.tiers, t)
		}
		s.tiers[at].total++
		if m.Ready {
			s.tiers[at].ready = append(s.tiers[at].ready, i)
		}
	}
	for _, t := range s.tiers {
		t.turns = schedule(t.ready, members)
	}
	slices.SortFunc(s.tiers, func(a, b *tier) int { return a.level - b.level })
	return s
}

// Seed makes the set's choices those of a source, so that they can be repeated. From
// then on the set is as safe for concurrent use as the source.
func (s *Set) Seed(source rand.Source) {
	s.chance = rand.New(source) //nolint:gosec // spreads load, no secret
	for _, t := range s.tiers {
		t.next.Store(s.chance.Uint32())
	}
}

func (s *Set) intN(n int) int {
	if s.chance != nil {
		return s.chance.IntN(n)
	}
	return rand.IntN(n) //nolint:gosec // spreads load, no secret
}

func (s *Set) float() float64 {
	if s.chance != nil {
		return s.chance.Float64()
	}
	return rand.Float64() //nolint:gosec // spreads load, no secret
}

// Pick chooses a host. If every host is ejected, it gives one all the same: a
// service whose hosts all fail is better tried than given up. It is false if all
// hosts have as many requests as they may.
func (s *Set) Pick(c *Config, r Request) (Choice, bool) {
	p := picking{Set: s, config: c, request: r}
	if len(s.tiers) > 1 || c.MinHealthPercent > 0 {
		p.health = s.look()
		p.panic = p.health.percent < c.MinHealthPercent
	}
	if c.Algorithm == ConsistentHash {
		return p.onRing()
	}
	first := 0
	if len(s.tiers) > 1 {
		first = p.tier()
		if choice, ok := p.probe(first); ok {
			return choice, true
		}
	}
	if choice, ok := p.in(s.tiers[first]); ok {
		return choice, true
	}
	return p.search(first)
}

// picking is one pick.
type picking struct {
	*Set

	config  *Config
	request Request
	health  *health // nil where it does not matter
	panic   bool    // too few hosts are in use to look at ejections
}

// in chooses in a tier.
func (p *picking) in(t *tier) (Choice, bool) {
	if len(t.ready) == 0 {
		return Choice{}, false
	}
	switch p.config.Algorithm {
	case LeastRequest, PeakEWMA:
		return p.draw(t, 2)
	case Random:
		return p.draw(t, 1)
	case RoundRobin, ConsistentHash:
	}
	return p.inTurn(t)
}

// try says whether the host at that place will do.
func (p *picking) try(at int) (ok, probe bool) {
	host := p.members[at].Host
	if p.request.Tried != nil && p.request.Tried(host) {
		return false, false
	}
	return p.admit(host)
}

// admit is try for hosts that may have been tried.
func (p *picking) admit(host *outlier.Host) (ok, probe bool) {
	if p.full(host) {
		return false, false
	}
	ok, probe = host.Admit(p.request.Now)
	return ok || p.panic, probe
}

func (p *picking) full(host *outlier.Host) bool {
	return p.config.MaxActive > 0 && host.Active() >= int64(p.config.MaxActive)
}

// cold says whether a host passes on a turn because it is new.
func (p *picking) cold(host *outlier.Host) bool {
	w := &p.config.Warmup
	if w.Duration == 0 {
		return false
	}
	age := host.Age(p.request.Now)
	return age < w.Duration && p.float() >= w.Share(age)
}

// draw takes the best of so many hosts drawn by chance.
func (p *picking) draw(t *tier, candidates int) (Choice, bool) {
	n := len(t.turns)
	drawn, best := -1, -1 // places in t.turns
	for range 2 * n {
		at := p.intN(n)
		if drawn >= 0 && n > 1 {
			at = (drawn + 1 + p.intN(n-1)) % n // another one
		}
		host := p.members[t.turns[at]].Host
		ok, probe := p.try(t.turns[at])
		if probe {
			return Choice{Index: t.turns[at], Host: host, Probe: true}, true
		}
		if !ok || p.cold(host) {
			continue
		}
		if best >= 0 {
			if at != best && p.better(host, p.members[t.turns[best]].Host) {
				best = at
			}
			break
		}
		drawn, best = at, at
		if candidates == 1 || n == 1 {
			break
		}
	}
	if best < 0 {
		return Choice{}, false
	}
	return Choice{Index: t.turns[best], Host: p.members[t.turns[best]].Host}, true
}

// alike is how much cheaper a host must be to be preferred. Without it, a single
// caller would stay with whichever of two equal hosts is ahead by a hair.
const alike = 0.8

// better says whether a is to be preferred to b, which was drawn before it.
func (p *picking) better(a, b *outlier.Host) bool {
	if p.config.Algorithm != PeakEWMA {
		return a.Active() < b.Active()
	}
	now := p.request.Now
	activeA, activeB := a.Active(), b.Active()
	switch costA, costB := a.Latency().Cost(activeA, now), b.Latency().Cost(activeB, now); {
	case costA < alike*costB:
		return !b.Latency().Due(activeB, now)
	case costB < alike*costA:
		return a.Latency().Due(activeA, now)
	default:
		return activeA < activeB
	}
}

func (p *picking) inTurn(t *tier) (Choice, bool) {
	// Each step takes a turn of its own, so that the host behind an ejected one
	// does not get its share besides its own.
	for range t.turns {
		at := t.turn()
		if p.cold(p.members[at].Host) {
			continue
		}
		if ok, probe := p.try(at); ok {
			return Choice{Index: at, Host: p.members[at].Host, Probe: probe}, true
		}
	}
	return Choice{}, false
}

// turn returns whose turn it is.
func (t *tier) turn() int {
	return t.turns[t.next.Add(1)%uint32(len(t.turns))]
}

// search is for when the chosen tier gave no host that will do: any host in use,
// nearest first, then one that was tried but is in use, then any.
func (p *picking) search(first int) (Choice, bool) {
	second, last := -1, -1
	for i := range len(p.tiers) + 1 {
		// The chosen tier first: others' turns may have hidden its hosts.
		t := p.tiers[first]
		if i > 0 {
			t = p.tiers[i-1]
		}
		start := t.next.Add(1)
		for j := range uint32(len(t.ready)) {
			at := t.ready[(start+j)%uint32(len(t.ready))]
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
	}
	if second < 0 {
		second = last
	}
	if second < 0 {
		return Choice{}, false
	}
	return Choice{Index: second, Host: p.members[second].Host}, true
}
