// Package outlier takes hosts that keep failing out of a pool for a while, in
// Istio's and gRFC A50's words: consecutive errors, a success rate far below the
// others', a base ejection time that grows with each ejection, a greatest share of
// ejected hosts. It knows no transport: results are reported to a [Host], and
// [Host.Admit] says whether it may be used.
//
// A host whose ejection time is over gets one request to prove itself; the rest
// stay away until that one has ended.
package outlier

import (
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/latency"
)

// Config says when a host is ejected and for how long.
type Config struct {
	// ConsecutiveGatewayErrors ejects after so many gateway errors in a row, and
	// Consecutive5xxErrors after so many errors of either kind; zero never does.
	ConsecutiveGatewayErrors, Consecutive5xxErrors int
	// Interval is how often success rates are compared.
	Interval time.Duration
	// SuccessRate says how; its zero value does not compare.
	SuccessRate SuccessRate
	// BaseEjection is the first ejection's length; the n-th is n times as long,
	// up to MaxEjection. Up to a tenth is added by chance, so that many clients
	// do not come back at once.
	BaseEjection, MaxEjection time.Duration
	// MaxEjectionPercent is the greatest share of hosts ejected at a time. One
	// host may always be ejected, and the last one in use never is.
	MaxEjectionPercent int
}

// SuccessRate ejects hosts that do much worse than the rest: below the mean of all
// hosts' success rates by more than StdevFactor thousandths of their standard
// deviation. Only hosts with RequestVolume requests in the interval are looked at,
// and only if there are MinimumHosts of them.
type SuccessRate struct {
	StdevFactor, MinimumHosts, RequestVolume int
}

// Outcome is what became of one request to a host.
type Outcome int

// The outcomes. Ignored says nothing of the host's health; GatewayError means that
// it could not be reached or would not serve, ServerError that it failed to.
const (
	Ignored Outcome = iota
	Success
	GatewayError
	ServerError
)

// Pool is a set of hosts that are judged together. It is safe for concurrent
// use.
type Pool struct {
	config  atomic.Pointer[Config]
	onEject func(address string, until time.Time)
	sweepAt atomic.Int64 // when success rates are compared next, in Unix nanoseconds
	changes atomic.Uint64

	mu      sync.Mutex // guards what follows, and Host's guarded fields
	hosts   map[string]*Host
	ejected int
	chance  func() float64 // draws from [0, 1)
}

// Host is one member of a pool. It is safe for concurrent use.
type Host struct {
	pool    *Pool
	address string

	latency   latency.Estimate
	since     atomic.Int64 // when it came into use, in Unix nanoseconds
	active    atomic.Int64
	gatewayIn atomic.Int32 // gateway errors in a row
	errorsIn  atomic.Int32 // errors of either kind in a row
	state     atomic.Int32
	requests  atomic.Int64 // in this interval
	successes atomic.Int64 // of them

	until   time.Time // guarded by pool.mu: end of the ejection
	times   int       // guarded by pool.mu: ejections that still count
	settled time.Time // guarded by pool.mu: when times last changed
}

// States of a host.
const (
	inUse int32 = iota
	ejected
	probing
)

// NewPool returns an empty pool. onEject is told of each ejection; it must not
// call back.
func NewPool(c Config, onEject func(address string, until time.Time)) *Pool {
	p := &Pool{hosts: map[string]*Host{}, onEject: onEject, chance: rand.Float64}
	p.config.Store(&c)
	return p
}

// Seed makes what the pool leaves to chance that of a source, so that it can be
// repeated.
func (p *Pool) Seed(source rand.Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chance = rand.New(source).Float64 //nolint:gosec // spreads load, no secret
}

// Configure changes the pool's rules from now on.
func (p *Pool) Configure(c Config) { p.config.Store(&c) }

// Host returns the host with that address, new or as it was.
func (p *Pool) Host(address string) *Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.hosts[address]
	if !ok {
		h = &Host{pool: p, address: address}
		p.hosts[address] = h
	}
	return h
}

// Keep forgets all hosts but those with the given addresses.
func (p *Pool) Keep(addresses map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, h := range p.hosts {
		if !addresses[address] {
			delete(p.hosts, address)
			if h.state.Load() != inUse {
				p.ejected--
				h.state.Store(inUse)
				p.changes.Add(1)
			}
		}
	}
}

// Admit says whether the host may get a request now. A probe is given out once:
// who asks and hears probe must send the request and report its outcome, or
// call [Host.Return].
func (h *Host) Admit(now time.Time) (ok, probe bool) {
	if h.state.Load() == inUse {
		return true, false
	}
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	if h.state.Load() != ejected || now.Before(h.until) {
		return h.state.Load() == inUse, false
	}
	h.state.Store(probing)
	return true, true
}

// Return gives back a probe that was not used.
func (h *Host) Return() {
	h.state.CompareAndSwap(probing, ejected)
}

// Ejected says whether the host is out of use, or being probed.
func (h *Host) Ejected() bool { return h.state.Load() != inUse }

// Address is what the pool knows the host by.
func (h *Host) Address() string { return h.address }

// Latency is what the host's answers have taken.
func (h *Host) Latency() *latency.Estimate { return &h.latency }

// Changes counts ejections and returns in the host's pool: what was found out about
// who is in use holds until it moves.
func (h *Host) Changes() uint64 { return h.pool.changes.Load() }

// Start tells that the host has come into use, or again.
func (h *Host) Start(now time.Time) { h.since.Store(now.UnixNano()) }

// Age is how long the host has been in use.
func (h *Host) Age(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - h.since.Load())
}

// Begin counts a request that the host has now, unless it has limit of them; a
// limit of zero is none.
func (h *Host) Begin(limit int, now time.Time) bool {
	if n := h.active.Add(1); limit > 0 && n > int64(limit) {
		h.active.Add(-1)
		return false
	}
	h.latency.Picked(now)
	return true
}

// End is Begin's counterpart, for a request that took so long.
func (h *Host) End(outcome Outcome, took time.Duration, now time.Time) {
	h.active.Add(-1)
	if outcome == Ignored {
		h.latency.AtLeast(took, now)
		return
	}
	h.latency.Observe(took, outcome != Success, now)
}

// Active returns how many requests the host has now.
func (h *Host) Active() int64 { return h.active.Load() }

// Report tells the outcome of a request. probe is what Admit said of it.
func (h *Host) Report(outcome Outcome, probe bool, now time.Time) {
	if probe {
		h.reportProbe(outcome, now)
		return
	}
	if outcome == Ignored {
		return
	}
	c := h.pool.config.Load()
	if c.SuccessRate.StdevFactor > 0 {
		h.count(outcome, c, now)
	}
	over := false
	switch outcome {
	case GatewayError:
		over = above(h.gatewayIn.Add(1), c.ConsecutiveGatewayErrors)
		over = above(h.errorsIn.Add(1), c.Consecutive5xxErrors) || over
	case ServerError:
		reset(&h.gatewayIn)
		over = above(h.errorsIn.Add(1), c.Consecutive5xxErrors)
	case Ignored, Success:
		reset(&h.gatewayIn)
		reset(&h.errorsIn)
	}
	if over && h.state.Load() == inUse {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		h.eject(now)
	}
}

func above(inRow int32, limit int) bool { return limit > 0 && int(inRow) >= limit }

// reset avoids writing to memory that others read.
func reset(counter *atomic.Int32) {
	if counter.Load() != 0 {
		counter.Store(0)
	}
}

func (h *Host) reportProbe(outcome Outcome, now time.Time) {
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.state.Load() != probing {
		return
	}
	switch outcome {
	case Success:
		h.state.Store(inUse)
		h.forget()
		h.settled = now
		h.Start(now)
		p.ejected--
		p.changes.Add(1)
	case GatewayError, ServerError:
		h.lengthen(now)
	case Ignored:
		h.state.Store(ejected) // its time is over: the next request is the probe
	}
}

// forget starts the host's counts anew.
func (h *Host) forget() {
	h.gatewayIn.Store(0)
	h.errorsIn.Store(0)
}

// eject takes the host out of use, unless too many are out already. The pool's
// lock is held.
func (h *Host) eject(now time.Time) {
	p := h.pool
	if h.state.Load() != inUse || p.hosts[h.address] != h || !p.mayEject() {
		return
	}
	p.ejected++
	h.forgive(now)
	h.lengthen(now)
}

// mayEject says whether one more host may go.
func (p *Pool) mayEject() bool {
	limit := max(1, len(p.hosts)*p.config.Load().MaxEjectionPercent/100)
	return p.ejected < min(limit, len(p.hosts)-1)
}

// forgive takes one past ejection off for each base ejection time spent in use.
func (h *Host) forgive(now time.Time) {
	base := h.pool.config.Load().BaseEjection
	if h.times == 0 || base <= 0 {
		return
	}
	h.times = max(0, h.times-int(now.Sub(h.settled)/base))
}

// lengthen starts the next, longer ejection.
func (h *Host) lengthen(now time.Time) {
	c := h.pool.config.Load()
	h.times++
	d := min(c.BaseEjection*time.Duration(h.times), max(c.MaxEjection, c.BaseEjection))
	d += time.Duration(h.pool.chance() * 0.1 * float64(d))
	h.until = now.Add(d)
	h.forget()
	h.state.Store(ejected)
	h.pool.changes.Add(1)
	if h.pool.onEject != nil {
		h.pool.onEject(h.address, h.until)
	}
}

// Hosts returns the pool's hosts by address.
func (p *Pool) Hosts() map[string]*Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.hosts)
}
