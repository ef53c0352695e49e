package translate

import (
	"context"
	"errors"
	"sync"

	"github.com/portico-bff/portico/bff/fault"
)

// drain knows the streams that are open, and ends them when the router is closed.
type drain struct {
	begun chan struct{}       // closed when streams are to end
	why   func() *fault.Error // what they end with; set before begun is closed
	open  sync.WaitGroup

	// mu guards closed, so that no stream opens while somebody waits for all to end.
	mu     sync.Mutex
	closed bool
}

func newDrain() *drain { return &drain{begun: make(chan struct{})} }

// enter counts a stream; false if no more may open. leave must follow a true one.
func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.open.Add(1)
	return true
}

func (d *drain) leave() { d.open.Done() }

// Close ends all streams and WebSockets, telling their clients that the server goes down and to come back, and waits for
// them until ctx ends. From then on streams are refused; other requests are still answered.
func (rt *Router) Close(ctx context.Context) error { return rt.drain.end(ctx, fault.Stopping) }

// Retire is [Router.Close] where another router has taken this one's place: clients are told that the configuration has
// changed.
func (rt *Router) Retire(ctx context.Context) error { return rt.drain.end(ctx, fault.Reconfigured) }

func (d *drain) end(ctx context.Context, why func() *fault.Error) error {
	d.mu.Lock()
	if !d.closed {
		d.closed, d.why = true, why
		close(d.begun)
	}
	d.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last stream
		d.open.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("streams are still open"), ctx.Err())
	}
}
