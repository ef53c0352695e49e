package events

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/fault"
)

// reader is a [Reader] of an [eventLog].
type reader struct {
	hub     *Hub
	log     *eventLog
	next    uint64 // the number of the event that is next
	gap     Gap    // to be told first
	closed  bool
	expires time.Time   // when the client's credentials end; zero if they do not
	expiry  *time.Timer // wakes the reader then; nil if they do not
}

var _ Reader = (*reader)(nil)

// Next returns the next event, if there is one.
func (r *reader) Next() (Event, <-chan struct{}, error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.expires.IsZero() && !time.Now().Before(r.expires) {
		// The client may come back with fresh credentials to where it is.
		return Event{Position: r.at()}, nil, fault.New(codes.Unauthenticated, "the credentials have expired")
	}
	if r.next < l.ring.first {
		// Going on with the oldest would only bring the reader to the next gap.
		r.next = l.ring.head() + 1
		if r.gap == "" {
			r.gap = Overrun
			l.method.gaps(Overrun).Inc()
		}
	}
	switch {
	case r.gap != "":
		e := Event{Position: r.at(), Gap: r.gap}
		r.gap = ""
		return e, nil, nil
	case r.next <= l.ring.head():
		message := l.ring.at(r.next)
		r.next++
		return Event{Position: r.at(), Message: message}, nil, nil
	case l.end != nil:
		return Event{Position: Position{l.epoch, r.next}}, nil, l.end
	default:
		return Event{}, l.wait(), nil
	}
}

// at is the position before the next event.
func (r *reader) at() Position { return Position{r.log.epoch, r.next - 1} }

// Position is where the reader stands.
func (r *reader) Position() Position { return r.at() }

// Header returns the response headers, as far as they are there.
func (r *reader) Header() (metadata.MD, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.header, nil
}

// Trailer returns the response trailers, once the call has ended.
func (r *reader) Trailer() metadata.MD {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.trailer
}

// Close lets go of the log.
func (r *reader) Close() {
	if r.closed {
		return
	}
	r.closed = true
	if r.expiry != nil {
		r.expiry.Stop()
	}
	r.hub.detach(r.log)
}
