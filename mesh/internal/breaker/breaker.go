// Package breaker stops requests of one kind for a while after too many of them have
// failed in a row, whichever host they went to: it opens. Then one request at a time is
// let through as a probe, and closes the breaker if it succeeds. It knows no transport.
//
// Ejection (package outlier) is about one host among several, and leaves the last one
// in use. A breaker is about what all hosts have in common, and leaves nothing.
package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// Config says when a breaker opens and for how long, as [outlier.Config] does of hosts.
// A zero count never opens it.
type Config struct {
	ConsecutiveGatewayErrors, Consecutive5xxErrors int
	// Base is how long it stays open the first time; when probes fail the n-th time is
	// n times as long, up to Max. Up to a tenth is added by chance.
	Base, Max time.Duration
}

// State is what a breaker does with requests.
type State int

// The states.
const (
	Closed  State = iota // lets all through
	Open                 // none
	Probing              // one at a time
)

// String is the state's name.
func (s State) String() string { return [...]string{"closed", "open", "probing"}[s] }

// Breaker counts failures. It is safe for concurrent use; [New] makes one.
type Breaker struct {
	closed atomic.Bool // what most requests look at alone
	clean  atomic.Bool // closed, with nothing counted

	mu      sync.Mutex // guards what follows
	config  Config
	gateway int       // gateway errors in a row
	errors  int       // errors of either kind in a row
	times   int       // openings since the last success
	until   time.Time // end of the opening
	probe   time.Time // when the last probe is given up; zero: there is none
}

// New returns a closed breaker.
func New(c Config) *Breaker {
	b := &Breaker{config: c}
	b.closed.Store(true)
	b.clean.Store(true)
	return b
}

// Configure changes the configuration from now on. An open breaker stays open.
func (b *Breaker) Configure(c Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.config = c
}

// Allow says whether a request may go out now. If not, it says until when none may; the
// time is past while a probe is under way. A request that went out as a probe must be
// reported as one.
func (b *Breaker) Allow(now time.Time) (probe bool, until time.Time, ok bool) {
	if b.closed.Load() {
		return false, time.Time{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed.Load():
		return false, time.Time{}, true
	case now.Before(b.until), now.Before(b.probe):
		return false, b.until, false
	}
	b.probe = now.Add(b.config.Base) // one that says nothing for so long has been lost
	return true, b.until, true
}

// Report tells the outcome of a request. If it has opened the breaker, it says until
// when.
func (b *Breaker) Report(outcome outlier.Outcome, probe bool, now time.Time) (until time.Time, opened bool) {
	if outcome == outlier.Success && !probe && b.clean.Load() {
		return time.Time{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	closed := b.closed.Load()
	if probe != closed { // others tell of the time before
		switch outcome {
		case outlier.Success:
			b.reset()
		case outlier.GatewayError:
			b.gateway++
			b.errors++
		case outlier.ServerError:
			b.gateway = 0
			b.errors++
		case outlier.Ignored:
			b.probe = time.Time{}
			return time.Time{}, false
		}
	}
	switch {
	case closed && !above(b.gateway, b.config.ConsecutiveGatewayErrors) && !above(b.errors, b.config.Consecutive5xxErrors):
		b.clean.Store(b.errors == 0)
		return time.Time{}, false
	case !closed && (!probe || outcome == outlier.Success):
		return time.Time{}, false
	}
	b.open(now)
	return b.until, true
}

func above(count, limit int) bool { return limit > 0 && count >= limit }

// reset closes the breaker. The lock is held.
func (b *Breaker) reset() {
	b.gateway, b.errors, b.times = 0, 0, 0
	b.probe = time.Time{}
	b.closed.Store(true)
	b.clean.Store(true)
}

// open opens the breaker, or keeps it so for longer. The lock is held.
func (b *Breaker) open(now time.Time) {
	b.times++
	d := min(b.config.Base*time.Duration(b.times), max(b.config.Max, b.config.Base))
	b.until = now.Add(d + time.Duration(rand.Float64()*0.1*float64(d))) //nolint:gosec // spreads load, no secret
	b.gateway, b.errors = 0, 0
	b.probe = time.Time{}
	b.clean.Store(false)
	b.closed.Store(false)
}

// State says how the breaker stands, and until when it is open.
func (b *Breaker) State(now time.Time) (State, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed.Load():
		return Closed, time.Time{}
	case now.Before(b.until):
		return Open, b.until
	default:
		return Probing, b.until
	}
}
