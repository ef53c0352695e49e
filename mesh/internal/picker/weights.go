package picker

import (
	"cmp"
	"math"
	"slices"
)

const (
	// leastTurns is how finely the turns of few hosts tell their weights apart.
	leastTurns = 256
	// turnsEach is the same for many hosts.
	turnsEach = 16
)

func (m *Member) weight() float64 { return float64(max(1, m.Weight)) }

// schedule repeats each of the members at those places as often as its weight says,
// evenly spread, but at least once. Of equal ones the list itself will do.
func schedule(places []int, members []Member) []int {
	sum, equal := 0.0, true
	for _, at := range places {
		sum += members[at].weight()
		equal = equal && members[at].weight() == members[places[0]].weight()
	}
	if equal {
		return places
	}
	type turn struct {
		when float64
		at   int
	}
	total := float64(max(leastTurns, turnsEach*len(places)))
	turns := make([]turn, 0, int(total)+len(places))
	for _, at := range places {
		times := max(1, int(math.Round(total*members[at].weight()/sum)))
		for i := range times {
			turns = append(turns, turn{when: (float64(i) + 0.5) / float64(times), at: at})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.when, b.when) })
	list := make([]int, len(turns))
	for i, t := range turns {
		list[i] = t.at
	}
	return list
}
