package events

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// The ring against a simple twin: all messages ever, of which the last ones that fit are kept.
func TestRing(t *testing.T) {
	t.Parallel()
	for _, bounds := range []Config{{MaxEvents: 1, MaxBytes: 1 << 20}, {MaxEvents: 7, MaxBytes: 1 << 20}, {MaxEvents: 1000, MaxBytes: 400}, {MaxEvents: 5, MaxBytes: 1}} {
		random := rand.New(rand.NewPCG(1, 2))
		r := newRing(bounds)
		if r.head() != 0 {
			t.Fatalf("an empty ring has head %d", r.head())
		}
		var all []string
		for i := range 500 {
			message := strconv.Itoa(i) + string(make([]byte, random.IntN(100)))
			all = append(all, message)
			r.add([]byte(message))

			kept, size := 0, int64(0)
			for kept < len(all) && kept < bounds.MaxEvents {
				size += int64(len(all[len(all)-1-kept])) + messageCost
				if size > int64(bounds.MaxBytes) && kept > 0 {
					break
				}
				kept++
			}
			if r.head() != uint64(len(all)) || len(r.messages) != kept {
				t.Fatalf("%+v: head %d of %d, %d kept, want %d", bounds, r.head(), len(all), len(r.messages), kept)
			}
			for seq := r.first; seq <= r.head(); seq++ {
				if string(r.at(seq)) != all[seq-1] {
					t.Fatalf("%+v: number %d is another message", bounds, seq)
				}
			}
		}
		if cap(r.messages) > 4*bounds.MaxEvents+8 {
			t.Errorf("%+v: the array has grown to %d", bounds, cap(r.messages))
		}
	}
}
