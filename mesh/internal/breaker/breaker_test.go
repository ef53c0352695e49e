package breaker_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh/internal/breaker"
	"github.com/portico-bff/portico/mesh/internal/outlier"
)

var config = breaker.Config{Consecutive5xxErrors: 3, ConsecutiveGatewayErrors: 2, Base: 10 * time.Second, Max: 25 * time.Second}

// try makes a request, if it may.
func try(t *testing.T, b *breaker.Breaker, outcome outlier.Outcome) (allowed bool) {
	t.Helper()
	probe, _, ok := b.Allow(time.Now())
	if ok {
		b.Report(outcome, probe, time.Now())
	}
	return ok
}

func state(b *breaker.Breaker) breaker.State {
	s, _ := b.State(time.Now())
	return s
}

func TestOpens(t *testing.T) {
	t.Parallel()
	const ok, bad, gateway, nothing = outlier.Success, outlier.ServerError, outlier.GatewayError, outlier.Ignored
	for name, test := range map[string]struct {
		outcomes []outlier.Outcome
		want     breaker.State
	}{
		"errors in a row":          {[]outlier.Outcome{bad, bad, bad}, breaker.Open},
		"one less":                 {[]outlier.Outcome{bad, bad}, breaker.Closed},
		"a success between":        {[]outlier.Outcome{bad, bad, ok, bad, bad}, breaker.Closed},
		"nothing between":          {[]outlier.Outcome{bad, bad, nothing, bad}, breaker.Open},
		"gateway errors":           {[]outlier.Outcome{gateway, gateway}, breaker.Open},
		"both kinds":               {[]outlier.Outcome{gateway, bad, gateway}, breaker.Open},
		"another kind in between":  {[]outlier.Outcome{gateway, bad}, breaker.Closed},
		"successes":                {[]outlier.Outcome{ok, ok, ok}, breaker.Closed},
		"what says nothing at all": {[]outlier.Outcome{nothing, nothing, nothing}, breaker.Closed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := breaker.New(config)
			for _, outcome := range test.outcomes {
				if !try(t, b, outcome) {
					t.Fatal("it opened too early")
				}
			}
			if got := state(b); got != test.want {
				t.Errorf("it is %v, want %v", got, test.want)
			}
		})
	}
}

// After its time one request goes out; it closes the breaker, or it stays open for
// longer, up to its greatest time.
func TestProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(config)
		for range 3 {
			try(t, b, outlier.ServerError)
		}
		for _, seconds := range []int{10, 20, 25, 25} {
			wait := time.Duration(seconds) * time.Second
			time.Sleep(wait - time.Millisecond)
			if _, until, ok := b.Allow(time.Now()); ok || !until.After(time.Now()) {
				t.Fatalf("a request after less than %v", wait)
			}
			time.Sleep(wait/10 + time.Millisecond)
			if got := state(b); got != breaker.Probing {
				t.Fatalf("it is %v after %v", got, wait)
			}
			probe, _, ok := b.Allow(time.Now())
			if !probe || !ok {
				t.Fatalf("no probe after %v", wait)
			}
			if _, _, ok := b.Allow(time.Now()); ok {
				t.Error("a second request beside the probe")
			}
			b.Report(outlier.Success, false, time.Now()) // of one from before
			if until, opened := b.Report(outlier.ServerError, probe, time.Now()); !opened || !until.After(time.Now()) {
				t.Error("the probe's failure did not open it again")
			}
		}
		time.Sleep(28 * time.Second)
		if !try(t, b, outlier.Ignored) || !try(t, b, outlier.Success) || state(b) != breaker.Closed {
			t.Error("the probe's success did not close it")
		}
		for range 3 {
			try(t, b, outlier.ServerError)
		}
		if _, until := b.State(time.Now()); time.Until(until) > 11*time.Second {
			t.Errorf("it is open for %v, want the first time's again", time.Until(until))
		}
	})
}

// A probe that is never heard of again does not keep the breaker open.
func TestLostProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(config)
		for range 3 {
			try(t, b, outlier.ServerError)
		}
		time.Sleep(11 * time.Second)
		if probe, _, _ := b.Allow(time.Now()); !probe {
			t.Fatal("no probe")
		}
		time.Sleep(9 * time.Second)
		if _, _, ok := b.Allow(time.Now()); ok {
			t.Error("another probe too early")
		}
		time.Sleep(time.Second)
		if !try(t, b, outlier.Success) || state(b) != breaker.Closed {
			t.Error("no other probe")
		}
	})
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Base: time.Second})
	for range 100 {
		if !try(t, b, outlier.GatewayError) {
			t.Fatal("it opened without a limit")
		}
	}
	b.Configure(config)
	try(t, b, outlier.GatewayError)
	if state(b) != breaker.Open {
		t.Error("it does not open")
	}
}

// Of many that ask at a time, one is the probe.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Config{Consecutive5xxErrors: 1, Base: time.Hour})
	b.Report(outlier.ServerError, false, time.Now().Add(-2*time.Hour))
	var probes atomic.Int64
	var work sync.WaitGroup
	for range 50 {
		work.Go(func() {
			if probe, _, ok := b.Allow(time.Now()); ok && probe {
				probes.Add(1)
			}
		})
	}
	work.Wait()
	if probes.Load() != 1 {
		t.Errorf("%d probes", probes.Load())
	}
	for range 50 {
		work.Go(func() {
			b.Report(outlier.Success, true, time.Now())
			try(t, b, outlier.Success)
		})
	}
	work.Wait()
	if state(b) != breaker.Closed {
		t.Error("it stayed open")
	}
}
