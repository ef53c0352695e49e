package node

import (
	"testing"
	"time"
)

func TestNearestRank(t *testing.T) {
	t.Parallel()
	times := make([]time.Duration, 200)
	for i := range times {
		times[i] = time.Duration(i + 1)
	}
	for p, want := range map[float64]time.Duration{50: 100, 99: 198, 99.9: 200, 100: 200} {
		if got := nearestRank(times, p); got != want {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if got := nearestRank(nil, 99); got != 0 {
		t.Errorf("p99 of nothing is %v", got)
	}
}
