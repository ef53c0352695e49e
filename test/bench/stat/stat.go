// Package stat sums up measurements.
package stat

import (
	"math"
	"slices"
	"time"
)

// Median is the value in the middle, or the mean of the two that are; NaN of nothing. It leaves the values as they are.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// Ratio is the median of the ratios of values that were measured in the same round: what slows a whole round down
// cancels out. It is NaN if one list is shorter than the other.
func Ratio(values, to []float64) float64 {
	if len(values) != len(to) {
		return math.NaN()
	}
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / to[i]
	}
	return Median(ratios)
}

// Percentile is the smallest of the sorted times that at least p percent of them do not exceed (nearest rank); 0 of
// nothing.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank-1, 0)]
}
