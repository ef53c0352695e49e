// Package split shares calls out by weight, by chance or by the hash of a key. It
// knows no transport.
package split

// Shares say up to which point of [0, 1) each of some choices reaches.
type Shares []float64

// New returns the shares of choices with these weights, whose sum must be above
// zero.
func New(weights []int) Shares {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	s := make(Shares, len(weights))
	upto := 0
	for i, w := range weights {
		upto += w
		s[i] = float64(upto) / float64(sum)
	}
	return s
}

// At returns the choice at a point of [0, 1). Choices lie there in their order, so
// that when one of two grows, no point goes from the growing one to the other.
func (s Shares) At(point float64) int {
	for i, upto := range s {
		if point < upto {
			return i
		}
	}
	return len(s) - 1
}

// Point returns the point of a key, which is the same in every process: FNV-1a, and
// the finalizer of SplitMix64, since the last bytes of a key hardly move FNV's high
// bits.
func Point(key string) float64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h>>11) / (1 << 53)
}
