package adaptive_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/portico-bff/portico/mesh/internal/adaptive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a server with so many workers, behind a limiter. Requests that it has let
// in wait for a worker, so it can do workers/service of them in a second, and takes
// longer for each the more it lets in.
type server struct {
	limiter *adaptive.Limiter
	workers chan struct{}
	service atomic.Int64 // what a request takes on an idle server
	uneven  bool         // it is exponentially distributed around that, otherwise nearly so long
	mu      sync.Mutex   // guards what follows
	random  *rand.Rand
	done    map[string]int
	refused map[string]int
	took    []time.Duration // with the wait
}

func newServer(c adaptive.Config, workers int, service time.Duration) *server {
	s := &server{
		limiter: adaptive.New(c, time.Now()), workers: make(chan struct{}, workers), random: rand.New(rand.NewPCG(1, 2)),
		done: map[string]int{}, refused: map[string]int{},
	}
	s.service.Store(int64(service))
	return s
}

// serve takes a request; label counts it.
func (s *server) serve(ctx context.Context, label, caller string, p adaptive.Priority) {
	arrived := time.Now()
	_, err := s.limiter.Enter(ctx, adaptive.Caller{Path: caller}, p)
	if err == nil {
		began := time.Now()
		s.workers <- struct{}{}
		s.mu.Lock()
		service := float64(s.service.Load())
		if s.uneven {
			service *= s.random.ExpFloat64()
		} else {
			service *= 0.9 + 0.2*s.random.Float64()
		}
		s.mu.Unlock()
		time.Sleep(time.Duration(service))
		<-s.workers
		s.limiter.Leave(time.Since(began), time.Now())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused[label]++
		return
	}
	s.done[label]++
	s.took = append(s.took, time.Since(arrived))
}

// load is one source of requests.
type load struct {
	label, caller string
	priority      adaptive.Priority
	perSecond     float64
}

// offer sends requests for so long, and waits for them to end.
func (s *server) offer(t *testing.T, d time.Duration, loads ...load) {
	t.Helper()
	var work sync.WaitGroup
	for _, l := range loads {
		work.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(len(l.label))))
			for at, end := time.Now(), time.Now().Add(d); at.Before(end); {
				at = at.Add(time.Duration(random.ExpFloat64() / l.perSecond * float64(time.Second)))
				time.Sleep(time.Until(at))
				work.Go(func() { s.serve(t.Context(), l.label, l.caller, l.priority) })
			}
		})
	}
	work.Wait()
}

// forget drops the counts so far.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.done)
	clear(s.refused)
	s.took = nil
}

func (s *server) percentile(percent float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.took)
	return s.took[int(float64(len(s.took)-1)*percent/100)]
}

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// Whatever the server can do, and whether its requests take equally long or not, three
// times as many requests leave nine tenths of that done, and quickly.
func TestOverload(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		workers int
		service time.Duration
		random  bool
	}{
		"few":            {4, 4 * time.Millisecond, false},
		"some":           {20, 10 * time.Millisecond, false},
		"many":           {100, 50 * time.Millisecond, false},
		"few, random":    {4, 4 * time.Millisecond, true},
		"some, random":   {20, 10 * time.Millisecond, true},
		"many, random":   {100, 50 * time.Millisecond, true},
		"slow and alone": {1, 20 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := adaptive.Default()
				c.Interval = 5 * time.Second
				s := newServer(c, test.workers, test.service)
				s.uneven = test.random
				capacity := float64(test.workers) / test.service.Seconds()
				over := load{label: "all", caller: "a", priority: adaptive.Critical, perSecond: 3 * capacity}
				s.offer(t, 2*time.Second, over)
				s.forget()
				const d = 5 * time.Second
				s.offer(t, d, over)
				goodput := float64(s.done["all"]) / (capacity * d.Seconds())
				p99 := s.percentile(99)
				t.Logf("goodput %.3f, p50 %v, p99 %v, %+v", goodput, s.percentile(50), p99, s.limiter.State())
				if goodput < 0.9 {
					t.Errorf("goodput is %.3f of the capacity", goodput)
				}
				if limit := max(10*test.service, 4*test.service*20/time.Duration(test.workers)); p99 > limit {
					t.Errorf("p99 is %v, want %v at most", p99, limit)
				}
				if shed := s.limiter.State().Shed; shed == 0 {
					t.Error("no request was counted as shed")
				}
			})
		})
	}
}

// The limit goes where the server's capacity is from either side, and stays.
func TestConvergence(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{10, 40, 100} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(adaptive.Default(), workers, 10*time.Millisecond)
			s.offer(t, 3*time.Second, load{"all", "a", adaptive.Critical, 200 * float64(workers)})
			limit := float64(s.limiter.State().Limit)
			want := 1.25 * float64(workers)
			if limit < 0.9*want || limit > 1.2*(want+math.Sqrt(want)) {
				t.Errorf("%d workers: the limit is %v, want about %v", workers, limit, want+math.Sqrt(want))
			}
		})
	}
}

// The base is measured as often as is asked for: then the limit is less for a moment.
func TestInterval(t *testing.T) {
	t.Parallel()
	for interval, want := range map[time.Duration][2]int{time.Second: {6, 16}, time.Hour: {0, 2}} {
		synctest.Test(t, func(t *testing.T) {
			c := adaptive.Default()
			c.Interval, c.Jitter = interval, 0
			s := newServer(c, 20, 10*time.Millisecond)
			over := load{"all", "a", adaptive.Critical, 4000}
			s.offer(t, 2*time.Second, over) // until it knows the server
			dips, usual := 0, 0
			stop := make(chan struct{})
			var work sync.WaitGroup
			work.Go(func() {
				for ; ; time.Sleep(time.Millisecond) {
					select {
					case <-stop:
						return
					default:
					}
					limit := s.limiter.State().Limit
					if 4*limit < 3*usual { // a step of the gradient is less
						dips++
					}
					usual = limit
				}
			})
			s.offer(t, 10*time.Second, over)
			close(stop)
			work.Wait()
			if dips < want[0] || dips > want[1] {
				t.Errorf("the limit was cut %d times in 10s with an interval of %v, want %d to %d times", dips, interval, want[0], want[1])
			}
		})
	}
}

// A limit that nobody meets stays: that all goes well below it says nothing of what is
// above.
func TestUnusedLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(adaptive.Default(), 100, 10*time.Millisecond)
		before := s.limiter.State().Limit
		var work sync.WaitGroup
		for range 30 {
			work.Go(func() {
				for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
					s.serve(t.Context(), "all", "a", adaptive.Critical)
				}
			})
		}
		work.Wait()
		if after := s.limiter.State().Limit; after != 2*before || len(s.refused) > 0 { // before, the base was being measured
			t.Errorf("the limit is %d, and was %d while the base was measured; %v were refused", after, before, s.refused)
		}
	})
}

// When all requests take longer, or less, the limiter learns it, and the server goes
// on doing what it can.
func TestDrift(t *testing.T) {
	t.Parallel()
	for name, services := range map[string][]time.Duration{
		"up":   {5 * time.Millisecond, 50 * time.Millisecond},
		"down": {50 * time.Millisecond, 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(adaptive.Default(), 20, services[0])
				for _, service := range services {
					s.service.Store(int64(service))
					capacity := 20 / service.Seconds()
					over := load{"all", "a", adaptive.Critical, 2 * capacity}
					s.offer(t, 4*time.Second, over)
					s.forget()
					s.offer(t, 4*time.Second, over)
					goodput := float64(s.done["all"]) / (capacity * 4)
					state := s.limiter.State()
					t.Logf("%v: goodput %.3f, p99 %v, %+v", service, goodput, s.percentile(99), state)
					if goodput < 0.9 || s.percentile(99) > 10*service {
						t.Errorf("%v: goodput %.3f, p99 %v", service, goodput, s.percentile(99))
					}
					if state.Base < service*9/10 || state.Base > service*3/2 {
						t.Errorf("the base is %v, want about %v", state.Base, service)
					}
				}
			})
		})
	}
}

// Under load the important requests are served, whatever there is of the others.
func TestPriorities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(adaptive.Default(), 20, 10*time.Millisecond) // 2000 a second
		loads := []load{
			{"plus", "a", adaptive.CriticalPlus, 400},
			{"critical", "a", adaptive.Critical, 1000},
			{"sheddable plus", "a", adaptive.SheddablePlus, 2000},
			{"sheddable", "a", adaptive.Sheddable, 3000},
		}
		s.offer(t, 2*time.Second, loads...)
		s.forget()
		s.offer(t, 4*time.Second, loads...)
		share := func(label string) float64 {
			return float64(s.done[label]) / float64(s.done[label]+s.refused[label])
		}
		t.Logf("done %v, refused %v", s.done, s.refused)
		if share("plus") < 1 || share("critical") < 0.999 {
			t.Errorf("%v and %v of the critical ones were served", share("plus"), share("critical"))
		}
		if got := share("sheddable plus"); got < 0.15 || got > 0.45 {
			t.Errorf("%v of the sheddable plus ones were served, want what is left", got)
		}
		if got := share("sheddable"); got > 0.02 {
			t.Errorf("%v of the sheddable ones were served before the others", got)
		}
	})
}

// A caller with little to ask is served beside one who floods the server.
func TestFairness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(adaptive.Default(), 20, 10*time.Millisecond)
		s.offer(t, 5*time.Second,
			load{"flood", "b", adaptive.Critical, 6000},
			load{"little", "a", adaptive.Critical, 20})
		if s.refused["little"] > 2 || s.refused["flood"] == 0 {
			t.Errorf("%d of %d were refused, and %d of the flood", s.refused["little"], s.done["little"], s.refused["flood"])
		}
	})
}

// Below its capacity the server refuses nobody and has nobody wait, however uneven the
// requests are.
func TestLowTraffic(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{0.5, 5, 100, 1000} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(adaptive.Default(), 20, 10*time.Millisecond)
			s.uneven = true
			s.offer(t, 10*time.Second, load{"all", "a", adaptive.Critical, perSecond})
			if total(s.refused) > 0 || s.percentile(99) > 100*time.Millisecond {
				t.Errorf("%v a second: %d of %d were refused, p99 %v", perSecond, total(s.refused), total(s.done), s.percentile(99))
			}
		})
	}
}

// Who waits leaves with its context, after a while, or for somebody more important.
func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := adaptive.Default()
		c.MaxLimit, c.MinLimit, c.MaxPending, c.MaxWait = 1, 1, 2, time.Second
		l := adaptive.New(c, time.Now())
		if _, err := l.Enter(t.Context(), adaptive.Caller{Path: "a"}, adaptive.Critical); err != nil {
			t.Fatal(err)
		}
		results := map[string]chan error{}
		wait := func(name string, ctx context.Context, p adaptive.Priority) {
			results[name] = make(chan error, 1)
			go func() {
				_, err := l.Enter(ctx, adaptive.Caller{Path: "a"}, p)
				results[name] <- err
			}()
			synctest.Wait()
		}
		cancelled, cancel := context.WithCancel(t.Context())
		wait("cancelled", cancelled, adaptive.Critical)
		wait("displaced", t.Context(), adaptive.Sheddable)
		wait("late", t.Context(), adaptive.Critical)
		if err := <-results["displaced"]; !errors.Is(err, adaptive.ErrShed) {
			t.Errorf("displaced: %v", err)
		}
		if _, err := l.Enter(t.Context(), adaptive.Caller{Path: "a"}, adaptive.Critical); !errors.Is(err, adaptive.ErrShed) {
			t.Errorf("to a full queue: %v", err)
		}
		cancel()
		if err := <-results["cancelled"]; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		began := time.Now()
		if err := <-results["late"]; !errors.Is(err, adaptive.ErrShed) || time.Since(began) != time.Second {
			t.Errorf("late: %v after %v", err, time.Since(began))
		}
		wait("served", t.Context(), adaptive.Critical)
		l.Leave(0, time.Now())
		if err := <-results["served"]; err != nil {
			t.Errorf("served: %v", err)
		}
		l.Leave(0, time.Now())
		if s := l.State(); s.Running != 0 || s.Waiting != 0 || s.Shed != 3 {
			t.Errorf("%+v", s)
		}
		if wait := l.Pushback(); wait < 10*time.Millisecond || wait > 10*time.Second {
			t.Errorf("pushback of %v", wait)
		}
	})
}

// A new configuration keeps what was learned.
func TestConfigure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(adaptive.Default(), 40, 10*time.Millisecond)
		s.offer(t, 3*time.Second, load{"all", "a", adaptive.Critical, 8000})
		before := s.limiter.State()
		c := adaptive.Default()
		c.MaxLimit = 500
		s.limiter.Configure(c)
		if after := s.limiter.State(); after.Limit != before.Limit || after.Base != before.Base {
			t.Errorf("%+v, before %+v", after, before)
		}
		c.MaxLimit = 10
		s.limiter.Configure(c)
		if after := s.limiter.State(); after.Limit != 10 {
			t.Errorf("the limit is %d, want 10", after.Limit)
		}
	})
}

// Everybody who was let in leaves, and then nobody is in.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := adaptive.Default()
	c.Window, c.MaxWait = time.Millisecond, 5*time.Millisecond
	l := adaptive.New(c, time.Now())
	var work sync.WaitGroup
	var served, refused atomic.Int64
	for i := range 64 {
		work.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+n%5)*time.Millisecond)
				began := time.Now()
				if _, err := l.Enter(ctx, adaptive.Caller{Path: string(rune('a' + i%7))}, adaptive.Priority(n%4)); err != nil {
					refused.Add(1)
				} else {
					served.Add(1)
					time.Sleep(time.Duration(n%50) * time.Microsecond)
					l.Leave(time.Since(began), time.Now())
				}
				if n%50 == 0 {
					l.Configure(c)
				}
				cancel()
			}
		})
	}
	work.Wait()
	if s := l.State(); s.Running != 0 || s.Waiting != 0 || served.Load()+refused.Load() != 64*200 || served.Load() == 0 {
		t.Errorf("%+v, %d served, %d refused", s, served.Load(), refused.Load())
	}
}

//nolint:paralleltest // allocations of other tests would be counted
func TestAllocations(t *testing.T) {
	l := adaptive.New(adaptive.Default(), time.Now())
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := l.Enter(t.Context(), adaptive.Caller{Path: "a"}, adaptive.Critical); err != nil {
			t.Fatal(err)
		}
		l.Leave(time.Millisecond, time.Now())
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnter(b *testing.B) {
	l := adaptive.New(adaptive.Default(), time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Enter(b.Context(), adaptive.Caller{Path: "a"}, adaptive.Critical); err != nil {
			b.Fatal(err)
		}
		l.Leave(time.Millisecond, time.Now())
	}
}
