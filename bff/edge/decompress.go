package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// decompressed takes the coding off a request's body: zstd, br or gzip, one of them. The body's limit holds for what
// comes out as well as for what went in, so a small bomb stays small.
func decompressed(limit int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			coding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header["Content-Encoding"], ",")))
			if coding == "" || coding == "identity" || r.Body == nil || r.Body == http.NoBody {
				next.ServeHTTP(w, r)
				return
			}
			body := &codedBody{source: r.Body, limit: limit}
			switch coding {
			case "zstd":
				body.open = openZstd(limit)
			case "br":
				body.open = func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(brotli.NewReader(r)), nil }
			case "gzip", "x-gzip":
				body.open = func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
			default:
				w.Header().Set("Accept-Encoding", "zstd, br, gzip")
				refuse(w, r, fault.New(codes.InvalidArgument, fmt.Sprintf("the content coding %q is not supported", coding),
					fault.WithHTTPStatus(http.StatusUnsupportedMediaType)))
				return
			}
			defer body.release()
			r.Body = http.MaxBytesReader(w, body, limit)
			r.Header.Del("Content-Encoding")
			r.Header.Del("Content-Length")
			r.ContentLength = -1
			next.ServeHTTP(w, r)
		})
	}
}

func openZstd(limit int64) func(io.Reader) (io.ReadCloser, error) {
	return func(r io.Reader) (io.ReadCloser, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(limit, 1<<20))+1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
}

// codedBody decodes a body as it is read.
type codedBody struct {
	source io.ReadCloser
	open   func(io.Reader) (io.ReadCloser, error)
	limit  int64
	plain  io.ReadCloser // nil until the first read
	failed error
}

// Read reads what the coding hides. Its errors are for the client.
func (b *codedBody) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	if b.plain == nil {
		plain, err := b.open(b.source)
		if err != nil {
			return 0, b.fail(err)
		}
		b.plain = plain
	}
	n, err := b.plain.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // readers return io.EOF itself
		err = b.fail(err)
	}
	return n, err
}

// fail turns an error of the decoder into one for the client; those of the connection and its limits pass.
func (b *codedBody) fail(err error) error {
	b.failed = err
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		b.failed = &http.MaxBytesError{Limit: b.limit} // it says beforehand how large it is
	case !passes(err):
		b.failed = fault.New(codes.InvalidArgument, "the body does not hold what its content coding says", fault.WithCause(err))
	}
	return b.failed
}

// Close closes the body.
func (b *codedBody) Close() error {
	b.release()
	return b.source.Close()
}

func (b *codedBody) release() {
	if b.plain != nil {
		_ = b.plain.Close() // it holds nothing but memory
		b.plain = nil
		b.failed = http.ErrBodyReadAfterClose
	}
}
