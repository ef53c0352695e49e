package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/portico-bff/portico/upstream"
)

// flightTimeout bounds a shared call, whose callers' deadlines it does not have. An upstream's own timeout is shorter.
const flightTimeout = time.Minute

// flights are the calls under way, by key.
type flights struct {
	// mu guards calls and the waiting count of each.
	mu    sync.Mutex
	calls map[Key]*flight
	wait  sync.WaitGroup
}

// flight is one call under way. reply and err are set before done is closed.
type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	reply   upstream.Reply
	err     error
}

// Do calls call once for all that ask for the same key at the same time, and gives everybody its answer; shared
// reports that somebody else's call answered. Nobody waits longer than their own ctx, and a caller that gives up does
// not disturb the others: the call itself gets the values of the first caller's context without its end, and is
// cancelled when nobody waits any more.
func (c *Cache) Do(ctx context.Context, k Key, call func(context.Context) (upstream.Reply, error)) (reply upstream.Reply, shared bool, err error) {
	f, shared := c.flights.join(ctx, k, call)
	select {
	case <-f.done:
		return f.reply, shared, f.err
	case <-ctx.Done():
		c.flights.leave(k, f)
		return upstream.Reply{}, shared, ctx.Err()
	}
}

// join finds the flight of a key or starts one.
func (s *flights) join(ctx context.Context, k Key, call func(context.Context) (upstream.Reply, error)) (f *flight, shared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.calls[k]; ok {
		f.waiting++
		return f, true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	f = &flight{waiting: 1, cancel: cancel, done: make(chan struct{})}
	s.calls[k] = f
	s.wait.Go(func() {
		defer cancel()
		defer s.land(k, f)
		// A panic here would end the process: no door's recovery is above this goroutine.
		defer func() {
			if p := recover(); p != nil {
				f.err = fmt.Errorf("panic in a shared call: %v\n%s", p, debug.Stack())
			}
		}()
		f.reply, f.err = call(ctx)
	})
	return f, false
}

// land ends a flight: who comes later starts another.
func (s *flights) land(k Key, f *flight) {
	s.mu.Lock()
	if s.calls[k] == f {
		delete(s.calls, k)
	}
	s.mu.Unlock()
	close(f.done)
}

// leave takes a caller off a flight, and ends a flight that nobody waits for.
func (s *flights) leave(k Key, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		if s.calls[k] == f {
			delete(s.calls, k) // who comes now must not get the error of a cancelled call
		}
	}
}
