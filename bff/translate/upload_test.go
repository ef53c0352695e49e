package translate_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// storing takes uploads: it answers with how many bytes came, and tells every message.
func storing(t *testing.T, d *upstream.Descriptors, name string, err error, each func(json string)) stub {
	t.Helper()
	m := method(t, d, name)
	return serving(func(c *call) error {
		c.header, c.trailer = metadata.Pairs("x-shelf", "7"), metadata.Pairs("x-cost", "3")
		for {
			req, recvErr := c.recv()
			switch {
			case errors.Is(recvErr, io.EOF) && err == nil:
				return c.send(message(t, m.Output, `{"title":"stored","pages":4}`))
			case recvErr != nil:
				return recvErr
			}
			each(jsonOf(t, m.Input, req))
			if err != nil {
				return err
			}
		}
	})
}

// The parts of an upload become messages as they come, each with its type and what path and query bind.
func TestUploadParts(t *testing.T) {
	t.Parallel()
	d := library(t)
	for _, test := range []struct {
		name, line, method string
		parts              []string
		header             []string
		err                error
		want               []string
		status             int
		answer             string
	}{
		{
			name: "in a field", line: "POST /v1/files/a%2Fb:store", method: "Store", parts: []string{"one", "two"}, header: []string{"Content-Type", "image/png"},
			want: []string{
				`{"name":"a/b","file":{"contentType":"image/png","data":"b25l"}}`,
				`{"name":"a/b","file":{"contentType":"image/png","data":"dHdv"}}`,
			}, status: 200, answer: `{"title":"stored","pages":4}`,
		},
		{
			name: "as all of the message", line: "PUT /v1/raw?fields=pages", method: "StoreRaw", parts: []string{"one"},
			want: []string{`{"data":"b25l"}`}, status: 200, answer: `{"pages":4}`,
		},
		{
			name: "without data", line: "POST /v1/files/a:store", method: "Store",
			want: []string{`{"name":"a","file":{}}`}, status: 200, answer: `{"title":"stored","pages":4}`,
		},
		{
			name: "the answer in protobuf", line: "POST /v1/files/a:store?fields=pages", method: "Store", header: []string{"Accept", "application/protobuf"},
			want: []string{`{"name":"a","file":{}}`}, status: 200, answer: "\x18\x04",
		},
		{
			name: "refused by the service", line: "POST /v1/files/a:store", method: "Store", parts: []string{"one", "two", "three"}, err: notFound(),
			want: []string{`{"name":"a","file":{"data":"b25l"}}`}, status: 404, answer: `"detail":"no such book"`,
		},
		{name: "an unknown parameter", line: "POST /v1/files/a:store?nope=1", method: "Store", status: 400, answer: `nope`},
		{name: "a coding", line: "PUT /v1/raw", method: "StoreRaw", parts: []string{"x"}, header: []string{"Content-Encoding", "lzma"}, status: 415, answer: `lzma`},
		{name: "no time", line: "PUT /v1/raw", method: "StoreRaw", parts: []string{"x"}, header: []string{"Request-Timeout", "x"}, status: 400, answer: `Request-Timeout`},
		{name: "no type", line: "PUT /v1/raw", method: "StoreRaw", header: []string{"Content-Type", "image/\xff"}, status: 400, answer: `the Content-Type is not UTF-8`},
		{name: "no form of the answer", line: "PUT /v1/raw", method: "StoreRaw", header: []string{"Accept", "image/png"}, status: 406, answer: `acceptable`},
		{name: "too large", line: "PUT /v1/raw", method: "StoreRaw", parts: []string{strings.Repeat("x", 2000)}, status: 413, answer: `larger than 1000 bytes`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			seen := make(chan string, 10)
			rt, err := translate.New(d.Methods(libraryService), translate.Options{
				Caller: storing(t, d, test.method, test.err, func(json string) { seen <- json }), Resolver: d.Types(), MaxBody: 1000,
			})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(rt)
			defer server.Close()
			reader, writer := io.Pipe()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i, part := range test.parts {
					if _, err := io.WriteString(writer, part); err != nil {
						return
					}
					if len(test.want) > 0 && i < len(test.want) {
						got = append(got, <-seen) // before the next part is even sent
					}
				}
				_ = writer.Close()
			}()
			httpMethod, target, _ := strings.Cut(test.line, " ")
			r, err := http.NewRequestWithContext(t.Context(), httpMethod, server.URL+target, reader)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+1 < len(test.header); i += 2 {
				r.Header.Set(test.header[i], test.header[i+1])
			}
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body := text(t, res)
			_ = reader.Close()
			<-sent
			for len(seen) > 0 {
				got = append(got, <-seen)
			}
			if res.StatusCode != test.status || !strings.Contains(body, test.answer) || res.StatusCode == http.StatusOK && body != test.answer {
				t.Errorf("status %d, body %s", res.StatusCode, body)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("the service saw %q, want %q", got, test.want)
			}
			if test.want != nil && (res.Header.Get("X-Shelf") != "7" || res.Header.Get("X-Cost") != "3") {
				t.Errorf("headers are %v", res.Header)
			}
		})
	}
}

// A service owes an upload one answer.
func TestUploadMiscounted(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]int{"none": 0, "two": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := router(t, library(t), serving(func(c *call) error {
				for {
					if _, err := c.recv(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						return err
					}
				}
				for range answers {
					if err := c.send(nil); err != nil {
						return err
					}
				}
				return nil
			}))
			r := do(t, rt, "PUT /v1/raw", "data")
			if body := text(t, r); r.StatusCode != http.StatusInternalServerError || !strings.Contains(body, `"code":"INTERNAL"`) {
				t.Errorf("status %d, body %s", r.StatusCode, body)
			}
		})
	}
}

// A service that answers an upload not just once is at fault.
func TestUploadAnswers(t *testing.T) {
	t.Parallel()
	for answers, want := range map[int]int{0: http.StatusInternalServerError, 1: http.StatusOK, 2: http.StatusInternalServerError} {
		rt := router(t, library(t), serving(func(c *call) error {
			for {
				if _, err := c.recv(); err != nil {
					break
				}
			}
			for range answers {
				if err := c.send(nil); err != nil {
					return err
				}
			}
			return nil
		}))
		if r := do(t, rt, "PUT /v1/raw", "x"); r.StatusCode != want {
			t.Errorf("%d answers: status %d, body %s", answers, r.StatusCode, text(t, r))
		}
	}
}

// broken is a body that breaks off.
type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Of an upload that breaks off the service is not told that it was all: its call is cancelled.
func TestUploadBreaksOff(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	rt := router(t, library(t), serving(func(c *call) error {
		for {
			if _, err := c.recv(); err != nil {
				ended <- err
				return err
			}
		}
	}))
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/raw", broken{strings.NewReader("half")})
	r.ContentLength = 8
	rt.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "the body ends too early") {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
	if err := <-ended; errors.Is(err, io.EOF) {
		t.Error("the service takes the half for the whole")
	}
}

// Methods whose messages are no data, and those that answer with a stream, take no uploads: they speak WebSocket.
func TestNoUpload(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), stub{})
	for _, line := range []string{"POST /v1/books:collect", "GET /ws/test.library.v1.Library/StoreRaw"} {
		if r := do(t, rt, line, "{}"); r.StatusCode != http.StatusUpgradeRequired || r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%s: status %d, headers %v", line, r.StatusCode, r.Header)
		}
	}
}

// endless is data without end that counts how much of it is read.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// A service that does not take the parts of an upload holds the client back: what is read ahead is one part.
func TestUploadBackPressure(t *testing.T) {
	t.Parallel()
	d := library(t)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{
		Caller: serving(func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() }), Resolver: d.Types(), MaxBody: 1 << 40,
	})
	if err != nil {
		t.Fatal(err)
	}
	var body endless
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/raw", &body)
	r.Header.Set("Request-Timeout", "0.3")
	w := httptest.NewRecorder()
	rt.ServeHTTP(w, r)
	if w.Code != http.StatusGatewayTimeout {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
	if n := body.read.Load(); n > 128<<10 {
		t.Errorf("%d bytes were read for a service that takes none", n)
	}
}

// A client that does not read its download, or its stream of any other form, holds the service back: no more than what
// sockets and two messages hold is under way.
func TestStreamBackPressure(t *testing.T) {
	t.Parallel()
	d := library(t)
	const size = 64 << 10
	data := bytes.Repeat([]byte("x"), size)
	for _, test := range []struct{ path, accept string }{
		{"/v1/files/a:parts", ""},
		{watchPath, ""},
		{watchPath, "application/x-ndjson"},
		{watchPath, "text/event-stream"},
	} {
		t.Run(test.path+" "+test.accept, func(t *testing.T) {
			t.Parallel()
			taken := make(chan int, 1)
			server := httptest.NewServer(router(t, d, serving(func(c *call) error {
				if _, err := c.recv(); err != nil {
					return err
				}
				// Field 2 is the data of a download and the title of a book.
				part := append([]byte("\x12\x80\x80\x04"), data...)
				for i := range 10000 {
					select {
					case c.answers <- part:
					case <-time.After(500 * time.Millisecond):
						taken <- i
						<-c.ctx.Done()
						return c.ctx.Err()
					}
				}
				taken <- 10000
				return nil
			})))
			defer server.Close()
			r := get(t.Context(), t, server.URL+test.path, test.accept)
			defer r.Body.Close()
			if n := <-taken; n*size > 32<<20 {
				t.Errorf("%d messages of %d bytes were taken for a client that reads none", n, size)
			}
			if n, err := io.CopyN(io.Discard, r.Body, 2*size); err != nil {
				t.Errorf("what is under way breaks off after %d bytes: %v", n, err)
			}
		})
	}
}
