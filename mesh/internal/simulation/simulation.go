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
	queue []event
	count uint64 // of events, to keep those of the same time in order
}

type event struct {
	at    time.Time
	order uint64
	what  func()
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
	c.queue = append(c.queue, event{at: c.now.Add(d), order: c.count, what: what})
	for i := len(c.queue) - 1; i > 0; {
		parent := (i - 1) / 2
		if !c.earlier(i, parent) {
			break
		}
		c.queue[i], c.queue[parent] = c.queue[parent], c.queue[i]
		i = parent
	}
}

func (c *clock) earlier(i, j int) bool {
	a, b := &c.queue[i], &c.queue[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.order < b.order
}

// run lets everything happen that does before the end.
func (c *clock) run(length time.Duration) {
	for len(c.queue) > 0 {
		next := c.queue[0]
		if next.at.Sub(c.start) > length {
			return
		}
		c.pop()
		c.now = next.at
		next.what()
	}
}

// pop takes the first event off.
func (c *clock) pop() {
	last := len(c.queue) - 1
	c.queue[0], c.queue[last] = c.queue[last], event{}
	c.queue = c.queue[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if c.earlier(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		c.queue[i], c.queue[least] = c.queue[least], c.queue[i]
		i = least
	}
}

// newRandom returns a source of chance of its own for each purpose.
func newRandom(purpose uint64) *rand.PCG { return rand.NewPCG(seed, purpose) }
