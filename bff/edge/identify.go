package edge

import (
	"net/http"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate/urlpath"
)

const requestID = "X-Request-Id"

// identified begins a request's [exchange], with an id. A client's own id is taken if it is sane, so that it can find
// its request in our logs; it proves nothing.
func identified(door func(*http.Request) request.Door) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var id string
			if sent := r.Header[requestID]; len(sent) == 1 && saneID(sent[0]) {
				id = sent[0]
			} else {
				id = uuid.Must(uuid.NewV7()).String() // sorts by time; fails as little as crypto/rand does
			}
			path, err := urlpath.Canonical(r.URL)
			x := &exchange{
				Context: r.Context(),
				info: request.Info{
					Door: door(r), ID: id, Method: r.Method, Path: path, Header: r.Header, Remote: remote(r.RemoteAddr),
				},
			}
			w.Header()[requestID] = x.own(0, id)
			if err != nil && r.URL.Path != "*" { // the log must see the request nonetheless
				f := fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
				x.record.Code, x.record.Err = f.Code, f
			}
			next.ServeHTTP(w, r.WithContext(x)) //nolint:contextcheck // it is the request's, and more
		})
	}
}

// saneID reports whether a client's id can stand in logs and headers as it is.
func saneID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 64
}
