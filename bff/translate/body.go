package translate

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// ReadJSON reads a request's body, of at most limit bytes (1 MiB if zero), and checks that its type is JSON. Without a body
// it returns nothing. The error is for the client.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if limit == 0 {
		limit = defaultMaxBody
	}
	body, err := readBody(w, r, limit)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	if f, err := bodyFormat(r); err != nil || f != jsonFormat {
		return nil, unsupportedType(r.Header.Get("Content-Type"), jsonType)
	}
	return body, nil
}

// readBody reads a request's body, whose size is bounded by limit. The error is for the client.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	body, err := openBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		// Grown as data comes: a length is easily claimed.
		b.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(body); err != nil {
		return nil, readError(err, limit)
	}
	return b.Bytes(), nil
}

// openBody returns a request's body, whose size is bounded by limit, if it can be read at all.
func openBody(w http.ResponseWriter, r *http.Request, limit int64) (io.Reader, error) {
	if r.Body == nil {
		return http.NoBody, nil
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, unsupported("content coding", encoding)
	}
	return http.MaxBytesReader(w, r.Body, limit), nil
}

func readError(err error, limit int64) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(min(e.Limit, limit))
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(codes.InvalidArgument, "the body ends too early", fault.WithCause(err))
	}
	return fault.New(codes.InvalidArgument, "the body cannot be read", fault.WithCause(err))
}
