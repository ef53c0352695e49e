package picker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

var algorithms = []picker.Algorithm{
	picker.RoundRobin, picker.LeastRequest, picker.Random, picker.PeakEWMA, picker.ConsistentHash,
}

func hosts(n int) []*outlier.Host {
	p := outlier.NewPool(outlier.Config{ConsecutiveGatewayErrors: 1, BaseEjection: time.Hour, MaxEjectionPercent: 100}, nil)
	list := make([]*outlier.Host, n)
	for i := range list {
		list[i] = p.Host(fmt.Sprint("host-", i))
	}
	return list
}

// all makes a set of one tier of hosts that are ready.
func all(list []*outlier.Host) *picker.Set {
	members := make([]picker.Member, len(list))
	for i, h := range list {
		members[i] = picker.Member{Host: h, Ready: true}
	}
	return picker.New(members)
}

// pick picks now.
func pick(s *picker.Set, a picker.Algorithm, tried func(*outlier.Host) bool) picker.Choice {
	c, _ := s.Pick(&picker.Config{Algorithm: a}, picker.Request{Tried: tried, Now: time.Now()})
	return c
}

func eject(h *outlier.Host) { h.Report(outlier.GatewayError, false, time.Now()) }

func count(s *picker.Set, n, picks int, tried func(*outlier.Host) bool) []int {
	counts := make([]int, n)
	for range picks {
		counts[pick(s, picker.RoundRobin, tried).Index]++
	}
	return counts
}

func TestRoundRobin(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s := all(list)
	if got := count(s, 4, 400, nil); !slices.Equal(got, []int{100, 100, 100, 100}) {
		t.Errorf("picks %v", got)
	}
	// The share of an ejected one goes to all others alike.
	eject(list[1])
	if got := count(s, 4, 300, nil); !slices.Equal(got, []int{100, 0, 100, 100}) {
		t.Errorf("with one ejected %v", got)
	}
}

// Of two drawn by chance the less busy one is taken, so a slow host is left alone.
func TestLeastRequest(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s := all(list)
	for range 10 {
		list[2].Begin(0, time.Now())
	}
	counts := make([]int, 4)
	for range 1000 {
		counts[pick(s, picker.LeastRequest, nil).Index]++
	}
	if counts[2] != 0 || min(counts[0], counts[1], counts[3]) < 200 {
		t.Errorf("picks %v", counts)
	}
	for range 10 {
		list[2].End(outlier.Success, 0, time.Now())
	}
	eject(list[0])
	tried := func(h *outlier.Host) bool { return h == list[1] }
	clear(counts)
	for range 1000 {
		counts[pick(s, picker.LeastRequest, tried).Index]++
	}
	if counts[0]+counts[1] != 0 || min(counts[2], counts[3]) < 300 {
		t.Errorf("with one ejected and one tried %v", counts)
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	list := hosts(4)
	s := all(list)
	eject(list[0])
	counts := make([]int, 4)
	for range 1000 {
		counts[pick(s, picker.Random, nil).Index]++
	}
	if counts[0] != 0 || min(counts[1], counts[2], counts[3]) < 200 {
		t.Errorf("picks %v", counts)
	}
}

// Every algorithm serves from one host, ejected or not.
func TestOneHost(t *testing.T) {
	t.Parallel()
	for _, algorithm := range algorithms {
		list := hosts(2)
		eject(list[0])
		if c := pick(all(list[:1]), algorithm, func(*outlier.Host) bool { return true }); c.Host != list[0] {
			t.Errorf("%v picked %v", algorithm, c)
		}
	}
}

func TestTriedAreAvoided(t *testing.T) {
	t.Parallel()
	list := hosts(3)
	s := all(list)
	tried := func(h *outlier.Host) bool { return h != list[2] }
	if got := count(s, 3, 30, tried); !slices.Equal(got, []int{0, 0, 30}) {
		t.Errorf("picks %v", got)
	}
	// One that was tried is better than one that is ejected.
	eject(list[2])
	if got := count(s, 3, 30, tried); got[2] != 0 {
		t.Errorf("with the only other ejected %v", got)
	}
}

func TestAllTried(t *testing.T) {
	t.Parallel()
	list := hosts(2)
	s := all(list)
	eject(list[0])
	if got := count(s, 2, 10, func(*outlier.Host) bool { return true }); !slices.Equal(got, []int{0, 10}) {
		t.Errorf("picks %v, want the one in use", got)
	}
}

// A set made of ejected hosts alone (the others have no connection) still serves.
func TestAllEjected(t *testing.T) {
	t.Parallel()
	list := hosts(3)
	eject(list[0])
	eject(list[1])
	if got := count(all(list[:2]), 2, 10, nil); got[0]+got[1] != 10 {
		t.Errorf("picks %v", got)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	list := hosts(2)
	s := all(list)
	eject(list[0])
	later := time.Now().Add(2 * time.Hour)
	probes := 0
	for range 10 {
		if c, _ := s.Pick(&picker.Config{}, picker.Request{Now: later}); c.Probe {
			probes++
			if c.Host != list[0] {
				t.Error("a probe of the wrong host")
			}
		}
	}
	if probes != 1 {
		t.Errorf("%d probes at once, want one", probes)
	}
}

//nolint:paralleltest // allocations of other tests would be counted
func TestPickDoesNotAllocate(t *testing.T) {
	s := all(hosts(10))
	now := time.Now()
	for _, algorithm := range algorithms {
		c := picker.Config{Algorithm: algorithm, RingSize: picker.DefaultRingSize}
		s.Pick(&c, picker.Request{Now: now})
		if n := testing.AllocsPerRun(100, func() { s.Pick(&c, picker.Request{Now: now}) }); n != 0 {
			t.Errorf("%v: %v allocations", algorithm, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	s := all(hosts(10))
	now := time.Now()
	for _, algorithm := range algorithms {
		b.Run(algorithm.String(), func(b *testing.B) {
			c := picker.Config{Algorithm: algorithm, RingSize: picker.DefaultRingSize}
			b.ReportAllocs()
			for b.Loop() {
				s.Pick(&c, picker.Request{Now: now, Hash: rand.Uint64()})
			}
		})
	}
}
