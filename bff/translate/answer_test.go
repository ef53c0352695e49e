package translate_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// answering is a Caller whose methods answer with JSON.
func answering(tb testing.TB, json string) stub {
	tb.Helper()
	return stub{invoke: func(_ context.Context, m *upstream.Method, _ []byte) (upstream.Reply, error) {
		return upstream.Reply{Message: message(tb, m.Output, json)}, nil
	}}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	d := library(t)
	books := `{"books":[{"title":"A","pages":1,"author":{"firstName":"X"}},{"title":"B"}],"nextPageToken":"n"}`
	book := `{"title":"A","author":{"firstName":"X","born":1}}`
	for _, test := range []struct {
		name, line, accept, json string
		want, contentType        string
	}{
		{"whole", "GET /v1/books", "", books, books, "application/json"},
		{"selected", "GET /v1/books?fields=nextPageToken,books(author/first_name,pages)", "", books, `{"nextPageToken":"n","books":[{"author":{"firstName":"X"},"pages":1},{}]}`, "application/json"},
		{"nothing set", "GET /v1/books", "", `{}`, `{}`, "application/json"},
		{"response_body list", "GET /v1/booklist", "", books, `[{"title":"A","pages":1,"author":{"firstName":"X"}},{"title":"B"}]`, "application/json"},
		{"response_body list selected", "GET /v1/booklist?fields=title", "", books, `[{"title":"A"},{"title":"B"}]`, "application/json"},
		{"response_body list not set", "GET /v1/booklist", "", `{}`, `[]`, "application/json"},
		{"response_body string", "GET /v1/titles/1", "", book, `"A"`, "application/json"},
		{"response_body string not set", "GET /v1/titles/1", "", `{}`, `""`, "application/json"},
		{"response_body message", "GET /v1/authors/1", "", book, `{"firstName":"X","born":1}`, "application/json"},
		{"response_body message not set", "GET /v1/authors/1", "", `{}`, `null`, "application/json"},
		{"protobuf", "GET /v1/books/1", "application/protobuf", `{"title":"A","pages":5}`, "\x12\x01A\x18\x05", "application/protobuf"},
		{"protobuf by weight", "GET /v1/books/1", "application/json;q=0.5, application/x-protobuf", `{"title":"A"}`, "\x12\x01A", "application/protobuf"},
		{"protobuf selected", "GET /v1/books/1?$fields=pages", "application/protobuf", `{"title":"A","pages":5}`, "\x18\x05", "application/protobuf"},
		{"protobuf of response_body", "GET /v1/authors/1", "application/protobuf", book, "\x0a\x01X\x10\x01", "application/protobuf"},
		{"protobuf of response_body selected", "GET /v1/authors/1?$fields=born", "application/protobuf", book, "\x10\x01", "application/protobuf"},
		{"HttpBody", "GET /v1/files/a", "", `{"contentType":"image/png","data":"AAE="}`, "\x00\x01", "image/png"},
		{"HttpBody whatever is accepted", "GET /v1/files/a", "text/html", `{"contentType":"image/png","data":"AAE="}`, "\x00\x01", "image/png"},
		{"HttpBody without a type", "GET /v1/files/a", "", `{"data":"AAE="}`, "\x00\x01", "application/octet-stream"},
		{"HttpBody with a bad type", "GET /v1/files/a", "", `{"contentType":"a\nb: c","data":"AAE="}`, "\x00\x01", "application/octet-stream"},
		{"a JSON value", "POST /v1/any", "", `[1,null,"x"]`, `[1,null,"x"]`, "application/json"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var header []string
			if test.accept != "" {
				header = []string{"Accept", test.accept}
			}
			r := do(t, router(t, d, answering(t, test.json)), test.line, "", header...)
			if got := text(t, r); got != test.want || r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != test.contentType {
				t.Errorf("status %d, %s\n got %q\nwant %q", r.StatusCode, r.Header.Get("Content-Type"), got, test.want)
			}
		})
	}
}

// The header X-Goog-FieldMask selects as the parameter does, of JSON and of protobuf; the parameter goes before it.
func TestFieldMaskHeader(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), answering(t, `{"title":"A","pages":5,"author":{"firstName":"X","born":1}}`))
	for _, test := range []struct{ line, accept, want string }{
		{"GET /v1/books/1", "application/json", `{"author":{"born":1},"title":"A"}`},
		{"GET /v1/books/1", "application/protobuf", "\x12\x01A\x22\x02\x10\x01"},
		{"GET /v1/books/1?$fields=pages", "application/json", `{"pages":5}`},
	} {
		r := do(t, rt, test.line, "", "Accept", test.accept, "X-Goog-FieldMask", "author.born,title")
		if got := text(t, r); got != test.want || r.StatusCode != http.StatusOK {
			t.Errorf("%s, %s: status %d, got %q, want %q", test.line, test.accept, r.StatusCode, got, test.want)
		}
	}
}

// Who sends protobuf and says nothing of answers gets protobuf.
func TestAnswerAsSent(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), echo())
	for contentType, body := range map[string]string{"application/protobuf": "\x12\x01A", "application/json": `{"title":"A"}`} {
		r := do(t, rt, "POST /v1/books", body, "Content-Type", contentType)
		if got := text(t, r); got != body || r.Header.Get("Content-Type") != contentType {
			t.Errorf("%s: got %q as %s", contentType, got, r.Header.Get("Content-Type"))
		}
	}
}

func TestConditional(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), answering(t, `{"title":"A"}`))
	first := do(t, rt, "GET /v1/books/1", "")
	tag := first.Header.Get("ETag")
	if !strings.HasPrefix(tag, `W/"`) || first.Header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("headers are %v", first.Header)
	}
	for header, status := range map[string]int{
		tag: 304, strings.TrimPrefix(tag, "W/"): 304, `"x", ` + tag: 304, "*": 304, `"a,b"` + "," + tag: 304,
		`"x"`: 200, `W/"x", "y"`: 200, "": 200, `"`: 200, strings.Trim(tag, `W/"`): 200,
	} {
		r := do(t, rt, "GET /v1/books/1", "", "If-None-Match", header)
		body := text(t, r)
		if r.StatusCode != status || (body == "") != (status == 304) || r.Header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: status %d, want %d", header, r.StatusCode, status)
		}
	}
	head := do(t, rt, "HEAD /v1/books/1", "")
	if head.Header.Get("Content-Length") != "13" || head.Header.Get("ETag") != tag {
		t.Errorf("headers of HEAD are %v", head.Header)
	}
	if other := do(t, rt, "GET /v1/books/1?$fields=pages", ""); other.Header.Get("ETag") == tag {
		t.Error("another selection has the same tag")
	}
	post := do(t, rt, "POST /v1/books", "{}", "If-None-Match", "*")
	if post.StatusCode != http.StatusOK || post.Header.Get("ETag") != "" || post.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("POST: status %d, headers %v", post.StatusCode, post.Header)
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	d := library(t)
	for _, test := range []struct {
		name      string
		freshness upstream.Freshness
		want      map[string]string
	}{
		{"fetched", upstream.Freshness{}, map[string]string{"Cache-Control": "private, no-cache", "Age": "", "Cache-Status": "", "Vary": "Accept, X-Goog-FieldMask, Authorization"}},
		{
			"hit",
			upstream.Freshness{Source: upstream.Hit, Age: 20 * time.Second, MaxAge: 10 * time.Second, Public: true},
			map[string]string{"Cache-Control": "public, max-age=30", "Age": "20", "Cache-Status": "portico; hit; ttl=10", "Vary": "Accept, X-Goog-FieldMask"},
		},
		{
			"private",
			upstream.Freshness{MaxAge: 10 * time.Second},
			map[string]string{"Cache-Control": "private, max-age=10", "Age": ""},
		},
		{"coalesced", upstream.Freshness{Source: upstream.Coalesced}, map[string]string{"Cache-Status": "portico; fwd=miss; collapsed"}},
		{"stale", upstream.Freshness{Source: upstream.Stale, Age: time.Minute}, map[string]string{"Cache-Status": "portico; hit; detail=stale"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rt := router(t, d, stub{invoke: func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
				return upstream.Reply{Freshness: test.freshness}, nil
			}})
			r := do(t, rt, "GET /v1/books/1", "")
			for name, want := range test.want {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), stub{invoke: func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{
			Header: metadata.Pairs("x-shelf", "1", "x-shelf", "2", "x-raw-bin", "\x00\xff", "content-type", "application/grpc",
				"transfer-encoding", "chunked", "connection", "close", "set-cookie", "a=b", "grpc-status", "0"),
			Trailer: metadata.Pairs("x-cost", "3"),
		}, nil
	}})
	r := do(t, rt, "GET /v1/books/1", "")
	if got := r.Header.Values("X-Shelf"); len(got) != 2 || r.Header.Get("X-Raw-Bin") != "AP8=" || r.Header.Get("X-Cost") != "3" {
		t.Errorf("headers are %v", r.Header)
	}
	for _, name := range []string{"Transfer-Encoding", "Connection", "Set-Cookie", "Grpc-Status"} {
		if r.Header.Get(name) != "" {
			t.Errorf("the service's %s reaches the client", name)
		}
	}
	if r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", r.Header.Get("Content-Type"))
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	d := library(t)
	for _, test := range []struct {
		name   string
		reply  upstream.Reply
		err    error
		status int
		want   string
	}{
		{"not found", upstream.Reply{}, status.Error(codes.NotFound, "no such book"), 404, `"detail":"no such book"`},
		{"internal", upstream.Reply{}, status.Error(codes.Internal, "secret"), 500, `"code":"INTERNAL"`},
		{"no status", upstream.Reply{}, errors.New("secret"), 500, `"code":"INTERNAL"`},
		{"malformed answer", upstream.Reply{Message: []byte{0x12, 9}}, nil, 500, `"code":"INTERNAL"`},
		{"not UTF-8", upstream.Reply{Message: []byte{0x12, 1, 0xff}}, nil, 500, `"code":"INTERNAL"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rt := router(t, d, stub{invoke: func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) { return test.reply, test.err }})
			r := do(t, rt, "GET /v1/books/1", "")
			if body := text(t, r); r.StatusCode != test.status || !strings.Contains(body, test.want) || strings.Contains(body, "secret") {
				t.Errorf("status %d, body %s", r.StatusCode, body)
			}
		})
	}
}

// Many selections are compiled, but few are kept; all are right.
func TestManySelections(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), answering(t, `{"title":"A","pages":5}`))
	for i := range 500 {
		r := do(t, rt, "GET /v1/books/1?$fields=title"+strings.Repeat(",title", i), "")
		if got := text(t, r); got != `{"title":"A"}` {
			t.Fatalf("got %s", got)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), echo())
	r := do(t, rt, "OPTIONS /v1/books/1", "")
	if r.StatusCode != http.StatusNoContent || r.Header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PUT" {
		t.Errorf("status %d, allow %q", r.StatusCode, r.Header.Get("Allow"))
	}
	r = do(t, rt, "PATCH /v1/books/1", "")
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PUT" {
		t.Errorf("status %d, allow %q", r.StatusCode, r.Header.Get("Allow"))
	}
	if r := do(t, rt, "OPTIONS /v1/nothing", ""); r.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestDownloadParts(t *testing.T) {
	t.Parallel()
	d := library(t)
	part := func(json string) []byte { return message(t, method(t, d, "DownloadParts").Output, json) }
	serve := func(err error) stub {
		return serving(func(c *call) error {
			if _, err := c.recv(); err != nil {
				return err
			}
			for _, json := range []string{`{"contentType":"text/csv","data":"YSxi"}`, `{"data":"LGM="}`} {
				if err := c.send(part(json)); err != nil {
					return err
				}
			}
			return err
		})
	}
	r := do(t, router(t, d, serve(nil)), "GET /v1/files/a:parts", "")
	if body := text(t, r); body != "a,b,c" || r.Header.Get("Content-Type") != "text/csv" {
		t.Errorf("%s %q", r.Header.Get("Content-Type"), body)
	}
	// A download that breaks must not look whole.
	server := httptest.NewServer(router(t, d, serve(notFound())))
	defer server.Close()
	server.Config.ErrorLog = nil
	broken := get(t.Context(), t, server.URL+"/v1/files/a:parts", "")
	defer broken.Body.Close()
	buf := make([]byte, 100)
	var err error
	for err == nil {
		_, err = broken.Body.Read(buf)
	}
	if err.Error() != "unexpected EOF" {
		t.Errorf("a broken download ends with %v", err)
	}
}

func TestEqualRoutes(t *testing.T) {
	t.Parallel()
	d := library(t)
	rules, err := translate.Config{Rules: []translate.Rule{
		{Selector: libraryService + ".Hidden", At: "bff.yaml:12:7", Binding: translate.Binding{Get: "/v1/books/{name}"}},
	}}.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = translate.New(d.Methods(libraryService), translate.Options{Caller: echo(), Rules: rules})
	want := "test.library.v1.Library/GetBook (GET /v1/books/{name}) and test.library.v1.Library/Hidden (GET /v1/books/{name}, by http.rules of the configuration at bff.yaml:12:7) match the same requests"
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

// Of equal routes both places are told.
func TestEqualRoutesPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.proto": `syntax = "proto3";
package zoo;
import "google/api/annotations.proto";
service A {
  rpc Get(M) returns (M) { option (google.api.http) = {get: "/v1/{id=animals/*}"}; }
}
message M { string id = 1; }`,
		"b/b.proto": `syntax = "proto3";
package zoo;
import "a.proto";
import "google/api/annotations.proto";
// B is another service.
service B {

  rpc Other(M) returns (M) { option (google.api.http) = {post: "/v1/x" additional_bindings {get: "/v1/animals/{id}"}}; }
}`,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := upstream.Load([]upstream.DescriptorSource{{Protos: dir}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = translate.New(append(d.Methods("zoo.A"), d.Methods("zoo.B")...), translate.Options{Caller: echo()})
	const want = "zoo.A/Get (GET /v1/{id=animals/*}, declared at a.proto:5:3) and zoo.B/Other (GET /v1/animals/{id}, declared at b/b.proto:8:3) match the same requests"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func BenchmarkGetOrder(b *testing.B) {
	d := library(b)
	msg := message(b, method(b, d, "GetBook").Output, `{"name":"shelves/1/books/2","title":"A long title","pages":300,"author":{"firstName":"Ann","born":1900},"tags":["a","b","c"],"isbn":"9780000000000"}`)
	rt := router(b, d, stub{invoke: func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
		return upstream.Reply{Message: msg}, nil
	}})
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v1/books/2", nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		rt.ServeHTTP(w, r)
	}
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
