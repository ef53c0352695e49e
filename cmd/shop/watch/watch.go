// Package watch tells streams about changes inside one process. A [Hub] hands each value
// that is published under a key to the key's subscribers. It never waits for a slow one:
// each subscription holds a bounded number of values, and the oldest gives way. With a
// buffer of one, a slow subscriber sees the latest state; with a larger one, it sees all
// unless it falls that far behind.
package watch

import (
	"errors"
	"sync"
)

// maxSubscribers bounds what watching costs the process.
const maxSubscribers = 10_000

// Errors of Subscribe.
var (
	ErrFull   = errors.New("too many subscribers")
	ErrClosed = errors.New("hub is closed")
)

// Hub connects publishers and subscribers. It is safe for concurrent use. Make it with
// [NewHub]; Close ends all subscriptions.
type Hub[T any] struct {
	buffer int
	done   chan struct{}

	// mu guards the fields below, and sending to subscriptions.
	mu     sync.Mutex
	closed bool
	count  int
	subs   map[string]map[*Subscription[T]]struct{}
}

// Subscription receives what is published under its key. Close it.
type Subscription[T any] struct {
	hub *Hub[T]
	key string
	c   chan T
}

// NewHub makes a hub whose subscriptions hold up to buffer values, at least one.
func NewHub[T any](buffer int) *Hub[T] {
	return &Hub[T]{
		buffer: max(buffer, 1),
		done:   make(chan struct{}),
		subs:   map[string]map[*Subscription[T]]struct{}{},
	}
}

// Subscribe listens to a key. It returns [ErrFull] or [ErrClosed].
func (h *Hub[T]) Subscribe(key string) (*Subscription[T], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.count >= maxSubscribers:
		return nil, ErrFull
	}
	s := &Subscription[T]{hub: h, key: key, c: make(chan T, h.buffer)}
	if h.subs[key] == nil {
		h.subs[key] = map[*Subscription[T]]struct{}{}
	}
	h.subs[key][s] = struct{}{}
	h.count++
	return s, nil
}

// Publish hands v to the key's subscribers. It never blocks.
func (h *Hub[T]) Publish(key string, v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs[key] {
		select {
		case s.c <- v:
			continue
		default:
		}
		// Full. Publishers hold the lock, so the place that is freed here stays free:
		// either we take the oldest value out, or the subscriber just did.
		select {
		case <-s.c:
		default:
		}
		s.c <- v
	}
}

// Done is closed by Close.
func (h *Hub[T]) Done() <-chan struct{} { return h.done }

// Close closes Done and refuses new subscriptions. It may be called more than once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

// C delivers the values. It is never closed: wait for the hub's Done as well.
func (s *Subscription[T]) C() <-chan T { return s.c }

// Close ends the subscription. It may be called more than once.
func (s *Subscription[T]) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	subs := h.subs[s.key]
	if _, ok := subs[s]; !ok {
		return
	}
	h.count--
	delete(subs, s)
	if len(subs) == 0 {
		delete(h.subs, s.key)
	}
}
