package stat_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portico-bff/portico/test/bench/stat"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"nothing", nil, math.NaN()},
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier", []float64{1, 1, 1, 1, 1000}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.values)
			if got := stat.Median(c.values); !cmp.Equal(got, c.want, cmpopts.EquateNaNs()) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if diff := cmp.Diff(before, c.values); diff != "" {
				t.Errorf("the values were changed:\n%s", diff)
			}
		})
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	// The second round was disturbed, and both suffered alike.
	if got := stat.Ratio([]float64{20, 200, 22}, []float64{10, 100, 11}); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
	for _, to := range [][]float64{nil, {1}} {
		if got := stat.Ratio([]float64{1, 2}, to); !math.IsNaN(got) {
			t.Errorf("2 values to %d: got %v, want NaN", len(to), got)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		name   string
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{"nothing", nil, 99, 0},
		{"one", []time.Duration{7}, 50, 7},
		{"none of them", hundred, 0, 1},
		{"half", hundred, 50, 50},
		{"most", hundred, 99, 99},
		{"nearly all", hundred, 99.5, 100},
		{"all", hundred, 100, 100},
		{"few", []time.Duration{1, 2, 3}, 99, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := stat.Percentile(c.sorted, c.p); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
