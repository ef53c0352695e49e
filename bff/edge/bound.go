package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// bounded bounds a request's body in size and time. A body that says beforehand that it is too large is refused at
// once; one that turns out to be gives who reads it an [http.MaxBytesError].
func bounded(size int64, limit time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > size {
				f := fault.New(codes.InvalidArgument, fmt.Sprintf("the body is larger than %d bytes", size),
					fault.WithHTTPStatus(http.StatusRequestEntityTooLarge))
				refuse(w, r, f)
				return
			}
			if r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0) {
				// The request may have had a Content-Length beside its Transfer-Encoding, or a Transfer-Encoding in
				// HTTP/1.0. net/http drops these without a word, and somebody on the way may have believed them: what
				// follows on the connection is not to be trusted (RFC 9112, sections 6.1 and 6.3).
				w.Header()["Connection"] = []string{"close"}
			}
			if r.Body != nil && r.Body != http.NoBody {
				body := &timedBody{
					ReadCloser: http.MaxBytesReader(w, r.Body, size), limit: limit, control: http.NewResponseController(w),
				}
				body.restart() // the server reads what a handler leaves, and should not wait for it for ever
				r.Body = body
			}
			next.ServeHTTP(w, r)
		})
	}
}

// timedBody bounds how long a client may take to send its body, counted from the first read, or from the request if there
// is none.
type timedBody struct {
	io.ReadCloser
	limit   time.Duration
	control *http.ResponseController
	begun   bool
}

func (b *timedBody) restart() {
	_ = b.control.SetReadDeadline(time.Now().Add(b.limit)) // not every connection has one
}

// Read reads within the limit.
func (b *timedBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.restart()
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fault.New(codes.DeadlineExceeded, "the body did not come in time",
			fault.WithHTTPStatus(http.StatusRequestTimeout), fault.WithBlame(fault.Client), fault.WithCause(err))
	case errors.Is(err, io.EOF):
		// The server goes on reading, to see whether the client leaves; that has all the time it wants.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// passes reports whether an error of a body is fit for who reads it as it is: it has broken a limit.
func passes(err error) bool {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return true
	}
	_, ok := errors.AsType[*fault.Error](err)
	return ok
}
