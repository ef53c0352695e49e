package rate_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/rate"
)

func TestTake(t *testing.T) {
	t.Parallel()
	var l rate.Limiter
	limit := rate.Limit{Burst: 3, Every: 100 * time.Millisecond}
	start := time.Unix(1000, 0)
	const ms = time.Millisecond
	steps := []struct {
		key  string
		at   time.Duration
		ok   bool
		wait time.Duration
	}{
		{"a", 0, true, 0},
		{"a", 0, true, 0},
		{"a", 0, true, 0},
		{"a", 0, false, 100 * ms},
		{"b", 0, true, 0}, // a bucket of its own
		{"a", 60 * ms, false, 40 * ms},
		{"a", 100 * ms, true, 0},
		{"a", 100 * ms, false, 100 * ms},
		{"a", time.Hour, true, 0}, // no more than the burst is saved up
		{"a", time.Hour, true, 0},
		{"a", time.Hour, true, 0},
		{"a", time.Hour, false, 100 * ms},
	}
	for i, step := range steps {
		wait, ok := l.Take(rate.Key{Path: step.key}, limit, start.Add(step.at))
		if ok != step.ok || wait != step.wait {
			t.Errorf("step %d: %v after %v, want %v after %v", i, ok, wait, step.ok, step.wait)
		}
	}
}

// twin is a token bucket as one would write it down.
type twin struct {
	tokens float64
	last   time.Time
}

func (b *twin) take(limit rate.Limit, now time.Time) bool {
	b.tokens = min(float64(limit.Burst), b.tokens+float64(now.Sub(b.last))/float64(limit.Every))
	b.last = now
	if b.tokens < 1-1e-9 {
		return false
	}
	b.tokens--
	return true
}

// The one number does what a bucket of tokens does.
func TestAgainstTokenBucket(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for _, limit := range []rate.Limit{{1, time.Millisecond}, {7, 10 * time.Millisecond}, {100, 500 * time.Microsecond}} {
		var l rate.Limiter
		now := time.Unix(1000, 0)
		simple := twin{tokens: float64(limit.Burst), last: now}
		for i := range 5000 {
			now = now.Add(time.Duration(random.ExpFloat64() * float64(limit.Every)))
			_, got := l.Take(rate.Key{}, limit, now)
			if want := simple.take(limit, now); got != want {
				t.Fatalf("%+v, step %d: %v, want %v", limit, i, got, want)
			}
		}
	}
}

func TestConcurrentTakes(t *testing.T) {
	t.Parallel()
	var l rate.Limiter
	var taken atomic.Int64
	var work sync.WaitGroup
	now := time.Unix(1000, 0)
	for range 8 {
		work.Go(func() {
			for range 100 {
				if _, ok := l.Take(rate.Key{}, rate.Limit{Burst: 50, Every: time.Hour}, now); ok {
					taken.Add(1)
				}
			}
		})
	}
	work.Wait()
	if n := taken.Load(); n != 50 {
		t.Errorf("%d of 50 tokens were taken", n)
	}
}

// Buckets are bounded: full ones are forgotten, and beyond that strangers share one.
func TestBound(t *testing.T) {
	t.Parallel()
	var l rate.Limiter
	limit, now := rate.Limit{Burst: 1, Every: time.Second}, time.Unix(1000, 0)
	fill := func(kind string) (refused int) {
		for i := range 10_000 {
			if _, ok := l.Take(rate.Key{Rule: "r", Path: kind + strconv.Itoa(i)}, limit, now); !ok {
				refused++
			}
		}
		return refused
	}
	if n := fill("a"); n != 0 {
		t.Errorf("%d of the first were refused", n)
	}
	if n := fill("b"); n != 9999 {
		t.Errorf("%d of the strangers were refused, want all but the first", n)
	}
	now = now.Add(time.Minute)
	if n := fill("c"); n != 0 {
		t.Errorf("%d were refused when the rest was forgotten", n)
	}
}
