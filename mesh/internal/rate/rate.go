// Package rate bounds how often somebody may do something, by the generic cell rate
// algorithm: a token bucket that is one number. It knows no transport.
package rate

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxBuckets is how many buckets a limiter has at most.
const maxBuckets = 10_000

// Limit is a bucket's: Burst tokens fit in, and one is added every so often.
type Limit struct {
	Burst int
	Every time.Duration
}

// Key says whose bucket of which rule it is.
type Key struct {
	Rule, TrustDomain, Path, Method string
}

// Limiter is a set of buckets. Its zero value is ready and it is safe for concurrent
// use.
type Limiter struct {
	buckets sync.Map // Key -> *atomic.Int64: when the bucket is full again, in Unix nanoseconds
	count   atomic.Int64

	swept atomic.Int64 // when full buckets were last forgotten, in Unix nanoseconds
}

// Take takes a token out of a bucket; if there is none it says in how long there is.
func (l *Limiter) Take(key Key, limit Limit, now time.Time) (wait time.Duration, ok bool) {
	bucket, found := l.buckets.Load(key)
	if !found {
		bucket = l.add(key, now)
	}
	full, _ := bucket.(*atomic.Int64)
	at, capacity := now.UnixNano(), int64(limit.Burst)*int64(limit.Every)
	for {
		seen := full.Load()
		next := max(seen, at) + int64(limit.Every)
		if wait := next - capacity - at; wait > 0 {
			return time.Duration(wait), false
		}
		if full.CompareAndSwap(seen, next) {
			return 0, true
		}
	}
}

// add makes a bucket. When there are too many even without those that are full and
// so say nothing, the rest of the rule's callers share one.
func (l *Limiter) add(key Key, now time.Time) any {
	if l.count.Load() >= maxBuckets {
		l.sweep(now)
		if l.count.Load() >= maxBuckets {
			key = Key{Rule: key.Rule}
		}
	}
	bucket, known := l.buckets.LoadOrStore(key, new(atomic.Int64))
	if !known {
		l.count.Add(1)
	}
	return bucket
}

// sweep forgets full buckets, once a second at most: it looks at all of them.
func (l *Limiter) sweep(now time.Time) {
	last := l.swept.Load()
	if now.UnixNano()-last < int64(time.Second) || !l.swept.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	l.buckets.Range(func(key, bucket any) bool {
		if full, _ := bucket.(*atomic.Int64); full.Load() <= now.UnixNano() {
			l.buckets.Delete(key)
			l.count.Add(-1)
		}
		return true
	})
}
