// Package gate bounds how many requests run at a time, and how many wait for that:
// a semaphore with a bounded queue, whose bounds may change while it is in use. It
// knows no transport.
package gate

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// ErrFull is returned to who would have to wait, but may not.
var ErrFull = errors.New("gate: too many requests wait")

// Config says how many requests run and wait at a time. The zero value bounds
// nothing.
type Config struct {
	Running, Waiting int // Running of zero is no bound
}

// Gate lets requests in. It is safe for concurrent use.
type Gate struct {
	mu      sync.Mutex // guards what follows
	config  Config
	running int
	waiting list.List // of chan struct{}, closed when its request is let in
}

// New returns a gate that nobody has passed.
func New(c Config) *Gate { return &Gate{config: c} }

// Configure changes the bounds from now on. Who is in stays in.
func (g *Gate) Configure(c Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	g.admit()
}

// TryEnter is Enter for who would not wait: false if it had to.
func (g *Gate) TryEnter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open() {
		return false
	}
	g.running++
	return true
}

// Enter waits its turn to be let in, first come, first served. Its error is
// [ErrFull], or ctx's if that ends first. Who was let in calls [Gate.Leave].
func (g *Gate) Enter(ctx context.Context) error {
	g.mu.Lock()
	if g.open() {
		g.running++
		g.mu.Unlock()
		return nil
	}
	if g.waiting.Len() >= g.config.Waiting {
		g.mu.Unlock()
		return ErrFull
	}
	turn := make(chan struct{})
	place := g.waiting.PushBack(turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-turn: // it was let in at the same time
		return nil
	default:
	}
	g.waiting.Remove(place)
	return context.Cause(ctx)
}

// Leave makes room for another.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.admit()
}

// admit lets in who waits, as far as there is room.
func (g *Gate) admit() {
	for g.waiting.Len() > 0 && g.open() {
		if turn, ok := g.waiting.Remove(g.waiting.Front()).(chan struct{}); ok {
			g.running++
			close(turn)
		}
	}
}

func (g *Gate) open() bool { return g.config.Running == 0 || g.running < g.config.Running }

// Count returns how many requests run and wait.
func (g *Gate) Count() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.waiting.Len()
}
