package translate_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// oneThen answers with one book, then ends with err and a trailer.
func oneThen(t *testing.T, d *upstream.Descriptors, err error) stub {
	t.Helper()
	return serving(func(c *call) error {
		c.trailer = metadata.Pairs("x-cost", "3", "x-sum-bin", "\x00\xff")
		if _, err := c.recv(); err != nil {
			return err
		}
		if err := c.send(message(t, method(t, d, "Watch").Output, `{"title":"A"}`)); err != nil {
			return err
		}
		return err
	})
}

// inGermanToo is a service's error with texts for users in two languages.
func inGermanToo(t *testing.T) error {
	t.Helper()
	s, err := status.New(codes.ResourceExhausted, "quota 7").WithDetails(
		&errdetails.LocalizedMessage{Locale: "en", Message: "That is enough for today."},
		&errdetails.LocalizedMessage{Locale: "de", Message: "Das reicht für heute."},
	)
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

// How a stream ends is told in the client's language and with the service's trailers, in every form.
func TestStreamEndings(t *testing.T) {
	t.Parallel()
	d := library(t)
	const problem = `"title":"Too Many Requests","status":429,"detail":"Das reicht für heute.","code":"RESOURCE_EXHAUSTED","retryable":true`
	const trailers = `"trailers":{"X-Cost":["3"],"X-Sum-Bin":["AP8="]}`
	for _, test := range []struct {
		name, accept string
		err          error
		want         string // of the end
	}{
		{"events that end", "text/event-stream", nil, "event: end\ndata: {" + trailers + "}\n\n"},
		{"events that fail", "text/event-stream", inGermanToo(t), "event: error\ndata: {\"type\":\"about:blank\"," + problem + "," + trailers + "}\n\n"},
		{"lines that end", "application/x-ndjson", nil, "{\"title\":\"A\"}\n"},
		{"lines that fail", "application/x-ndjson", inGermanToo(t), "{\"@error\":{\"type\":\"about:blank\"," + problem + "," + trailers + "}}\n"},
		{"an array that ends", "application/json", nil, "\n]\n"},
		{"an array that fails", "application/json", inGermanToo(t), ",{\"@error\":{\"type\":\"about:blank\"," + problem + "," + trailers + "}}]\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(router(t, d, oneThen(t, d, test.err)))
			defer server.Close()
			for _, te := range []string{"", "trailers"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+watchPath, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", test.accept)
				r.Header.Set("Accept-Language", "fr, de;q=0.9, en;q=0.8")
				if te != "" {
					r.Header.Set("TE", te)
				}
				res, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if got := text(t, res); !strings.HasSuffix(got, test.want) {
					t.Errorf("got %q\nwant an end %q", got, test.want)
				}
				// As HTTP trailers they come only to who asks for them (RFC 9110, section 6.5.1).
				if got := res.Trailer.Get("X-Cost") == "3" && res.Trailer.Get("X-Sum-Bin") == "AP8="; got != (te != "") {
					t.Errorf("TE %q: trailers %v", te, res.Trailer)
				}
			}
		})
	}
}

// So is how a WebSocket ends.
func TestSocketEnding(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), serving(func(*call) error { return inGermanToo(t) }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as the edge does
		rt.ServeHTTP(w, r.WithContext(request.NewContext(r.Context(), &request.Info{Header: r.Header})))
	}))
	defer server.Close()
	for language, want := range map[string]string{"de-CH, en;q=0.2": "Das reicht für heute.", "en": "That is enough for today."} {
		conn, _, err := websocket.Dial(t.Context(), server.URL+"/v1/books/moby:chat", &websocket.DialOptions{HTTPHeader: http.Header{"Accept-Language": {language}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, conn); !strings.Contains(got, want) {
			t.Errorf("%s: last frame %s", language, got)
		}
		_ = conn.CloseNow()
	}
}

// A stream that clients can come back to ends in the same way.
func TestResumeEndings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"well": {nil, `end {"trailers":{"X-Cost":["3"]}}`},
		"badly": {inGermanToo(t), `error {"type":"about:blank","title":"Too Many Requests","status":429,` +
			`"detail":"Das reicht für heute.","code":"RESOURCE_EXHAUSTED","retryable":true,"trailers":{"X-Cost":["3"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newResuming(t, brisk)
			client := s.watch(t, "ann", "", "Accept-Language", "de")
			c := <-s.calls
			s.say(t, c, "A")
			client.expect(t, "A")
			c.trailer = metadata.Pairs("x-cost", "3")
			s.end <- test.err
			client.expect(t, test.want)
			client.leave()
		})
	}
}

// What a service says beside an error that comes before anything else is passed on too, as it is where calls are unary.
func TestMetadataOfFailures(t *testing.T) {
	t.Parallel()
	d := library(t)
	header, trailer := metadata.Pairs("x-shelf", "7", "set-cookie", "a=b"), metadata.Pairs("x-cost", "3", "content-length", "1")
	rt := router(t, d, stub{
		invoke: func(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
			return upstream.Reply{Header: header, Trailer: trailer}, notFound()
		},
		open: serving(func(c *call) error {
			c.header, c.trailer = header, trailer
			return notFound()
		}).open,
	})
	for _, line := range []string{"GET /v1/books/moby", "GET " + watchPath} {
		r := do(t, rt, line, "", "Accept", "text/event-stream, application/json")
		if body := text(t, r); r.StatusCode != http.StatusNotFound || !strings.Contains(body, "no such book") {
			t.Errorf("%s: status %d, body %s", line, r.StatusCode, body)
		}
		if h := r.Header; h.Get("X-Shelf") != "7" || h.Get("X-Cost") != "3" || h.Get("Set-Cookie") != "" || h.Get("Content-Length") != "" {
			t.Errorf("%s: headers %v", line, h)
		}
	}
}

// A stream lasts for as long as its client has said at most; then it is told so, and the call is cancelled.
func TestStreamDeadline(t *testing.T) {
	t.Parallel()
	d := library(t)
	ended := make(chan time.Time, 10)
	server := httptest.NewServer(router(t, d, serving(func(c *call) error {
		req, err := c.recv()
		if err != nil {
			return err
		}
		if !strings.Contains(jsonOf(t, method(t, d, "Watch").Input, req), "silent") {
			if err := c.send(nil); err != nil {
				return err
			}
		}
		deadline, _ := c.ctx.Deadline()
		<-c.ctx.Done()
		ended <- deadline
		return c.ctx.Err()
	})))
	defer server.Close()
	for _, test := range []struct {
		path, accept string
		status       int
		want         string
	}{
		{watchPath, "text/event-stream", http.StatusOK, "data: {}\n\nevent: error\ndata: {"},
		{watchPath, "application/x-ndjson", http.StatusOK, "{}\n{\"@error\":{"},
		{watchPath, "", http.StatusOK, "[{}\n,{\"@error\":{"},
		{"/v1/books/silent:watch", "", http.StatusGatewayTimeout, `{"type":"about:blank"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.accept != "" {
			r.Header.Set("Accept", test.accept)
		}
		r.Header.Set("Grpc-Timeout", "200m")
		before := time.Now()
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, res)
		if res.StatusCode != test.status || !strings.HasPrefix(got, test.want) || !strings.Contains(got, `"code":"DEADLINE_EXCEEDED"`) {
			t.Errorf("%s: status %d, body %q", test.path, res.StatusCode, got)
		}
		if deadline := <-ended; deadline.Sub(before) < 200*time.Millisecond || deadline.After(time.Now()) {
			t.Errorf("%s: the service's deadline is %v after the request", test.path, deadline.Sub(before))
		}
	}
	for _, httpMethod := range []string{http.MethodGet, http.MethodHead} {
		r := do(t, router(t, d, stub{}), httpMethod+" "+watchPath, "", "Request-Timeout", "soon")
		if _ = text(t, r); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s with a junk timeout: status %d", httpMethod, r.StatusCode)
		}
	}
}

// So does a reader of a stream that others read too; the stream itself goes on.
func TestResumeDeadline(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	patient := s.watch(t, "ann", "")
	c := <-s.calls
	hurried := s.watch(t, "ann", "", "Request-Timeout", "0.1")
	if got := hurried.next(t); got.Type != "error" || !strings.Contains(got.Data, `"code":"DEADLINE_EXCEEDED"`) {
		t.Errorf("got %+v", got)
	}
	if rest, err := io.ReadAll(hurried.lines); err != nil || len(rest) > 0 {
		t.Errorf("after that: %q, %v", rest, err)
	}
	s.say(t, c, "A")
	patient.expect(t, "A")
	patient.leave()
}
