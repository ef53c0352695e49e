package translate_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/portico-bff/portico/bff/translate"
)

// The properties, whatever a client sends: nothing panics; a request is never our fault (no status of 500 and above);
// an answer that is no success is a problem document or says which methods there are.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, target, contentType, body string }{
		{"GET", "/v1/echo?a_int32=5&strings=a&book.author.born=1", "", ""},
		{"GET", "/v1/shelves/1%2F2/books/3?fields=name", "", ""},
		{"POST", "/v1/echo/5", "application/json", `{"aString":"x","labels":{"a":"b"},"left":"l"}`},
		{"PATCH", "/v1/shelves/1/books/2?updateMask=a,b", "application/protobuf", "\x12\x01T"},
		{"POST", "/v1/shelves/1/books/2:tag", "application/json", `["x"]`},
		{"OPTIONS", "/v1/books/1", "", ""},
		{"POST", "/v1/any", "", `{"a":{"b":[1]}}`},
		{"GET", "/v1/echo/time/2026-11-23T10:00:00Z?$fields=a_time", "", ""},
	} {
		f.Add(seed.method, seed.target, seed.contentType, seed.body)
	}
	d := library(f)
	rt, err := translate.New(d.Methods(libraryService), translate.Options{Caller: echo(), Resolver: d.Types()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{
			Method: method, URL: u, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Body: http.NoBody,
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if body != "" {
			r.Body = readCloser{strings.NewReader(body)}
			r.ContentLength = int64(len(body))
		}
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("%s %s: status %d, %s", method, target, w.Code, w.Body)
		}
		if w.Code >= http.StatusBadRequest && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: status %d with %s", method, target, w.Code, w.Header().Get("Content-Type"))
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
