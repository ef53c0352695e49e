// Package budget bounds retries to a share of the requests made lately, as
// Finagle and Linkerd do, so that a failing service is not buried under
// repetitions. It knows no transport: one counts requests in with
// [Budget.Deposit], and asks with [Budget.Withdraw] before each retry.
package budget

import (
	"sync"
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

	mu      sync.Mutex // guards what follows
	balance [slots]int64
	sum     int64
	now     int64 // number of the current slot since start
}

// New returns an empty budget. A TTL that is not positive means ten seconds.
func New(c Config) *Budget {
	if c.TTL <= 0 {
		c.TTL = 10 * time.Second
	}
	return &Budget{
		deposit: int64(c.Ratio * scale),
		reserve: int64(c.MinPerSecond * c.TTL.Seconds() * scale),
		slot:    max(c.TTL/slots, 1),
		start:   time.Now(),
	}
}

// Deposit counts a request.
func (b *Budget) Deposit() {
	b.mu.Lock()
	b.expire()
	b.balance[b.now%slots] += b.deposit
	b.sum += b.deposit
	b.mu.Unlock()
}

// Withdraw asks for one retry, and pays for it if it says true.
func (b *Budget) Withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	if b.sum+b.reserve < scale {
		return false
	}
	b.balance[b.now%slots] -= scale
	b.sum -= scale
	return true
}

// expire forgets the slots that have become too old. What was withdrawn expires
// like what was deposited, so a deposit never pays twice, and the reserve is
// whole again one TTL after its use.
func (b *Budget) expire() {
	now := int64(time.Since(b.start) / b.slot)
	steps := min(now-b.now, slots)
	for i := range steps {
		at := (b.now + 1 + i) % slots
		b.sum -= b.balance[at]
		b.balance[at] = 0
	}
	if now > b.now {
		b.now = now
	}
}

// Balance is how many retries are left.
func (b *Budget) Balance() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	return int(max(0, b.sum+b.reserve) / scale)
}
