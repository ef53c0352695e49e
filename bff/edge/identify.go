package edge

import (
	"net/http"
	"net/netip"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate/urlpath"
)

const requestID = "X-Request-Id"

// identified gives a request its id, its [request.Info] and its [record.Record]. A client's own id is taken if it is
// sane, so that it can find its request in our logs; it proves nothing.
func identified(door func(*http.Request) request.Door) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := ""
			if sent := r.Header[requestID]; len(sent) == 1 && saneID(sent[0]) {
				id = sent[0]
			} else if made, err := uuid.NewV7(); err == nil {
				id = made.String()
			}
			path, err := urlpath.Canonical(r.URL)
			info := &request.Info{
				Door: door(r), ID: id, Method: r.Method, Path: path, Header: r.Header, Remote: remote(r.RemoteAddr),
			}
			rec := &record.Record{}
			r = r.WithContext(record.NewContext(request.NewContext(r.Context(), info), rec))
			w.Header()[requestID] = []string{id}
			if err != nil && r.URL.Path != "*" { // the log must see the request nonetheless
				f := fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
				rec.Code, rec.Err = f.Code, f
			}
			next.ServeHTTP(w, r)
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

// remote parses the address of a connection's other end.
func remote(address string) netip.Addr {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.Addr{}
}
