// Package histogram counts durations by their size, to about three percent: [Histogram]
// those of a window that its user minds, and [Recent] those of late.
package histogram

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// Histogram counts durations. Its zero value has none. It must be guarded outside.
type Histogram [buckets]uint32

const (
	fine    = 4 // bits after the first one that count
	buckets = 48 << fine
)

// bucket is the place of a duration.
func bucket(d time.Duration) int {
	n := uint64(max(d, 1<<fine))
	shift := bits.Len64(n) - 1 - fine
	return min(shift<<fine+int(n>>shift), buckets-1)
}

// middle is the duration in the middle of a bucket.
func middle(at int) time.Duration {
	shift := max(at>>fine-1, 0)
	return time.Duration((at-shift<<fine)<<shift + 1<<shift/2)
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h[bucket(d)]++ }

// Percentile is the duration that so many percent do not exceed.
func (h *Histogram) Percentile(percent float64) time.Duration {
	total := uint32(0)
	for _, n := range h {
		total += n
	}
	rank := uint32(math.Ceil(percent / 100 * float64(total)))
	for at, n := range h {
		if n >= rank {
			return middle(at)
		}
		rank -= n
	}
	return middle(buckets - 1)
}

const (
	// enough is how many durations tell something.
	enough = 100
	// window is how long durations are gathered at least before the oldest are forgotten.
	window = 10 * time.Second
	// fresh is for how long an answer of Percentile is good.
	fresh = 100 * time.Millisecond
)

// Recent knows one percentile of the durations of late: of the last ten seconds, and up
// to ten more, or as long as it takes to see a hundred. It is safe for concurrent use.
type Recent struct {
	percent float64

	mu    sync.Mutex // guards what follows
	began time.Time  // of the newer of two windows
	count int        // in it
	newer Histogram
	older Histogram // of the window before
	known time.Duration
	at    time.Time // of known; zero: nothing is known
}

// NewRecent returns what is to know that percentile.
func NewRecent(percent float64) *Recent { return &Recent{percent: percent} }

// Percent is the one that it knows.
func (r *Recent) Percent() float64 { return r.percent }

// Add counts a duration that ends now.
func (r *Recent) Add(d time.Duration, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= enough && now.Sub(r.began) >= window {
		r.older, r.newer, r.count, r.began = r.newer, Histogram{}, 0, now
	}
	if r.began.IsZero() {
		r.began = now
	}
	r.newer.Add(d)
	r.count++
	if r.at.IsZero() && r.count == enough || !r.at.IsZero() && now.Sub(r.at) >= fresh {
		both := r.older
		for i, n := range r.newer {
			both[i] += n
		}
		r.known, r.at = both.Percentile(r.percent), now
		r.known += r.known / (2 << fine) // to the end of the bucket
	}
}

// Percentile is a duration that so many percent do not exceed, at most seven percent more
// than the least such. It is false until there are enough to tell.
func (r *Recent) Percentile() (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, !r.at.IsZero()
}
