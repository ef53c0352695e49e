package picker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// shares picks many times and returns the part of each host, in percent.
func shares(s *picker.Set, c picker.Config, n int, r picker.Request) []int {
	const picks = 5_000
	counts := make([]int, n)
	for range picks {
		if choice, ok := s.Pick(&c, r); ok {
			counts[choice.Index]++
		}
	}
	for i := range counts {
		counts[i] = (counts[i]*100 + picks/2) / picks
	}
	return counts
}

func near(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	for i := range want {
		if got[i] < want[i]-3 || got[i] > want[i]+3 {
			t.Errorf("%s: shares %v percent, want about %v", what, got, want)
			return
		}
	}
}

// The nearest tier has all requests while it can bear them; then the next takes over
// what it cannot.
func TestTiers(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []picker.Algorithm{picker.RoundRobin, picker.LeastRequest, picker.Random, picker.PeakEWMA} {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			list := hosts(6)
			members := make([]picker.Member, 6)
			for i := range members {
				members[i] = picker.Member{Host: list[i], Tier: i / 4, Ready: true} // four near, two far
			}
			s := picker.New(members)
			c, now := picker.Config{Algorithm: algorithm}, picker.Request{Now: time.Now()}
			sum := func(r picker.Request) (near, far int) {
				got := shares(s, c, 6, r)
				return got[0] + got[1] + got[2] + got[3], got[4] + got[5]
			}
			check := func(what string, r picker.Request, want int) {
				t.Helper()
				if got, far := sum(r); got < want-3 || got > want+3 {
					t.Errorf("%s: %d%% near and %d%% far, want %d%% near", what, got, far, want)
				}
			}
			check("all in use", now, 100)
			eject(list[0])
			check("three of four", now, 100)
			eject(list[1])
			check("two of four", now, 70)
			check("elsewhere", picker.Request{Now: now.Now, Elsewhere: true}, 0)
			eject(list[2])
			eject(list[3])
			check("none of four", now, 0)
			c.MinHealthPercent = 50
			check("panic", now, 67)
		})
	}
}

// A nearer tier that is wholly ejected has no share, and is probed all the same when its
// time is over: or it would never come back.
func TestEjectedTierComesBack(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []picker.Algorithm{picker.RoundRobin, picker.LeastRequest, picker.Random, picker.PeakEWMA} {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			list := hosts(4)
			members := make([]picker.Member, len(list))
			for i := range members {
				members[i] = picker.Member{Host: list[i], Tier: i / 2, Ready: true}
			}
			s, c := picker.New(members), picker.Config{Algorithm: algorithm}
			eject(list[0])
			eject(list[1])
			near(t, "both near ones ejected", shares(s, c, 4, picker.Request{Now: time.Now()}), 0, 0, 50, 50)
			later := picker.Request{Now: time.Now().Add(2 * time.Hour)}
			for range 20 {
				if choice, _ := s.Pick(&c, later); choice.Probe {
					choice.Host.Report(outlier.Success, true, later.Now)
				}
			}
			near(t, "later", shares(s, c, 4, later), 50, 50, 0, 0)
		})
	}
}

// What is ejected comes back in a panic, too, or that would never end.
func TestPanicEnds(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s, c := all(list), picker.Config{MinHealthPercent: 70}
	eject(list[0])
	eject(list[1])
	later := picker.Request{Now: time.Now().Add(2 * time.Hour)}
	for range 20 {
		if choice, _ := s.Pick(&c, later); choice.Probe {
			choice.Host.Report(outlier.Success, true, later.Now)
		}
	}
	if list[0].Ejected() || list[1].Ejected() {
		t.Error("hosts are still ejected")
	}
}

// Hosts without a connection are missed, too.
func TestUnconnectedAreMissed(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s := picker.New([]picker.Member{
		{Host: list[0], Ready: true}, {Host: list[1]}, {Host: list[2], Tier: 1, Ready: true}, {Host: list[3], Tier: 2, Ready: true},
	})
	near(t, "one of two near", shares(s, picker.Config{}, 4, picker.Request{Now: time.Now()}), 70, 0, 30, 0)
}

// With too few hosts in use, ejections are disregarded.
func TestPanic(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s := all(list)
	eject(list[0])
	c, r := picker.Config{MinHealthPercent: 70}, picker.Request{Now: time.Now()}
	near(t, "three of four", shares(s, c, 4, r), 0, 33, 33, 33)
	eject(list[1])
	near(t, "two of four", shares(s, c, 4, r), 25, 25, 25, 25)
}

func TestMaxActive(t *testing.T) {
	t.Parallel()
	for _, algorithm := range algorithms {
		list := hosts(2)
		s := all(list)
		c, now := picker.Config{Algorithm: algorithm, MaxActive: 2}, time.Now()
		for i := range 4 {
			choice, ok := s.Pick(&c, picker.Request{Now: now})
			if !ok || !choice.Host.Begin(c.MaxActive, now) {
				t.Fatalf("%v: request %d: %v, %v", algorithm, i, choice, ok)
			}
		}
		if choice, ok := s.Pick(&c, picker.Request{Now: now}); ok || list[0].Begin(2, now) {
			t.Errorf("%v: a fifth request to %v", algorithm, choice.Host.Address())
		}
		list[1].End(outlier.Success, time.Millisecond, now)
		if choice, ok := s.Pick(&c, picker.Request{Now: now}); !ok || choice.Host != list[1] {
			t.Errorf("%v: no request after one has ended", algorithm)
		}
	}
}

func TestWarmup(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	for _, algorithm := range []picker.Algorithm{picker.RoundRobin, picker.LeastRequest, picker.Random} {
		list := hosts(4)
		s := all(list)
		list[0].Start(start)
		c := picker.Config{Algorithm: algorithm, Warmup: picker.Warmup{Duration: 100 * time.Second, Aggression: 1, MinimumPercent: 10}}
		at := func(after time.Duration) int {
			return shares(s, c, 4, picker.Request{Now: start.Add(after)})[0]
		}
		if first, half, full := at(0), at(50*time.Second), at(100*time.Second); first > 6 || half < 9 || half > 19 || full < 22 {
			t.Errorf("%v: %d%%, %d%% and %d%% of requests at first, half and full time", algorithm, first, half, full)
		}
		for _, h := range list {
			h.Start(start)
		}
		near(t, "all new", shares(s, c, 4, picker.Request{Now: start}), 25, 25, 25, 25)
	}
}

// A hash keeps its host; without that host its requests spread, and nobody else's
// move.
func TestConsistentHash(t *testing.T) {
	t.Parallel()
	list := hosts(5)
	s := all(list)
	c := picker.Config{Algorithm: picker.ConsistentHash, RingSize: picker.DefaultRingSize}
	where := func() []int {
		places := make([]int, 2000)
		for i := range places {
			choice, _ := s.Pick(&c, picker.Request{Hash: picker.Hash(fmt.Sprint("user-", i)), Now: time.Now()})
			places[i] = choice.Index
		}
		return places
	}
	before := where()
	counts := make([]int, 5)
	for _, at := range before {
		counts[at]++
	}
	for i, n := range counts {
		if n < 250 || n > 600 {
			t.Errorf("host %d has %d of 2000 users", i, n)
		}
	}
	eject(list[3])
	moved := make([]int, 5)
	for i, at := range where() {
		if before[i] != 3 && at != before[i] {
			t.Fatalf("user %d moved from host %d to %d", i, before[i], at)
		}
		if before[i] == 3 {
			moved[at]++
		}
	}
	for i, n := range moved {
		if (n == 0) != (i == 3) {
			t.Errorf("the users of host 3 are at %v now", moved)
			break
		}
	}
}
