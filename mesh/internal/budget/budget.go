// Package budget bounds retries to a share of the requests made lately, as
// Finagle and Linkerd do, so that a failing service is not buried under
// repetitions. It knows no transport: one counts requests in with
// [Budget.Deposit], and asks with [Budget.Withdraw] before each retry.
package budget

import (
	"sync"
	"sync/atomic"
	"time"
)

// slots is how many parts of the time to live expire one by one.
const slots = 10

// scale is the price of one retry, in the smallest unit of the budget.
const scale = 1_000_000

// Config says how large a budget is.
type Config struct {
	// Ratio is how many retries one request pays for: 0.2 allows one retry
	// for five requests.
	Ratio float64
	// MinPerSecond is a reserve: so many retries a second are allowed however
	// few the requests.
	MinPerSecond float64
	// TTL is how long a request counts.
	TTL time.Duration
}

// Budget counts requests and retries. It is safe for concurrent use; [New] makes
// one.
type Budget struct {
	deposit int64
	reserve int64
	slot    time.Duration
	start   time.Time

	now     atomic.Int64 // number of the current slot since start
	balance [slots]atomic.Int64
	sum     atomic.Int64 // of the balances

	mu sync.Mutex // held by who expires slots or withdraws
}

// New returns an empty budget. A TTL that is not positive means ten seconds.
func New(c Config, now time.Time) *Budget {
	if c.TTL <= 0 {
		c.TTL = 10 * time.Second
	}
	return &Budget{
		deposit: int64(c.Ratio * scale),
		reserve: int64(c.MinPerSecond * c.TTL.Seconds() * scale),
		slot:    max(c.TTL/slots, 1),
		start:   now,
	}
}

// Deposit counts a request. It waits for nobody, but for the first request of a slot.
func (b *Budget) Deposit(now time.Time) {
	at := b.at(now)
	if at > b.now.Load() {
		b.mu.Lock()
		b.expire(at)
		b.mu.Unlock()
	}
	// If the slot ends meanwhile, the deposit counts in it all the same.
	b.add(b.now.Load(), b.deposit)
}

// Withdraw asks for one retry, and pays for it if it says true.
func (b *Budget) Withdraw(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(b.at(now))
	if b.sum.Load()+b.reserve < scale {
		return false
	}
	b.add(b.now.Load(), -scale)
	return true
}

// at returns the number of a slot.
func (b *Budget) at(now time.Time) int64 { return int64(now.Sub(b.start) / b.slot) }

func (b *Budget) add(slot, amount int64) {
	b.balance[slot%slots].Add(amount)
	b.sum.Add(amount)
}

// expire forgets the slots that have become too old at that one. What was withdrawn
// expires like what was deposited, so a deposit never pays twice, and the reserve is
// whole again one TTL after its use. The lock is held.
func (b *Budget) expire(at int64) {
	last := b.now.Load()
	if at <= last {
		return
	}
	for i := range min(at-last, slots) {
		b.sum.Add(-b.balance[(last+1+i)%slots].Swap(0))
	}
	b.now.Store(at)
}

// Balance is how many retries are left.
func (b *Budget) Balance(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(b.at(now))
	return int(max(0, b.sum.Load()+b.reserve) / scale)
}
