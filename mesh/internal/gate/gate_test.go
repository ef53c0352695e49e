package gate_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh/internal/gate"
)

func counts(t *testing.T, g *gate.Gate, running, waiting int) {
	t.Helper()
	if r, w := g.Count(); r != running || w != waiting {
		t.Errorf("%d run and %d wait, want %d and %d", r, w, running, waiting)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{Running: 2, Waiting: 3})
		var in []int
		for i := range 5 {
			go func() {
				if err := g.Enter(t.Context()); err != nil {
					t.Errorf("request %d: %v", i, err)
				}
				in = append(in, i)
			}()
			synctest.Wait()
		}
		counts(t, g, 2, 3)
		if err := g.Enter(t.Context()); !errors.Is(err, gate.ErrFull) {
			t.Errorf("a sixth: %v", err)
		}
		for range 5 {
			g.Leave()
			synctest.Wait()
		}
		for i, got := range in {
			if got != i {
				t.Errorf("let in as %v, want in the order of coming", in)
				break
			}
		}
		counts(t, g, 0, 0)
	})
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{Running: 1, Waiting: 1})
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := g.Enter(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		counts(t, g, 1, 0)
	})
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Config{Running: 1, Waiting: 10})
		var in atomic.Int32
		for range 5 {
			go func() {
				if g.Enter(t.Context()) == nil {
					in.Add(1)
				}
			}()
		}
		synctest.Wait()
		counts(t, g, 1, 4)
		g.Configure(gate.Config{Running: 3, Waiting: 10})
		synctest.Wait()
		counts(t, g, 3, 2)
		g.Configure(gate.Config{})
		synctest.Wait()
		counts(t, g, 5, 0)
		if in.Load() != 5 {
			t.Errorf("%d were let in", in.Load())
		}
	})
}

//nolint:paralleltest // allocations of other tests would be counted
func TestAllocations(t *testing.T) {
	g := gate.New(gate.Config{Running: 1})
	if n := testing.AllocsPerRun(100, func() {
		if g.Enter(t.Context()) == nil {
			g.Leave()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnter(b *testing.B) {
	g := gate.New(gate.Config{Running: 100, Waiting: 100})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter(b.Context()) == nil {
				g.Leave()
			}
		}
	})
}
