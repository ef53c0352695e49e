package split_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/portico-bff/portico/mesh/internal/split"
)

// critical is what chi-square with one to three degrees of freedom exceeds once in
// a thousand times.
var critical = map[int]float64{1: 10.83, 2: 13.82, 3: 16.27}

func chiSquare(seen, weights []int) float64 {
	sum, n := 0, 0
	for i := range weights {
		sum += weights[i]
		n += seen[i]
	}
	chi := 0.0
	for i := range weights {
		want := float64(n) * float64(weights[i]) / float64(sum)
		chi += (float64(seen[i]) - want) * (float64(seen[i]) - want) / want
	}
	return chi
}

// Chance and hashed keys both share out as the weights say.
func TestShares(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	points := map[string]func(i int) float64{
		"chance": func(int) float64 { return random.Float64() },
		"keys":   func(i int) float64 { return split.Point("user-" + strconv.Itoa(i)) },
	}
	for name, point := range points {
		for _, weights := range [][]int{{90, 10}, {1, 1}, {1, 2, 3}, {70, 20, 9, 1}} {
			shares := split.New(weights)
			seen := make([]int, len(weights))
			for i := range 20_000 {
				seen[shares.At(point(i))]++
			}
			if chi := chiSquare(seen, weights); chi > critical[len(weights)-1] {
				t.Errorf("%s: %v shared out as %v, chi-square %.2f", name, weights, seen, chi)
			}
		}
	}
}

func TestEdges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		weights []int
		point   float64
		want    int
	}{
		{[]int{1}, 0, 0},
		{[]int{0, 1}, 0, 1},
		{[]int{90, 10}, 0.899, 0},
		{[]int{90, 10}, 0.9, 1},
		{[]int{1, 1, 1}, 1 - 1e-17, 2},
		{[]int{100, 0}, 0.9999999, 0},
	}
	for _, test := range tests {
		if got := split.New(test.weights).At(test.point); got != test.want {
			t.Errorf("%v at %v: %d, want %d", test.weights, test.point, got, test.want)
		}
	}
}

// Who has the growing version keeps it.
func TestGrowing(t *testing.T) {
	t.Parallel()
	before, after := split.New([]int{90, 10}), split.New([]int{70, 30})
	for i := range 1000 {
		point := split.Point(strconv.Itoa(i))
		if before.At(point) == 1 && after.At(point) == 0 {
			t.Fatalf("key %d fell back to the old version", i)
		}
	}
}

// FuzzPoint holds that every key has a point in [0, 1).
func FuzzPoint(f *testing.F) {
	f.Add("")
	f.Add("\x00\xff")
	f.Fuzz(func(t *testing.T, key string) {
		if p := split.Point(key); p < 0 || p >= 1 {
			t.Fatalf("%q: %v", key, p)
		}
	})
}
