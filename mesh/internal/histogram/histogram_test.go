package histogram_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/histogram"
)

// near says whether two durations are within three percent of each other.
func near(got, want time.Duration) bool {
	return got >= want*97/100 && got <= want*103/100
}

// above says whether a duration is not less than another, and at most seven percent more.
func above(got, want time.Duration) bool { return got >= want && got <= want*107/100 }

// A percentile is what sorting says, to three percent.
func TestPercentile(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram.Histogram
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		h.Add(all[i])
	}
	slices.Sort(all)
	for _, percent := range []float64{1, 50, 95, 99, 100} {
		if got, want := h.Percentile(percent), all[int(percent/100*float64(len(all)))-1]; !near(got, want) {
			t.Errorf("the %gth percentile is %v, want %v", percent, got, want)
		}
	}
	for _, d := range []time.Duration{-time.Second, 0, 1 << 62} { // must not fall off either end
		h.Add(d)
	}
}

// Recent says nothing before it has seen a hundred, and forgets what is long ago: not
// while that is all it has.
func TestRecent(t *testing.T) {
	t.Parallel()
	r, now := histogram.NewRecent(95), time.Unix(1_700_000_000, 0)
	add := func(n int, d time.Duration) {
		for range n {
			now = now.Add(10 * time.Millisecond)
			r.Add(d, now)
		}
	}
	add(90, 10*time.Millisecond)
	add(9, 50*time.Millisecond)
	if got, ok := r.Percentile(); ok {
		t.Errorf("after 99 it is %v", got)
	}
	add(1, 50*time.Millisecond)
	if got, ok := r.Percentile(); !ok || !above(got, 50*time.Millisecond) {
		t.Errorf("with one in ten at 50ms it is %v, %v", got, ok)
	}
	add(200, 10*time.Millisecond)
	if got, _ := r.Percentile(); !above(got, 10*time.Millisecond) {
		t.Errorf("with one in thirty at 50ms it is %v", got)
	}
	now = now.Add(time.Hour)
	if got, ok := r.Percentile(); !ok || !above(got, 10*time.Millisecond) {
		t.Errorf("after an hour of nothing it is %v, %v", got, ok)
	}
	add(2000, 30*time.Millisecond)
	add(1100, 20*time.Millisecond)
	add(1100, 20*time.Millisecond)
	if got, _ := r.Percentile(); !above(got, 20*time.Millisecond) {
		t.Errorf("when all of late take 20ms it is %v", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	r := histogram.NewRecent(50)
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				r.Add(time.Millisecond, time.Now())
				r.Percentile()
			}
		})
	}
	work.Wait()
	if got, ok := r.Percentile(); !ok || !above(got, time.Millisecond) {
		t.Errorf("%v, %v", got, ok)
	}
}
