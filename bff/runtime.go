package bff

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/bff/config"
)

// runtime is a configuration and everything that follows from it. But for the count of its users it is immutable. A
// reload puts another one in its place; whoever is inside then goes on with this one.
type runtime struct {
	file    *config.File
	parts   *compiled
	handler http.Handler // the HTTP doors

	users  atomic.Int64  // requests, calls and streams inside, and one for being the current one; closed below zero
	unused chan struct{} // closed when nobody is inside, and nobody can come
	hurry  chan struct{} // closed when streams must not linger any more
	ended  chan struct{} // closed when nothing of it is left

	// over ends when streams that no client of the HTTP doors holds are to end.
	over  context.Context //nolint:containedctx // it is the runtime's end
	close context.CancelFunc
}

// shut is what the count of users is far below zero by once nobody can come.
const shut = -1 << 62

func newRuntime(file *config.File, parts *compiled, handler http.Handler) *runtime {
	r := &runtime{
		file: file, parts: parts, handler: handler,
		unused: make(chan struct{}), hurry: make(chan struct{}), ended: make(chan struct{}),
	}
	r.over, r.close = context.WithCancel(context.Background())
	r.users.Store(1)
	return r
}

// enter counts a user, unless the runtime is not used any more. leave must follow a true one.
func (r *runtime) enter() bool {
	if r.users.Add(1) > 0 {
		return true
	}
	r.users.Add(-1)
	return false
}

// leave counts a user off. The last one shuts the door, unless somebody slips in before.
func (r *runtime) leave() {
	if r.users.Add(-1) == 0 && r.users.CompareAndSwap(0, shut) {
		close(r.unused)
	}
}

// closeDoors ends streams and WebSockets with a stated reason, and waits for them until ctx ends. stopping is that the
// server goes down; otherwise the reason is that there is another configuration.
func (r *runtime) closeDoors(ctx context.Context, stopping bool) error {
	var doors sync.WaitGroup
	var webErr, mobileErr error
	if door := r.parts.web; door != nil {
		end := door.Retire
		if stopping {
			end = door.Close
		}
		doors.Go(func() { webErr = end(ctx) })
	}
	if door := r.parts.mobile; door != nil {
		end := door.Retire
		if stopping {
			end = door.Close
		}
		doors.Go(func() { mobileErr = end(ctx) })
	}
	doors.Wait()
	return errors.Join(webErr, mobileErr)
}

// end ends what is left of a runtime that is no longer the current one: streams first, and, when drain is over, every
// call. stopping is as for closeDoors.
func (r *runtime) end(drain time.Duration, stopping bool) error {
	defer close(r.ended)
	r.close()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	err := r.closeDoors(ctx, stopping)
	select {
	case <-r.unused:
	case <-ctx.Done():
		err = errors.Join(err, errors.New("requests were cut off at the end of the drain time"))
	}
	return errors.Join(err, r.parts.close())
}

// enter finds the current runtime and counts a user of it.
func (s *Server) enter() *runtime {
	for {
		// A runtime is shut only after another one has taken its place.
		if r := s.current.Load(); r.enter() {
			return r
		}
	}
}

// dispatch serves a request by the configuration that is the current one when it comes, to its end.
func (s *Server) dispatch(w http.ResponseWriter, req *http.Request) {
	r := s.enter()
	defer r.leave()
	r.handler.ServeHTTP(w, req)
}

// maxLingering is how many earlier runtimes may have streams that go on. Beyond it, the oldest one's end.
const maxLingering = 8

// retire lets what is inside of a runtime end in its own time. Only one goroutine at a time may call it.
func (s *Server) retire(r *runtime) {
	kept := s.lingering[:0]
	for _, old := range s.lingering {
		select {
		case <-old.ended:
		default:
			kept = append(kept, old)
		}
	}
	if clear(s.lingering[len(kept):]); len(kept) >= maxLingering {
		close(kept[0].hurry)
		kept = append(kept[:0], kept[1:]...)
	}
	s.lingering = append(kept, r)
	r.leave() // it is the current one no more
	linger, drain := r.file.Config.Linger, r.file.Config.Drain
	s.retiring.Go(func() {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		select {
		case <-r.unused:
		case <-timer.C:
		case <-r.hurry:
		case <-s.life.Done():
		}
		if err := r.end(drain, s.life.Err() != nil); err != nil {
			s.logger.WarnContext(context.WithoutCancel(s.life), "an earlier configuration has ended", "error", err)
		}
	})
}
