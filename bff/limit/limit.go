// Package limit bounds how often clients may call, with the generic cell rate algorithm (GCRA, ITU-T I.371): a client
// may send a burst at once, and then as fast as the burst refills. One timestamp per key is all that it keeps.
//
// A [Limiter] counts in memory, exactly: concurrent calls see each other at once, and never is more admitted than
// the rate and the burst allow. A key that has been idle long enough to have its whole burst again is forgotten.
package limit

import (
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

// Config is one limit of the "limits" section.
type Config struct {
	// Per says who shares the limit: principal (anonymous clients by their address), address, device, or door. A limit
	// per device concerns devices alone.
	Per Per `yaml:"per" json:"per" jsonschema:"enum=principal,enum=address,enum=device,enum=door" jsonschema_description:"Who shares the limit: each principal, address (IPv6: /64), device, or door."`
	// Rate is how fast the burst refills.
	Rate unit.Rate `yaml:"rate" json:"rate" jsonschema:"type=string" jsonschema_description:"How fast the burst refills, like 100/s, 5/m or 1000/h."`
	// Burst is how much may be used at once. If not given, it is what the rate refills in a second, and at least 1.
	Burst int `yaml:"burst" json:"burst,omitempty" jsonschema:"minimum=1" jsonschema_description:"How much may be used at once."`
}

// Per says who shares a limit.
type Per string

// Who can share a limit.
const (
	PerPrincipal Per = "principal"
	PerAddress   Per = "address"
	PerDevice    Per = "device"
	PerDoor      Per = "door"
)

// The shape of the table of keys.
const (
	shards = 64
	// maxKeys bounds the keys of a limiter, at about 100 bytes each.
	maxKeys = 1 << 20
	// looked is how many keys of a full shard are looked at to find one to forget.
	looked = 16
	// maxWindow bounds how long a burst may take to refill.
	maxWindow = 365 * 24 * time.Hour
)

// Result is what a limiter has decided. The times are from now on.
type Result struct {
	// Allowed reports that the call may go on.
	Allowed bool
	// Limit is the burst, and Remaining what is left of it.
	Limit, Remaining int
	// Window is how long an empty burst takes to be whole again.
	Window time.Duration
	// Reset is when the burst will be whole again.
	Reset time.Duration
	// RetryAfter is when the same call would be allowed, if it was not; 0 if never, because it asks for more than the
	// burst.
	RetryAfter time.Duration
}

// Limiter applies one limit to many keys. It is safe for concurrent use and starts no goroutines.
type Limiter struct {
	interval time.Duration // of one event
	burst    int
	start    time.Time // times below are measured from here, on the monotonic clock
	seed     maphash.Seed
	shards   [shards]shard
}

type shard struct {
	// mu guards full.
	mu sync.Mutex
	// full says when each key will have its whole burst again: GCRA's theoretical arrival time.
	full map[string]time.Duration
	max  int
}

// New makes a limiter. The error holds a [mistake.Mistake] for everything that is wrong in c.
func New(c Config) (*Limiter, error) { return newLimiter(c, maxKeys) }

func newLimiter(c Config, keys int) (*Limiter, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	interval := c.interval()
	l := &Limiter{interval: interval, burst: c.Burst, start: time.Now(), seed: maphash.MakeSeed()}
	if l.burst == 0 {
		l.burst = max(1, int(time.Second/interval))
	}
	for i := range l.shards {
		l.shards[i] = shard{full: map[string]time.Duration{}, max: max(1, keys/shards)}
	}
	return l, nil
}

func (c Config) validate() error {
	var all []error
	switch c.Per {
	case PerPrincipal, PerAddress, PerDevice, PerDoor:
	default:
		m := &mistake.Mistake{Path: []string{"per"}, What: "nobody is limited per " + string(c.Per), Expected: "principal, address, device or door"}
		m.Nearest = mistake.Nearest(string(c.Per), strings.Split("principal address device door", " "))
		all = append(all, m)
	}
	if c.Rate.Events < 1 || c.Rate.Per <= 0 {
		all = append(all, &mistake.Mistake{Path: []string{"rate"}, What: "no rate", Expected: "one like 100/s, 5/m or 1000/h"})
	}
	if c.Burst < 0 || c.Rate.Events > 0 && int64(c.Burst) > int64(maxWindow/c.interval()) {
		all = append(all, &mistake.Mistake{
			Path: []string{"burst"}, What: "the burst is out of range", Expected: "1 or more, and no more than the rate refills in a year",
		})
	}
	return errors.Join(all...)
}

// interval is the time that one event takes to refill, rounded up so that never more than the rate is admitted.
func (c Config) interval() time.Duration {
	return max(1, (c.Rate.Per+time.Duration(c.Rate.Events)-1)/time.Duration(c.Rate.Events))
}

// Take takes n out of the key's burst, if that much is left; otherwise it takes nothing. n below 1 counts as 1.
func (l *Limiter) Take(key string, n int) Result {
	n = max(n, 1)
	whole := time.Duration(l.burst) * l.interval
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(l.start)
	full, known := s.full[key]
	full = max(full, now)
	if n > l.burst {
		return l.result(full-now, false, 0)
	}
	next := full + time.Duration(n)*l.interval
	if wait := next - now - whole; wait > 0 {
		return l.result(full-now, false, wait)
	}
	if !known && len(s.full) >= s.max {
		s.forget(now)
	}
	s.full[key] = next
	return l.result(next-now, true, 0)
}

// Give gives back n that [Limiter.Take] has taken for a call that did not go on.
func (l *Limiter) Give(key string, n int) {
	s := l.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if full, ok := s.full[key]; ok {
		s.full[key] = full - time.Duration(max(n, 1))*l.interval
	}
}

// result describes a key whose burst is whole again after reset.
func (l *Limiter) result(reset time.Duration, allowed bool, wait time.Duration) Result {
	whole := time.Duration(l.burst) * l.interval
	return Result{
		Allowed:    allowed,
		Limit:      l.burst,
		Remaining:  int((whole - reset) / l.interval),
		Window:     whole,
		Reset:      reset,
		RetryAfter: wait,
	}
}

func (l *Limiter) shard(key string) *shard {
	return &l.shards[maphash.String(l.seed, key)%shards]
}

// forget makes room in a full shard: it looks at a few keys, forgets those that have their whole burst again, which
// changes nothing, and, if there is none, the one that is nearest to it.
func (s *shard) forget(now time.Duration) {
	var nearest string
	best, seen := time.Duration(-1), 0
	for key, full := range s.full {
		if full <= now {
			delete(s.full, key)
		} else if best < 0 || full < best {
			nearest, best = key, full
		}
		if seen++; seen >= looked {
			break
		}
	}
	if len(s.full) >= s.max {
		delete(s.full, nearest)
	}
}
