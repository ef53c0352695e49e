// Package request holds the facts about a client's request that travel with its context: the door it came
// through, its id, its path and the headers that rules and header policies may see.
//
// Who is calling is not here: that is package auth's Principal.
package request

import (
	"context"
	"net/http"
	"net/netip"
)

// Door is the front door that a request came through.
type Door string

// The doors.
const (
	Web    Door = "web"
	Mobile Door = "mobile"
	IoT    Door = "iot"
)

// Info is what is known about a client's request. It is immutable once it is in a context.
type Info struct {
	// Door is the door that the request came through.
	Door Door
	// ID names the request in logs, problems and upstream metadata.
	ID string
	// Method and Path are the HTTP method and the path that was routed, decoded but for slashes within segments (%2F) and
	// percent signs (%25); empty at the IoT door, where Path is the topic.
	Method, Path string
	// Header holds the client's request headers, canonicalized, credentials included: what goes on to services is named
	// in the configuration.
	Header http.Header
	// Remote is the client's address.
	Remote netip.Addr
}

// Key is the key of a context's *[Info], for contexts that hold it themselves; others use [NewContext].
type Key struct{}

// NewContext returns a context that carries info.
func NewContext(ctx context.Context, info *Info) context.Context {
	return context.WithValue(ctx, Key{}, info)
}

// FromContext returns the facts about the request, or the zero Info if there are none.
func FromContext(ctx context.Context) *Info {
	if info, ok := ctx.Value(Key{}).(*Info); ok {
		return info
	}
	return &Info{}
}
