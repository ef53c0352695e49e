// Package latency estimates what a request to a host will cost: Finagle's peak
// EWMA, which jumps up with the first slow answer and comes down with time, plus a
// penalty for failures. Without it, a host that fails at once looks like the
// fastest and draws the traffic to itself. The package knows no transport.
//
// Linkerd counts a failure as an answer that took five seconds. Here that penalty
// is weighed by how often the host fails, so that one failure in a thousand is not
// held against it for a minute.
package latency

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// decay is the time in which a past observation loses two thirds of its weight.
	decay = 10 * time.Second
	// penalty is what a request that fails is taken to cost.
	penalty = 5 * time.Second
	// stale is after how long without a request an idle host is due for one, and
	// staleFailing that of a host that was seen to fail.
	stale        = time.Second
	staleFailing = 10 * time.Second
	// failing is the share of failures from which on a host is one of those.
	failing = 0.01
	// unknown is the cost of a second request to a host that has not answered
	// its first: more than any other.
	unknown = math.MaxFloat64 / 1e6
)

// Estimate is what is known of one host. Its zero value knows nothing. It is safe
// for concurrent use; readers do not wait.
type Estimate struct {
	mu sync.Mutex // puts writers in order

	// Readers may see the parts of two observations, which does no harm.
	peak     atomic.Uint64 // nanoseconds, as float64
	failures atomic.Uint64 // share of failures, as float64
	at       atomic.Int64  // of the last observation, in Unix nanoseconds; zero: never
	picked   atomic.Int64  // when it last got a request
}

// Observe tells what became of a request that ended now.
func (e *Estimate) Observe(took time.Duration, failed bool, now time.Time) {
	rtt, outcome := float64(max(took, 1)), 0.0
	if failed {
		outcome = 1
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	weight := e.weight(now)
	peak := e.peak.Load()
	if old := math.Float64frombits(peak); rtt < old {
		rtt += (old - rtt) * weight
	}
	share := math.Float64frombits(e.failures.Load())*weight + outcome*(1-weight)
	e.peak.Store(math.Float64bits(rtt))
	e.failures.Store(math.Float64bits(share))
	e.at.Store(now.UnixNano())
}

// AtLeast tells that a request was given up after so long, without an answer.
func (e *Estimate) AtLeast(took time.Duration, now time.Time) {
	if float64(took) > math.Float64frombits(e.peak.Load()) {
		e.Observe(took, false, now)
	}
}

// Picked tells that the host gets a request now.
func (e *Estimate) Picked(now time.Time) { e.picked.Store(now.UnixNano()) }

// Cost is what one more request would cost beside those that are active: the
// estimate, faded by its age, times the requests.
func (e *Estimate) Cost(active int64, now time.Time) float64 {
	if e.at.Load() == 0 {
		if active == 0 {
			return 0
		}
		return unknown * float64(active)
	}
	sum := math.Float64frombits(e.peak.Load()) + float64(penalty)*math.Float64frombits(e.failures.Load())
	return sum * e.weight(now) * float64(active+1)
}

// Due says whether an idle host has gone so long without a request that its
// estimate means little. Of several who ask at a time, one hears true.
func (e *Estimate) Due(active int64, now time.Time) bool {
	if active > 0 {
		return false
	}
	limit := stale
	if math.Float64frombits(e.failures.Load())*e.weight(now) > failing {
		limit = staleFailing
	}
	last := e.picked.Load()
	return now.UnixNano()-last > int64(limit) && e.picked.CompareAndSwap(last, now.UnixNano())
}

// weight is what is left of the last observation's: exp(-age/decay).
func (e *Estimate) weight(now time.Time) float64 {
	at := e.at.Load()
	if at == 0 {
		return 0
	}
	return math.Exp(-float64(max(0, now.UnixNano()-at)) / float64(decay))
}
