package edge

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// minCompressed is the smallest body that is worth compressing.
const minCompressed = 256

// compressed compresses answers, in the coding that the client likes best: zstd, br or gzip. Left alone are answers that
// are small, that say no-transform (streams do: a compressor would hold their messages back), that have a coding already,
// and those of types that are compressed by themselves.
func compressed(next http.Handler) http.Handler {
	pools := newCompressors()
	vary := []string{"Accept-Encoding"} // answers share it; nobody changes it in place
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead || len(r.Header["Upgrade"]) > 0 {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		if len(h["Vary"]) == 0 {
			h["Vary"] = vary
		} else {
			h.Add("Vary", vary[0])
		}
		coding := preferred(r.Header["Accept-Encoding"])
		if coding == "" {
			next.ServeHTTP(w, r)
			return
		}
		c := &compressor{ResponseWriter: w, coding: coding, pools: pools}
		defer c.close()
		next.ServeHTTP(c, r)
	})
}

// preferred chooses a coding; empty for none (RFC 9110, section 12.5.3).
func preferred(accept []string) string {
	if len(accept) == 0 {
		return ""
	}
	weights := map[string]float64{}
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") {
			name, param, _ := strings.Cut(part, ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
				parsed, err := strconv.ParseFloat(q, 64)
				if err != nil {
					continue
				}
				weight = parsed
			}
			weights[strings.ToLower(strings.TrimSpace(name))] = weight
		}
	}
	best, bestWeight := "", 0.0
	for _, coding := range []string{"zstd", "br", "gzip"} {
		weight, named := weights[coding]
		if !named {
			weight = weights["*"]
		}
		if weight > bestWeight {
			best, bestWeight = coding, weight
		}
	}
	return best
}

// compressors holds compressors that nobody uses at the moment.
type compressors struct{ zstd, br, gzip sync.Pool }

// flusher is what all compressors are.
type flusher interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

func newCompressors() *compressors {
	return &compressors{
		zstd: sync.Pool{New: func() any {
			// The options are right, so there is no error; a nil one would be noticed by get.
			e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
			return e
		}},
		br:   sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, 4) }},
		gzip: sync.Pool{New: func() any { return gzip.NewWriter(nil) }},
	}
}

func (c *compressors) pool(coding string) *sync.Pool {
	switch coding {
	case "zstd":
		return &c.zstd
	case "br":
		return &c.br
	default:
		return &c.gzip
	}
}

// compressor decides with the first part of the body whether to compress it.
type compressor struct {
	http.ResponseWriter
	coding  string
	pools   *compressors
	status  int
	decided bool
	to      flusher // nil: nothing is compressed
}

// Unwrap lets [http.ResponseController] reach the connection.
func (c *compressor) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader notes the status; it is sent when it is clear what the body will be.
func (c *compressor) WriteHeader(status int) {
	if c.decided || c.status != 0 || status < http.StatusOK {
		c.ResponseWriter.WriteHeader(status)
		return
	}
	c.status = status
	if status == http.StatusNoContent || status == http.StatusNotModified {
		c.decide(0)
	}
}

// Write writes a part of the body.
func (c *compressor) Write(p []byte) (int, error) {
	if !c.decided {
		c.decide(len(p))
	}
	if c.to != nil {
		return c.to.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

// FlushError sends what was written so far.
func (c *compressor) FlushError() error {
	if !c.decided {
		c.decide(0)
	}
	if c.to != nil {
		if err := c.to.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Flush is FlushError, for handlers that look for an [http.Flusher].
func (c *compressor) Flush() { _ = c.FlushError() }

// decide looks at the head of the answer and the size of its first part.
func (c *compressor) decide(first int) {
	c.decided = true
	h := c.Header()
	size := first
	if length, err := strconv.Atoi(h.Get("Content-Length")); err == nil {
		size = length
	}
	if size >= minCompressed && h.Get("Content-Encoding") == "" && h.Get("Content-Range") == "" &&
		!strings.Contains(h.Get("Cache-Control"), "no-transform") && compressible(h.Get("Content-Type")) {
		if to, ok := c.pools.pool(c.coding).Get().(flusher); ok && to != nil {
			to.Reset(c.ResponseWriter)
			c.to = to
			h.Set("Content-Encoding", c.coding)
			h.Del("Content-Length")
		}
	}
	if c.status != 0 {
		c.ResponseWriter.WriteHeader(c.status)
	}
}

// close ends the body.
func (c *compressor) close() {
	if !c.decided && c.status != 0 {
		c.decide(0)
	}
	if c.to == nil {
		return
	}
	_ = c.to.Close() // a client that has left is nobody's error
	c.to.Reset(nil)
	c.pools.pool(c.coding).Put(c.to)
	c.to = nil
}

// compressible reports whether bodies of a type gain from compression.
func compressible(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case strings.HasPrefix(media, "text/"):
		return media != "text/event-stream"
	case strings.HasSuffix(media, "+json"), strings.HasSuffix(media, "+xml"):
		return true
	}
	switch media {
	case "application/json", "application/javascript", "application/protobuf", "application/graphql-response+json",
		"application/xml", "application/wasm", "image/svg+xml":
		return true
	}
	return false
}
