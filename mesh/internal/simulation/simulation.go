// Package simulation lets the mesh's policies meet each other where no test can: a
// thousand clients and hundreds of endpoints, in virtual time. Clients have the real
// picker, outlier detection and retry budget of the packages beside this one, each
// client its own; endpoints are queues. Everything that is left to chance comes from
// one seed, so a run can be repeated.
//
// [Spread], [Storm], [Cascade] and [Reconnect] are the experiments; their findings are
// in the documentation of package mesh, and their plots in the folder plots, drawn by
//
//	go generate ./mesh/internal/simulation
package simulation

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

//go:generate go test -run ^TestPlots$ -count=1 . -update

// seed is where all chance comes from.
const seed = 20_261_123

// clock is virtual time and what is to happen in it.
type clock struct {
	start time.Time
	now   time.Time
	queue queue
	count uint64 // of events, to keep those of the same time in order
}

func newClock() *clock {
	start := time.Unix(1_700_000_000, 0)
	return &clock{start: start, now: start}
}

// since is how long the simulation has run.
func (c *clock) since() time.Duration { return c.now.Sub(c.start) }

// after lets something happen in a while.
func (c *clock) after(d time.Duration, what func()) {
	c.count++
	heap.Push(&c.queue, event{at: c.now.Add(d), order: c.count, what: what})
}

// run lets everything happen that does before the end.
func (c *clock) run(length time.Duration) {
	for len(c.queue) > 0 && c.queue[0].at.Sub(c.start) <= length {
		next, _ := heap.Pop(&c.queue).(event)
		c.now = next.at
		next.what()
	}
}

type event struct {
	at    time.Time
	order uint64
	what  func()
}

// queue is a heap of events.
type queue []event

var _ heap.Interface = (*queue)(nil)

// Len is [heap.Interface]'s.
func (q queue) Len() int { return len(q) }

// Less says whether one event is before another.
func (q queue) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.order < b.order
}

// Swap is [heap.Interface]'s.
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is for package heap.
func (q *queue) Push(x any) {
	e, _ := x.(event)
	*q = append(*q, e)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

// newRandom returns a source of chance of its own for each purpose.
func newRandom(purpose uint64) *rand.PCG { return rand.NewPCG(seed, purpose) }
