package budget_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh/internal/budget"
)

// withdraw takes all there is.
func withdraw(b *budget.Budget) int {
	n := 0
	for b.Withdraw(time.Now()) {
		n++
	}
	return n
}

func TestRatio(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{Ratio: 0.2, TTL: 10 * time.Second}, time.Now())
		if n := withdraw(b); n != 0 {
			t.Errorf("an empty budget gave %d", n)
		}
		for range 4 {
			b.Deposit(time.Now())
		}
		if b.Withdraw(time.Now()) {
			t.Error("four requests paid for a retry")
		}
		b.Deposit(time.Now())
		if n := withdraw(b); n != 1 {
			t.Errorf("five requests paid for %d retries", n)
		}
		for range 1000 {
			b.Deposit(time.Now())
		}
		if n := withdraw(b); n != 200 {
			t.Errorf("1000 requests paid for %d retries", n)
		}
	})
}

func TestDepositsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{Ratio: 0.2, TTL: 10 * time.Second}, time.Now())
		for range 100 {
			b.Deposit(time.Now())
		}
		time.Sleep(8 * time.Second)
		for range 50 {
			b.Deposit(time.Now())
		}
		time.Sleep(3 * time.Second) // the hundred are gone, the fifty are not
		if n := withdraw(b); n != 10 {
			t.Errorf("%d retries, want those of the later 50 requests", n)
		}
		time.Sleep(time.Minute)
		if n := withdraw(b); n != 0 {
			t.Errorf("%d retries from nothing", n)
		}
	})
}

// What was withdrawn against deposits that have expired is not handed out twice.
func TestNoDepositPaysTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{Ratio: 0.2, TTL: 10 * time.Second}, time.Now())
		requests, retries := 0, 0
		for range 6000 {
			requests++
			b.Deposit(time.Now())
			if b.Withdraw(time.Now()) {
				retries++
			}
			time.Sleep(7 * time.Millisecond)
		}
		if retries > requests/5 || retries < requests/6 {
			t.Errorf("%d retries for %d requests", retries, requests)
		}
	})
}

func TestReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(budget.Config{Ratio: 0.2, MinPerSecond: 3, TTL: 10 * time.Second}, time.Now())
		if n := withdraw(b); n != 30 {
			t.Errorf("the reserve gave %d, want 3/s for 10s", n)
		}
		time.Sleep(5 * time.Second)
		if n := withdraw(b); n != 0 {
			t.Errorf("after half the time %d more", n)
		}
		time.Sleep(6 * time.Second)
		if n := withdraw(b); n != 30 {
			t.Errorf("after the whole time %d, want the reserve again", n)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	b := budget.New(budget.Config{Ratio: 0.1, TTL: time.Hour}, time.Now())
	var retries atomic.Int64
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				b.Deposit(time.Now())
				if b.Withdraw(time.Now()) {
					retries.Add(1)
				}
			}
		})
	}
	work.Wait()
	if n := retries.Load() + int64(withdraw(b)); n != 800 {
		t.Errorf("%d retries for 8000 requests", n)
	}
}

func BenchmarkDeposit(b *testing.B) {
	budget := budget.New(budget.Config{Ratio: 0.2}, time.Now())
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		budget.Deposit(now)
	}
}
