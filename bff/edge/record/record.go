// Package record carries what a handler finds out about a request to the access log and the metrics that are written
// when the request has ended.
package record

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/upstream"
)

// Record is what handlers fill in while they serve one request. It is used by the goroutine that serves the request
// alone, and read when that has ended. All fields may stay zero.
type Record struct {
	// Route is the pattern that the request's path matched, such as "/v1/orders/{order_id}". It is one of a bounded
	// number of texts, so it may label metrics; a request's own path may not.
	Route string
	// Operation is what was called: a gRPC method, a stored operation.
	Operation string
	// Client is the subject of who called; empty for nobody known.
	Client string
	// Code is the gRPC code that the request ended with.
	Code codes.Code
	// Source is where the answer came from.
	Source upstream.Source
	// Err is the error that was answered, with its cause; nil if there was none.
	Err error
}

// Key is the key of a context's *[Record], for contexts that hold it themselves; others use [NewContext].
type Key struct{}

// NewContext returns a context that carries rec.
func NewContext(ctx context.Context, rec *Record) context.Context {
	return context.WithValue(ctx, Key{}, rec)
}

// FromContext returns the request's record, or a new one that nobody will read; never nil.
func FromContext(ctx context.Context) *Record {
	if rec, ok := ctx.Value(Key{}).(*Record); ok {
		return rec
	}
	return &Record{}
}
