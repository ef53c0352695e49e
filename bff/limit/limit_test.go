package limit

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

func mustNew(tb testing.TB, events int64, per time.Duration, burst int) *Limiter {
	tb.Helper()
	l, err := New(Config{Per: PerPrincipal, Rate: unit.Rate{Events: events, Per: per}, Burst: burst})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func TestTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := mustNew(t, 10, time.Second, 3)
		window := 300 * time.Millisecond
		steps := []struct {
			wait time.Duration
			n    int
			want Result
		}{
			{0, 1, Result{Allowed: true, Limit: 3, Remaining: 2, Window: window, Reset: 100 * time.Millisecond}},
			{0, 2, Result{Allowed: true, Limit: 3, Remaining: 0, Window: window, Reset: window}},
			{0, 1, Result{Limit: 3, Window: window, Reset: window, RetryAfter: 100 * time.Millisecond}},
			{99 * time.Millisecond, 1, Result{Limit: 3, Window: window, Reset: 201 * time.Millisecond, RetryAfter: time.Millisecond}},
			{time.Millisecond, 1, Result{Allowed: true, Limit: 3, Remaining: 0, Window: window, Reset: window}},
			{0, 4, Result{Limit: 3, Window: window, Reset: window}}, // never: more than the burst
			{100 * time.Millisecond, 2, Result{Limit: 3, Remaining: 1, Window: window, Reset: 200 * time.Millisecond, RetryAfter: 100 * time.Millisecond}},
			{time.Hour, 3, Result{Allowed: true, Limit: 3, Remaining: 0, Window: window, Reset: window}},
			{time.Hour, 0, Result{Allowed: true, Limit: 3, Remaining: 2, Window: window, Reset: 100 * time.Millisecond}}, // 0 counts as 1
		}
		for i, s := range steps {
			time.Sleep(s.wait)
			if diff := cmp.Diff(s.want, l.Take("k", s.n)); diff != "" {
				t.Errorf("step %d: %s", i, diff)
			}
		}
		if r := l.Take("another", 3); !r.Allowed {
			t.Error("keys share a burst")
		}
	})
}

// TestExact drives a limit at ten times its rate for a minute from many goroutines: what is admitted is the burst and
// what the rate refills, to the one.
func TestExact(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{3, 7, 100} {
		t.Run(strconv.FormatInt(rate, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const burst, seconds = 20, 60
				l := mustNew(t, rate, time.Second, burst)
				var admitted atomic.Int64
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						for range int(rate) * seconds {
							if l.Take("k", 1).Allowed {
								admitted.Add(1)
							}
							time.Sleep(time.Second / time.Duration(rate))
						}
					})
				}
				wg.Wait()
				ideal := burst + rate*seconds
				if got := admitted.Load(); got > ideal || got < ideal-2 {
					t.Errorf("admitted %d, want %d", got, ideal)
				}
			})
		})
	}
}

func TestConcurrentTakesAreExact(t *testing.T) {
	t.Parallel()
	l := mustNew(t, 1, time.Hour, 500)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 100 {
				if l.Take("k", 1).Allowed {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != 500 {
		t.Errorf("admitted %d, want 500", got)
	}
}

func TestGive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := mustNew(t, 1, time.Second, 2)
		l.Take("k", 2)
		l.Give("k", 2)
		l.Give("unknown", 5)
		if r := l.Take("k", 2); !r.Allowed {
			t.Error("what was given back is not there")
		}
		if r := l.Take("k", 1); r.Allowed {
			t.Error("more than was given back is there")
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := newLimiter(Config{Per: PerAddress, Rate: unit.Rate{Events: 1, Per: time.Second}, Burst: 2}, 640)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			if !l.Take(strconv.Itoa(i), 1).Allowed {
				t.Fatalf("key %d has no burst of its own", i)
			}
		}
		total := 0
		for i := range l.shards {
			total += len(l.shards[i].full)
		}
		if total > 640 {
			t.Errorf("%d keys are kept, want at most 640", total)
		}
		// A key that is used up is forgotten after those that are idle.
		time.Sleep(10 * time.Second)
		l.Take("busy", 2)
		for i := range 200 {
			l.Take("idle"+strconv.Itoa(i), 1)
		}
		if l.Take("busy", 1).Allowed {
			t.Error("a busy key was forgotten while there were idle ones")
		}
	})
}

func TestDefaultBurst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate unit.Rate
		want int
	}{
		{unit.Rate{Events: 100, Per: time.Second}, 100},
		{unit.Rate{Events: 5, Per: time.Minute}, 1},
		{unit.Rate{Events: 6000, Per: time.Minute}, 100},
	} {
		l, err := New(Config{Per: PerDoor, Rate: tt.rate})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Take("k", 1).Limit; got != tt.want {
			t.Errorf("%v: burst %d, want %d", tt.rate, got, tt.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Per: "princpal", Burst: -1})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, strings.Join(m.Path, ".")+"|"+m.Nearest)
	}
	if diff := cmp.Diff([]string{"per|principal", "rate|", "burst|"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := New(Config{Per: PerDoor, Rate: unit.Rate{Events: 1, Per: time.Hour}, Burst: 1e9}); err == nil {
		t.Error("a burst that overflows was accepted")
	}
}

func BenchmarkTake(b *testing.B) {
	l := mustNew(b, 1e9, time.Second, 1e6)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "user\x00https://id.shop.test\x00usr-" + strconv.Itoa(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Take(keys[i%len(keys)], 1)
	}
}
