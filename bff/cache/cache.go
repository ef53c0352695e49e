// Package cache keeps answers of services in memory, bounded by their bytes, and lets identical calls under way share
// one answer. What may be kept, and under which key, is for package core to say: this package never looks into an
// answer.
//
// Start with [Key], [Cache.Lookup] and [Cache.Do].
package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// Config is the "cache" of a method.
type Config struct {
	// MaxAge is how long an answer is reused.
	MaxAge time.Duration `yaml:"max_age" json:"max_age" jsonschema:"type=string" jsonschema_description:"How long an answer is reused, like 30s."`
	// Scope says who shares an answer: private (the default) is whoever sends the same headers upstream, the identity
	// among them; public is everybody, and then no identity is sent upstream.
	Scope Scope `yaml:"scope" json:"scope,omitempty" jsonschema:"enum=private,enum=public,default=private" jsonschema_description:"Who shares an answer: private (the same identity and headers) or public (everybody; no identity is sent upstream)."`
	// StaleIfError is how much longer an answer is used if the service is unavailable (RFC 5861, section 4); 0 is not
	// at all.
	StaleIfError time.Duration `yaml:"stale_if_error" json:"stale_if_error,omitempty" jsonschema:"type=string" jsonschema_description:"How much longer an answer is used while the service is unavailable."`
}

// Scope says who shares an answer.
type Scope string

// The scopes.
const (
	Private Scope = "private"
	Public  Scope = "public"
)

// Validate reports everything that is wrong in c.
func (c Config) Validate() error {
	var all []error
	if c.MaxAge <= 0 {
		all = append(all, &mistake.Mistake{Path: []string{"max_age"}, What: "no age", Expected: "a duration above zero like 30s"})
	}
	if c.StaleIfError < 0 {
		all = append(all, &mistake.Mistake{Path: []string{"stale_if_error"}, What: "the duration is negative", Expected: "one like 10m"})
	}
	switch c.Scope {
	case "", Private, Public:
	default:
		all = append(all, &mistake.Mistake{
			Path: []string{"scope"}, What: "unknown scope " + strconv.Quote(string(c.Scope)), Expected: "private or public",
			Nearest: mistake.Nearest(string(c.Scope), []string{string(Private), string(Public)}),
		})
	}
	return errors.Join(all...)
}

// Key names an answer: everything that it may depend on. Two calls with the same key would get the same answer.
type Key [sha256.Size]byte

// KeyBuilder makes a [Key] out of parts; the same bytes split in another way give another key. The zero value has no
// parts. It is not safe for concurrent use.
type KeyBuilder struct {
	parts []byte
}

// NewKey returns a builder without parts that uses the room of scratch, which may be nil, before any other.
func NewKey(scratch []byte) KeyBuilder { return KeyBuilder{parts: scratch[:0]} }

// Add adds a part.
func (b *KeyBuilder) Add(part []byte) {
	b.parts = binary.AppendUvarint(b.parts, uint64(len(part)))
	b.parts = append(b.parts, part...)
}

// AddString is Add for a string.
func (b *KeyBuilder) AddString(part string) {
	b.parts = binary.AppendUvarint(b.parts, uint64(len(part)))
	b.parts = append(b.parts, part...)
}

// Key returns the key of the parts added so far.
func (b *KeyBuilder) Key() Key { return sha256.Sum256(b.parts) }

// Entry is an answer that is kept. It is immutable.
type Entry struct {
	// Reply is the answer as the service gave it.
	Reply upstream.Reply
	// Stored is when it came.
	Stored time.Time
	// Keep is how long it is kept.
	Keep time.Duration
}

// Age is the time since the answer came.
func (e *Entry) Age() time.Duration { return max(0, time.Since(e.Stored)) }

// Cache keeps answers. It is safe for concurrent use. Close it when done.
type Cache struct {
	*answers

	flights flights
}

// answers are what is kept. Caches may share them.
type answers struct {
	entries *otter.Cache[Key, *Entry]
	owners  atomic.Int32
}

// overhead is about what an entry takes besides its message.
const overhead = 256

// New makes a cache that keeps at most size bytes.
func New(size int64) (*Cache, error) {
	if size <= 0 {
		return nil, mistake.At("the size of the cache must be above zero")
	}
	entries, err := otter.New(&otter.Options[Key, *Entry]{
		MaximumWeight: uint64(size),
		Weigher:       weigh,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[Key, *Entry]) time.Duration {
			return e.Value.Keep
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	return (&answers{entries: entries}).cache(), nil
}

func (a *answers) cache() *Cache {
	a.owners.Add(1)
	return &Cache{answers: a, flights: flights{calls: map[Key]*flight{}}}
}

// Share returns a cache of the same answers whose calls under way are its own. The cache must not be closed yet; each of
// the two must be in the end.
func (c *Cache) Share() *Cache { return c.cache() }

func weigh(_ Key, e *Entry) uint32 {
	n := overhead + len(e.Reply.Message)
	for _, md := range []map[string][]string{e.Reply.Header, e.Reply.Trailer} {
		for name, values := range md {
			n += len(name)
			for _, v := range values {
				n += len(v)
			}
		}
	}
	return uint32(min(n, 1<<31))
}

// Lookup returns what is kept under k. Its age is for the caller to judge.
func (c *Cache) Lookup(k Key) (*Entry, bool) { return c.entries.GetIfPresent(k) }

// Store keeps reply under k for a time. The cache takes over the reply's message: nobody may change it.
func (c *Cache) Store(k Key, reply upstream.Reply, keep time.Duration) {
	c.entries.Set(k, &Entry{Reply: reply, Stored: time.Now(), Keep: keep})
}

// Size is about how many bytes are kept.
func (c *Cache) Size() int64 { return int64(min(c.entries.WeightedSize(), 1<<62)) }

// Close waits for calls under way to end. The last cache that shares the answers forgets them and ends their goroutines.
// It must be called once.
func (c *Cache) Close() {
	c.flights.wait.Wait()
	if c.owners.Add(-1) > 0 {
		return
	}
	c.entries.InvalidateAll()
	c.entries.StopAllGoroutines()
}
