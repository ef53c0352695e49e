package latency_test

import (
	"math"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/latency"
)

const ms = time.Millisecond

func about(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want/100 {
		t.Errorf("%s: cost %v, want about %v", what, time.Duration(got), time.Duration(want))
	}
}

func TestPeak(t *testing.T) {
	t.Parallel()
	var e latency.Estimate
	now := time.Unix(1000, 0)
	if e.Cost(0, now) != 0 || e.Cost(1, now) < float64(time.Hour) {
		t.Error("a new host gets one request, and no other before it has answered")
	}
	e.Observe(10*ms, false, now)
	about(t, "the first", e.Cost(0, now), float64(10*ms))
	about(t, "beside two others", e.Cost(2, now), float64(30*ms))
	e.Observe(100*ms, false, now)
	about(t, "a slow one counts at once", e.Cost(0, now), float64(100*ms))
	now = now.Add(10 * time.Second)
	about(t, "it fades", e.Cost(0, now), float64(100*ms)/math.E)
	e.Observe(10*ms, false, now)
	about(t, "a fast one counts by the time gone", e.Cost(0, now), float64(10*ms)+float64(90*ms)/math.E)
	e.AtLeast(ms, now)
	about(t, "less than known says nothing", e.Cost(0, now), float64(10*ms)+float64(90*ms)/math.E)
	e.AtLeast(time.Second, now)
	about(t, "more does", e.Cost(0, now), float64(time.Second))
}

// Failing fast is no way to get more requests; one failure among many is soon
// forgotten.
func TestPenalty(t *testing.T) {
	t.Parallel()
	var bad, good latency.Estimate
	now := time.Unix(1000, 0)
	bad.Observe(ms, true, now)
	about(t, "always failing", bad.Cost(0, now), float64(5*time.Second+ms))
	for range 1000 {
		now = now.Add(10 * ms)
		good.Observe(5*ms, false, now)
	}
	now = now.Add(10 * ms)
	good.Observe(5*ms, true, now)
	about(t, "one failure", good.Cost(0, now), float64(5*ms)+float64(5*ms)) // 10 ms of 10 s of 5 s
}

func TestDue(t *testing.T) {
	t.Parallel()
	var fine, bad latency.Estimate
	now := time.Unix(1000, 0)
	for _, e := range []*latency.Estimate{&fine, &bad} {
		e.Picked(now)
		e.Observe(ms, e == &bad, now)
	}
	now = now.Add(2 * time.Second)
	if fine.Due(1, now) || !fine.Due(0, now) || fine.Due(0, now) {
		t.Error("an idle host is due once after a second")
	}
	if bad.Due(0, now) {
		t.Error("a failing one is due so soon")
	}
	if !bad.Due(0, now.Add(10*time.Second)) {
		t.Error("a failing one is never due")
	}
}

//nolint:paralleltest // allocations of other tests would be counted
func TestAllocations(t *testing.T) {
	var e latency.Estimate
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		e.Picked(now)
		e.Observe(ms, false, now)
		e.Cost(1, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
