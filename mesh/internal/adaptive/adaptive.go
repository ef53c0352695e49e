// Package adaptive bounds how many requests a server works on at a time, by what it
// sees of their latency, so that more work than it can do is refused early and the
// rest is done in time. It knows no transport: [Limiter.Enter] before a request,
// [Limiter.Leave] after it.
//
// The limit is Envoy's gradient controller's: where requests take longer than they
// do on an idle server (the base), the limit is cut in proportion, and otherwise it
// grows by its square root. Envoy learns the base by letting next to nothing in for a
// while, and refuses the rest. Here the limit is halved for one window instead, while
// requests wait: a limit in equilibrium is about five quarters of what the server can
// do, so that half of it is below saturation, and the dip costs less than one call in
// a hundred; a dip that finds requests much faster is halved again. Any window in which no more than half of the limit was used measures
// the base, too. A limit that falls five times in a row without avail (the base is out
// of date: everything has become slower) is a reason to dip at once.
//
// Vegas, the other known way, keeps the least latency that it has seen as its base,
// and forgets it by chance or by correlation with the throughput, since it never
// looks at the idle server; a saturated server becomes its measure of an idle one.
//
// Requests beyond the limit wait in a bounded queue, the most important first. Who
// comes to a full queue takes the place of somebody less important, or else of the
// caller who has the most in it. A caller with little to ask is not refused because
// of another who floods the server.
package adaptive

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// ErrShed is returned to a request that the server has no room for.
var ErrShed = errors.New("adaptive: too many requests")

// Config says how the limit is found, in the terms of Envoy's gradient controller.
type Config struct {
	Percentile float64       // of the latencies in a window that the limit goes by, in percent
	MaxLimit   int           // the greatest limit
	MinLimit   int           // the least
	Window     time.Duration // how often the limit changes, at the most
	Samples    int           // requests that a measurement of the base takes
	Interval   time.Duration // how often the base is measured, at the least
	Jitter     float64       // share of Interval added to it by chance
	Buffer     float64       // share of the base that latencies may vary by
	MaxPending int           // requests that wait; -1: as many as the limit
	MaxWait    time.Duration // how long one waits
}

// Default is Envoy's configuration, with a queue.
func Default() Config {
	return Config{
		Percentile: 50, MaxLimit: 1000, MinLimit: 3, Window: 100 * time.Millisecond,
		Samples: 50, Interval: time.Minute, Jitter: 0.15, Buffer: 0.25,
		MaxPending: -1, MaxWait: time.Second,
	}
}

// Limiter is the limit of one kind of request. It is safe for concurrent use; [New]
// makes one.
type Limiter struct {
	mu       sync.Mutex // guards what follows
	config   Config
	gradient gradient
	running  int
	queue    queue
	shed     uint64
}

// State describes a limiter.
type State struct {
	Limit, Running, Waiting int
	Base                    time.Duration // what a request takes on an idle server; zero: not known yet
	Shed                    uint64        // requests refused so far
}

// New returns a limiter that knows nothing yet of its server.
func New(c Config, now time.Time) *Limiter {
	return &Limiter{config: c, gradient: newGradient(c, now)}
}

// Configure changes the configuration from now on. What was learned stays.
func (l *Limiter) Configure(c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.config = c
	l.gradient.configure(c)
	l.admit()
}

// Caller is whose requests compete with others'.
type Caller struct{ TrustDomain, Path string }

// Enter waits until the request may be worked on, and says whether it had to. Its error
// is [ErrShed] or ctx's. Who was let in calls [Limiter.Leave].
func (l *Limiter) Enter(ctx context.Context, caller Caller, p Priority) (waited bool, err error) {
	l.mu.Lock()
	if l.queue.count == 0 && l.running < l.gradient.allowed() {
		l.enter()
		l.mu.Unlock()
		return false, nil
	}
	l.gradient.bound = true
	w, limit := l.wait(caller, p), l.config.MaxWait
	l.mu.Unlock()
	if w == nil {
		return false, ErrShed
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	err = ErrShed
	select {
	case err := <-w.turn:
		return true, err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
	}
	return true, l.give(w, err)
}

// enter counts a request in. The lock is held.
func (l *Limiter) enter() {
	l.running++
	l.gradient.peak = max(l.gradient.peak, l.running)
}

// wait puts a request into the queue, nil if there is no place for it. The lock is
// held.
func (l *Limiter) wait(caller Caller, p Priority) *waiter {
	if l.queue.count >= l.pending() {
		victim := l.queue.victim(caller, p)
		if victim == nil {
			l.shed++
			return nil
		}
		l.queue.remove(victim)
		victim.turn <- ErrShed
		l.shed++
	}
	return l.queue.push(caller, p)
}

// give ends the waiting of a request with err, unless its turn has just come.
func (l *Limiter) give(w *waiter, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case decided := <-w.turn:
		return decided
	default:
	}
	l.queue.remove(w)
	if errors.Is(err, ErrShed) {
		l.shed++
	}
	return err
}

// Leave makes room for another request. A request that says something of how fast the
// server works has taken so long; zero leaves it out.
func (l *Limiter) Leave(took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	if took > 0 {
		l.gradient.observe(took, now)
	}
	l.gradient.turn(l.running, now)
	l.admit()
}

// admit lets in who waits, as far as there is room. The lock is held.
func (l *Limiter) admit() {
	for l.queue.count > 0 && l.running < l.gradient.allowed() {
		w := l.queue.first()
		l.queue.remove(w)
		l.enter()
		w.turn <- nil
	}
}

// pending is how many requests may wait now. The lock is held.
func (l *Limiter) pending() int {
	if l.config.MaxPending >= 0 {
		return l.config.MaxPending
	}
	return int(l.gradient.limit)
}

// Pushback says when a request that was shed may come again: when what waits now
// should be done, and up to twice that by chance, so that not all come together.
func (l *Limiter) Pushback() time.Duration {
	l.mu.Lock()
	base := max(l.gradient.latency, time.Millisecond)
	wait := base + base*time.Duration(l.queue.count)/time.Duration(max(1, l.gradient.allowed()))
	l.mu.Unlock()
	wait = min(max(wait, 10*time.Millisecond), 5*time.Second)
	return wait + rand.N(wait) //nolint:gosec // spreads load, no secret
}

// State says how the limiter stands.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return State{
		Limit: l.gradient.allowed(), Running: l.running, Waiting: l.queue.count,
		Base: l.gradient.base, Shed: l.shed,
	}
}
