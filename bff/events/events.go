// Package events keeps event streams that clients can come back to: what a server-streaming method answers is numbered
// and kept for a while, so that a client whose connection broke goes on where it was.
//
// Start with [New] and [Hub.Attach]. A [Hub] makes one call of a method for all readers that ask the same with the same
// identity, and keeps the call for some time after the last of them has left. Its messages go into a log in memory,
// bounded in count and bytes, each with a [Position]: the log's random epoch and a number. A reader that names the
// position it has seen is given what follows. If that is impossible (the log is gone, or has dropped what follows) it
// is told so by an event that marks a gap, and goes on with what comes from then on; so do readers without a position.
//
// Nobody holds up anybody: messages are taken from the service as they come, and a reader that is too slow meets a gap.
// This fits what is watched, not what is downloaded.
//
// Every reader is authorized anew, whether the log exists or not, and only for as long as its credentials hold. The call
// itself is not bound to the credentials of the reader it began with: it ends when the last reader has been away for
// as long as configured.
package events

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/upstream"
)

// Source is where doors get streams that can be resumed. [Hub] is the one in the memory of one server. It is safe for
// concurrent use.
type Source interface {
	// Resumes reports whether streams of a method can be resumed.
	Resumes(m *upstream.Method) bool
	// Attach authorizes a client's request and returns a reader of its events. last is the position that the client
	// has seen, as [Position.String] writes it; empty if it has seen none. The reader lives until it is closed, not
	// until ctx ends.
	Attach(ctx context.Context, m *upstream.Method, req []byte, last string) (Reader, error)
}

// Reader reads one stream of events. It is used by one goroutine, which closes it.
type Reader interface {
	// Next returns the next event at once or, if there is none yet, a channel that is closed when it is worth asking
	// again. io.EOF is the good end of the stream, any other error its end too; Event.Position is then that of the end:
	// a client that comes back with it is given a new stream.
	Next() (e Event, more <-chan struct{}, err error)
	// Position is where the reader stands: that of the last event it was given, or from where it goes on.
	Position() Position
	// Header returns the response headers, as far as they are there; they are when a message is.
	Header() (metadata.MD, error)
	// Trailer returns the response trailers, once Next has returned an error.
	Trailer() metadata.MD
	// Close lets go of the stream. It may be called again.
	Close()
}

// Event is a message, or a gap between messages.
type Event struct {
	// Position is where in the log the event stands.
	Position Position
	// Message is a message in wire format, shared with other readers: nobody may change it.
	Message []byte
	// Gap tells why events before this position may be missing; empty for a message.
	Gap Gap
}

// Gap is the reason for a gap.
type Gap string

// The reasons.
const (
	// Unknown: the log of the client's position does not exist, no longer or not for this client.
	Unknown Gap = "unknown"
	// Overrun: the log has dropped what follows the reader's position.
	Overrun Gap = "overrun"
	// Ended: the client has seen the end of the stream that it followed; this is another one.
	Ended Gap = "ended"
)

// Caller calls the methods for a [Hub].
type Caller interface {
	// Share authorizes a call and returns its key. Calls of the same key are the same request by the same identity, so
	// that they can share a stream.
	Share(ctx context.Context, m *upstream.Method, req []byte) (cache.Key, error)
	// Open is that of an [upstream.Caller]. A stream with a method Over() bool reports by it that it ends, soon or already,
	// only because its caller changes: who asks again is given another one.
	Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error)
}
