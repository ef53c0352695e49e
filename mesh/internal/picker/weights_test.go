package picker_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/picker"
)

// Hosts take requests in proportion to their weights, whoever else is ejected.
func TestWeights(t *testing.T) {
	t.Parallel()
	weights := []uint32{90, 10, 0, 1000} // zero is one
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			list := hosts(len(weights))
			members := make([]picker.Member, len(weights))
			for i, w := range weights {
				members[i] = picker.Member{Host: list[i], Ready: true, Weight: w}
			}
			s := picker.New(members)
			config := &picker.Config{Algorithm: a, RingSize: 4096}
			shares := func() []float64 {
				const picks = 20_000
				counts := make([]float64, len(weights))
				for range picks {
					c, ok := s.Pick(config, picker.Request{Now: time.Now(), Hash: rand.Uint64()})
					if !ok {
						t.Fatal("nobody was picked")
					}
					counts[c.Index] += 1.0 / picks
				}
				return counts
			}
			within := func(got []float64, want ...float64) {
				t.Helper()
				for i, share := range got {
					if share < want[i]*0.8-0.01 || share > want[i]*1.2+0.01 {
						t.Errorf("host %d got %.3f of the requests, want %.3f", i, share, want[i])
					}
				}
			}
			within(shares(), 90.0/1101, 10.0/1101, 1.0/1101, 1000.0/1101)
			eject(list[3])
			if a == picker.ConsistentHash {
				return // the next on the ring has its share
			}
			got := shares()
			// One turn in 256 is the least that a host may have, so that the smallest
			// two are a little above their shares.
			if got[3] != 0 || got[0] < 0.8 || got[1] > 0.15 {
				t.Errorf("with the heaviest ejected: %.3f", got)
			}
		})
	}
}
