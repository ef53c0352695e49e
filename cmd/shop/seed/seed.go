// Package seed makes up the demo shop: its products, customers, orders, payments and
// boxes. All of it is the same on every start but for the dates, which count back from
// the moment that is passed in. The services agree without asking one another: the
// orders name products and customers that exist, and each has its payment.
package seed

import (
	"math/rand/v2"
	"time"
)

// day returns the beginning of now's day in UTC.
func day(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }

// random returns numbers that are the same on each start.
func random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(2026, stream)) //nolint:gosec // made-up data, no secrets
}
