package edge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/fault"
)

func decode(t *testing.T, coding string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	switch coding {
	case "zstd":
		d, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r = d
	case "br":
		r = brotli.NewReader(r)
	case "gzip":
		g, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = g
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(out)
}

func encode(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "zstd":
		e, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = e
	case "br":
		w = brotli.NewWriter(&out)
	case "gzip":
		w = gzip.NewWriter(&out)
	default:
		return body
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompressed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("all work and no play ", 100)
	for _, test := range []struct {
		name, accept string
		handler      http.HandlerFunc
		coding       string
	}{
		{"nothing accepted", "", answer("application/json", long), ""},
		{"zstd first", "gzip, br, zstd", answer("application/json", long), "zstd"},
		{"br", "gzip, deflate, br", answer("application/json", long), "br"},
		{"gzip", "gzip", answer("text/html; charset=utf-8", long), "gzip"},
		{"by weight", "zstd;q=0.1, gzip;q=0.9", answer("application/problem+json", long), "gzip"},
		{"any", "*", answer("application/protobuf", long), "zstd"},
		{"none", "gzip;q=0, *;q=0", answer("application/json", long), ""},
		{"identity", "identity", answer("application/json", long), ""},
		{"small", "gzip", answer("application/json", "{}"), ""},
		{"image", "gzip", answer("image/png", long), ""},
		{"events", "gzip", answer("text/event-stream", long), ""},
		{"in parts", "gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, long[:1000])
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, long[1000:])
		}, "gzip"},
		{"no-transform", "gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store, no-transform")
			answer("application/json", long)(w, r)
		}, ""},
		{"has a coding", "gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "identity")
			answer("application/json", long)(w, r)
		}, "identity"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var header []string
			if test.accept != "" {
				header = []string{"Accept-Encoding", test.accept}
			}
			h := behind(edge.Config{}, stub{}, test.handler)
			for range 3 { // compressors are used again
				r := h.do(t, "GET /x", "", header...)
				body := []byte(text(t, r))
				if got := r.Header.Get("Content-Encoding"); got != test.coding {
					t.Fatalf("coding %q, want %q", got, test.coding)
				}
				if got := decode(t, test.coding, body); got != long && got != "{}" {
					t.Errorf("body is %q", got)
				}
				if r.Header.Get("Vary") != "Accept-Encoding" || test.coding == "gzip" && r.Header.Get("Content-Length") != "" {
					t.Errorf("headers are %v", r.Header)
				}
			}
		})
	}
}

func TestCompressedWithoutBody(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified, http.StatusOK} {
		h := behind(edge.Config{}, stub{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		r := h.do(t, "GET /x", "", "Accept-Encoding", "gzip")
		if r.StatusCode != status || r.Header.Get("Content-Encoding") != "" || text(t, r) != "" {
			t.Errorf("status %d, want %d; headers %v", r.StatusCode, status, r.Header)
		}
	}
}

func answer(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

func TestDecompressed(t *testing.T) {
	t.Parallel()
	read := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			fault.WriteProblem(w, r, err)
			return
		}
		if r.Header.Get("Content-Encoding") != "" || r.ContentLength != -1 {
			t.Errorf("the handler sees headers %v, length %d", r.Header, r.ContentLength)
		}
		_, _ = w.Write(body)
	}
	for _, coding := range []string{"zstd", "br", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			t.Parallel()
			h := behind(edge.Config{Body: 1 << 20}, stub{}, read)
			r := h.do(t, "POST /x", string(encode(t, coding, []byte("hello"))), "Content-Encoding", coding)
			if got := text(t, r); got != "hello" || r.StatusCode != http.StatusOK {
				t.Errorf("status %d, body %q", r.StatusCode, got)
			}
			bomb := encode(t, coding, make([]byte, 16<<20))
			if len(bomb) > 1<<20 {
				t.Fatalf("the bomb has %d bytes", len(bomb))
			}
			r = h.do(t, "POST /x", string(bomb), "Content-Encoding", coding)
			if r.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("bomb: status %d, body %s", r.StatusCode, text(t, r))
			}
			whole := encode(t, coding, []byte(strings.Repeat("hello", 1000)))
			for _, broken := range []string{"garbage that is no " + coding, string(whole[:len(whole)/2])} {
				r = h.do(t, "POST /x", broken, "Content-Encoding", coding)
				var problem fault.Problem
				if err := json.Unmarshal([]byte(text(t, r)), &problem); err != nil || problem.Status != http.StatusBadRequest {
					t.Errorf("broken body: problem %+v, %v", problem, err)
				}
			}
		})
	}
	h := behind(edge.Config{}, stub{}, read)
	r := h.do(t, "POST /x", "x", "Content-Encoding", "gzip, br")
	if r.StatusCode != http.StatusUnsupportedMediaType || r.Header.Get("Accept-Encoding") != "zstd, br, gzip" {
		t.Errorf("status %d, headers %v", r.StatusCode, r.Header)
	}
}
