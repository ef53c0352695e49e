package picker_test

import (
	"container/heap"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// A simulation in virtual time: requests that come evenly, hosts that take a while
// to answer, and the picker between them.

// server is how a simulated host behaves.
type server struct {
	takes time.Duration
	fails bool
}

// ending is a request that ends.
type ending struct {
	at     time.Time
	choice picker.Choice
	began  time.Time
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any) {
	if last, ok := x.(ending); ok {
		*e = append(*e, last)
	}
}

func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simulate sends requests at a rate (zero: one after the other) for a time and
// returns the part of each host in percent.
func simulate(a picker.Algorithm, servers []server, perSecond int, length time.Duration) []float64 {
	pool := outlier.NewPool(outlier.Config{}, nil) // which never ejects
	members := make([]picker.Member, len(servers))
	for i := range servers {
		members[i] = picker.Member{Host: pool.Host(string(rune('a' + i))), Ready: true}
	}
	set, config := picker.New(members), picker.Config{Algorithm: a}
	now := time.Unix(1_700_000_000, 0)
	end := now.Add(length)
	var running endings
	counts, total := make([]float64, len(servers)), 0.0
	finish := func() {
		e, _ := heap.Pop(&running).(ending)
		outcome := outlier.Success
		if servers[e.choice.Index].fails {
			outcome = outlier.ServerError
		}
		e.choice.Host.End(outcome, e.at.Sub(e.began), e.at)
	}
	for now.Before(end) {
		choice, _ := set.Pick(&config, picker.Request{Now: now})
		choice.Host.Begin(0, now)
		counts[choice.Index]++
		total++
		heap.Push(&running, ending{at: now.Add(servers[choice.Index].takes), choice: choice, began: now})
		if perSecond == 0 {
			now = running[0].at
		} else {
			now = now.Add(time.Second / time.Duration(perSecond))
		}
		for len(running) > 0 && !running[0].at.After(now) {
			finish()
		}
	}
	for i := range counts {
		counts[i] *= 100 / total
	}
	return counts
}

const ms = time.Millisecond

func TestSlowHostHasASmallShare(t *testing.T) {
	t.Parallel()
	servers := []server{{takes: 5 * ms}, {takes: 5 * ms}, {takes: 50 * ms}, {takes: 5 * ms}, {takes: 5 * ms}}
	for _, rate := range []int{100, 1000, 5000} {
		got := simulate(picker.PeakEWMA, servers, rate, time.Duration(30_000/rate)*time.Second)
		t.Logf("%d a second: %.2f", rate, got)
		if got[2] == 0 || got[2] > 4 {
			t.Errorf("at %d a second the slow host has %.2f%%, want a tenth of the others' share or less, and not none", rate, got[2])
		}
		for _, i := range []int{0, 1, 3, 4} {
			if got[i] < 20 || got[i] > 28 {
				t.Errorf("at %d a second the shares are %.2f%%, want the others alike", rate, got)
				break
			}
		}
	}
}

// Least request is drawn to the one that fails fast; PEAK_EWMA is not.
func TestFastFailingHostHasNoShare(t *testing.T) {
	t.Parallel()
	servers := []server{{takes: 20 * ms}, {takes: 20 * ms}, {takes: ms / 10, fails: true}, {takes: 20 * ms}, {takes: 20 * ms}}
	for _, rate := range []int{50, 1000, 5000} {
		if got := simulate(picker.PeakEWMA, servers, rate, time.Duration(60_000/rate)*time.Second); got[2] == 0 || got[2] >= 1 {
			t.Errorf("at %d a second the failing host has %.2f%%, want less than 1%%, and not none", rate, got[2])
		} else {
			t.Logf("%d a second: %.2f", rate, got)
		}
	}
	if got := simulate(picker.LeastRequest, servers, 5000, 5*time.Second); got[2] < 20 {
		t.Errorf("least request: %.2f, and this test shows nothing", got)
	}
}

// One caller that makes one request after the other does not stay with one host.
func TestNoHerding(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 5} {
		servers := make([]server, n)
		for i := range servers {
			servers[i].takes = 5*ms + time.Duration(i)*ms/100
		}
		for i, share := range simulate(picker.PeakEWMA, servers, 0, 10*time.Second) {
			if fair := 100 / float64(n); share < fair/2 || share > fair*3/2 {
				t.Errorf("host %d of %d has %.1f%%", i, n, share)
			}
		}
	}
}
