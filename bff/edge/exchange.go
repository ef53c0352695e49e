package edge

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/auth/principal"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/request"
)

// exchange is one request and its answer: what handlers find in the request's context, in one piece of memory. It is
// that context itself, which spares one for each of the values.
//
// The goroutine that serves the request fills it in while the request passes the middleware: identified makes it, and
// admitted sets the principal, before any handler can have started another goroutine. From then on info and principal
// never change, so calls that outlive the request, such as those that others wait for too, may go on reading them;
// the record and the values belong to the request's goroutine. It is left to the garbage collector, never reused.
type exchange struct {
	context.Context //nolint:containedctx // it is a context

	info      request.Info
	record    record.Record
	principal *auth.Principal // nil until the client is known
	values    [2]string       // of headers of the answer, see own
}

// exchangeKey is the key under which an exchange finds itself.
type exchangeKey struct{}

// exchangeOf returns the exchange that a request belongs to. Every handler inside of identified has one.
func exchangeOf(r *http.Request) *exchange {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok { // wired wrongly; what is noted is lost
		return &exchange{Context: r.Context()}
	}
	return x
}

// Value returns what the edge knows of the request, or a value of the context around it.
func (x *exchange) Value(key any) any {
	switch key.(type) {
	case request.Key:
		return &x.info
	case record.Key:
		return &x.record
	case principal.Key:
		if x.principal != nil {
			return x.principal
		}
	case exchangeKey:
		return x
	}
	return x.Context.Value(key)
}

// own makes the value of a header, in the place for the request's i-th.
func (x *exchange) own(i int, value string) []string {
	x.values[i] = value
	return x.values[i : i+1 : i+1]
}

// remote parses the address of a connection's other end.
func remote(address string) netip.Addr {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.Addr{}
}
