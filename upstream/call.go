package upstream

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Method is one gRPC method that Portico can call. It is immutable and safe for concurrent use; the same method is
// always the same pointer within one [Descriptors].
type Method struct {
	// Name is "package.Service/Method", without a leading slash.
	Name string
	// Desc is the method's descriptor; Input and Output are its messages.
	Desc          protoreflect.MethodDescriptor
	Input, Output protoreflect.MessageDescriptor
	// ClientStreaming and ServerStreaming are the method's stream kinds.
	ClientStreaming, ServerStreaming bool
	// Idempotency is what the method's idempotency_level option declares.
	Idempotency Idempotency

	path string // of calls, as gRPC spells it: "/" and the name
}

// Service is the full name of the method's service, such as "shop.orders.v1.OrderService".
func (m *Method) Service() string { return string(m.Desc.Parent().FullName()) }

// Unary reports whether the method takes one message and answers with one.
func (m *Method) Unary() bool { return !m.ClientStreaming && !m.ServerStreaming }

// Idempotency is google.protobuf.MethodOptions.IdempotencyLevel.
type Idempotency int

// The idempotency levels of google.protobuf.MethodOptions.
const (
	// IdempotencyUnknown promises nothing: such a call is never repeated blindly.
	IdempotencyUnknown Idempotency = iota
	// NoSideEffects marks a method that only reads.
	NoSideEffects
	// Idempotent marks a method that may be repeated with the same effect.
	Idempotent
)

// Reply is the answer of a unary call.
//
// Its message may lie in lent memory. Who has called and is done with the message, and has given it and parts of it to
// nobody, may say so with [Reply.Release], and the memory serves another call. Who does not loses nothing: the garbage
// collector takes the memory. Who shares a reply, or keeps it, takes [Reply.Keep] instead; what comes from there cannot
// be released.
type Reply struct {
	// Message holds the response message in wire format: one slice that nobody may change, and nobody may read after
	// Release. What is kept beyond the request out of a larger answer must be copied.
	Message []byte
	// Header and Trailer are the response metadata that configuration lets through to the client.
	Header, Trailer metadata.MD
	// Freshness says where the answer came from.
	Freshness Freshness

	lease *lease // of the message's memory; nil if it belongs to the garbage collector
}

// Release gives the message's memory back, and with it the message of all copies of r. Releasing again does nothing.
func (r *Reply) Release() {
	if r.lease != nil {
		r.lease.end()
		r.lease, r.Message = nil, nil
	}
}

// Keep returns the reply with a message that belongs to the garbage collector, for as many readers and as long as one
// likes. r and its copies must not be used any more.
func (r *Reply) Keep() Reply {
	kept := *r
	if r.lease != nil {
		kept.Message, kept.lease = bytes.Clone(r.Message), nil
		r.Release()
	}
	return kept
}

// Freshness says how fresh a [Reply] is. Its zero value is an answer straight from the service.
type Freshness struct {
	// Source is where the answer came from.
	Source Source
	// Age is the time since the service gave the answer; 0 for a fresh one.
	Age time.Duration
	// MaxAge is how long the answer may still be reused by the same client; 0 if it may not be kept.
	MaxAge time.Duration
	// Public reports that the answer is the same for everybody.
	Public bool
}

// Source is where a [Reply] came from.
type Source int

// The sources of a reply, as Cache-Status (RFC 9211) tells them apart.
const (
	// Fetched is an answer straight from the service.
	Fetched Source = iota
	// Hit is a fresh answer from the cache.
	Hit
	// Coalesced is the answer of somebody else's identical call under way.
	Coalesced
	// Stale is an answer from the cache beyond its age, where configuration allows it.
	Stale
)

// Caller calls methods with message bytes. Implementations are safe for concurrent use. Errors carry a gRPC status
// (status.FromError succeeds). The request must be canonical wire bytes (package wire makes them); it is not kept
// after the call returns and is not changed.
type Caller interface {
	// Invoke calls a unary method. If that fails, the reply may still hold response metadata.
	Invoke(ctx context.Context, m *Method, req []byte) (Reply, error)
	// Open starts a call of any streaming method. Cancelling ctx ends the stream.
	Open(ctx context.Context, m *Method) (Stream, error)
}

// Stream is an open streaming call. One goroutine may send while another receives; neither side may be used by two
// goroutines at once. It ends when Recv has returned an error or its context is cancelled.
type Stream interface {
	// Send sends one message. io.EOF means that the stream has ended: Recv tells why.
	Send(msg []byte) error
	// CloseSend says that no message follows.
	CloseSend() error
	// Recv returns the next message, which the caller owns. io.EOF is the end with status OK; any other error carries
	// the call's gRPC status.
	Recv() ([]byte, error)
	// Header waits for the response headers.
	Header() (metadata.MD, error)
	// Trailer returns the trailers once Recv has returned an error.
	Trailer() metadata.MD
}

// Rows describes a batch method whose answer holds one row per key, so that rows can be cached one by one.
type Rows struct {
	// Batch is the method that answers for many keys; Into is the repeated field of its request that takes them.
	Batch *Method
	Into  protoreflect.FieldDescriptor
	// Get is the method that answers for one of the keys with the same message as a row, and GetField the field of
	// its request that takes the key. Both are nil if no such method is known. Rows are then shared with it.
	Get      *Method
	GetField protoreflect.FieldDescriptor
}

// RowCaller is a [Caller] that keeps the rows of batch answers. A planner that batches looks up all keys first,
// calls Invoke for those that miss, and stores what came.
//
// base is the canonical request without its keys; a key is one element of the Into field, encoded as it stands in
// a length-delimited or scalar field, without its tag.
type RowCaller interface {
	Caller
	// LookupRows authorizes the batch call and returns a row or nil for each key. It must be called before every
	// batch call, even if nothing can be cached.
	LookupRows(ctx context.Context, r *Rows, base []byte, keys [][]byte) ([][]byte, error)
	// StoreRows keeps copies of the rows that a call has just brought: their memory may be lent. nil rows are skipped.
	StoreRows(ctx context.Context, r *Rows, base []byte, keys, rows [][]byte)
}
