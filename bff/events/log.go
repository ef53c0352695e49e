package events

import (
	"container/list"
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/upstream"
)

// eventLog is the log of one call, with the readers that follow it.
type eventLog struct {
	method *method
	key    cache.Key
	epoch  string
	cancel context.CancelFunc // ends the call

	// The hub's mu guards these.
	readers   int
	idle      *list.Element // in method.idle; nil while there are readers, and once it is dropped
	idleSince time.Time
	timer     *time.Timer // drops an idle log; nil before it was idle
	dropped   bool

	// mu guards what follows. It is taken after the hub's mu, if both are.
	mu      sync.Mutex
	ring    ring
	header  metadata.MD
	trailer metadata.MD
	end     error         // how the call ended, io.EOF if well; nil while it goes on
	over    func() bool   // whether the call ends with its caller's configuration, or has; nil before it is open
	changed chan struct{} // closed when something changes; nil if nobody waits for that
}

// add adds a message.
func (l *eventLog) add(message []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		return
	}
	l.ring.add(message)
	l.notify()
}

// setHeader keeps the response headers.
func (l *eventLog) setHeader(md metadata.MD) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.header = md
}

// setTrailer keeps the response trailers.
func (l *eventLog) setTrailer(md metadata.MD) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trailer = md
}

// finish notes how the call has ended; only the first time counts.
func (l *eventLog) finish(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil {
		over := l.isOver()
		l.end, l.over = err, func() bool { return over }
		l.notify()
	}
}

// opened notes the call's stream.
func (l *eventLog) opened(up upstream.Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := up.(interface{ Over() bool }); ok && l.end == nil {
		l.over = s.Over
	}
}

// isOver reports whether the call ends, or has ended, with its caller's configuration. mu is held.
func (l *eventLog) isOver() bool { return l.over != nil && l.over() }

// wake makes all readers look again.
func (l *eventLog) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notify()
}

// notify wakes those who wait. mu is held.
func (l *eventLog) notify() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// wait returns a channel that is closed with the next change. mu is held.
func (l *eventLog) wait() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// empty reports whether the log has never had a message.
func (l *eventLog) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring.head() == 0
}

// resume finds where a reader goes on that has seen the events up to seq, and whether it misses some. Live readers go
// on behind the latest event. ok is false if there is nothing left in this log for it: it has seen the end.
func (l *eventLog) resume(seq uint64) (next uint64, gap Gap, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.ring.head()
	switch {
	case seq > head && l.end != nil, seq == head && l.isOver():
		return 0, Ended, false
	case seq > head: // no reader was given that
		return head + 1, Unknown, true
	case seq+1 < l.ring.first:
		return head + 1, Overrun, true
	default:
		return seq + 1, "", true
	}
}

// live returns the number of the next event that comes; ok is false if none does, since the call is over.
func (l *eventLog) live() (next uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring.head() + 1, !l.isOver()
}
