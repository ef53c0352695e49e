package translate_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

func TestStreamForms(t *testing.T) {
	t.Parallel()
	d := library(t)
	book := method(t, d, "Watch").Output
	for _, test := range []struct {
		name, accept, want, contentType string
		titles                          []string
		err                             error
	}{
		{
			"events", "text/event-stream", "data: {\"title\":\"A\"}\n\ndata: {\"title\":\"B\"}\n\nevent: end\ndata: {}\n\n",
			"text/event-stream",
			[]string{"A", "B"},
			nil,
		},
		{"no event", "text/event-stream", "event: end\ndata: {}\n\n", "text/event-stream", nil, nil},
		{
			"events and an error", "application/json;q=0.1, text/event-stream", "data: {\"title\":\"A\"}\n\nevent: error\ndata: {\"type\":\"about:blank\"," +
				"\"title\":\"Not Found\",\"status\":404,\"detail\":\"no such book\",\"code\":\"NOT_FOUND\",\"retryable\":false}\n\n",
			"text/event-stream",
			[]string{"A"},
			notFound(),
		},
		{"lines", "application/x-ndjson", "{\"title\":\"A\"}\n{\"title\":\"B\"}\n", "application/x-ndjson", []string{"A", "B"}, nil},
		{
			"lines and an error", "application/x-ndjson", "{\"title\":\"A\"}\n{\"@error\":{\"type\":\"about:blank\"," +
				"\"title\":\"Not Found\",\"status\":404,\"detail\":\"no such book\",\"code\":\"NOT_FOUND\",\"retryable\":false}}\n",
			"application/x-ndjson",
			[]string{"A"},
			notFound(),
		},
		{"array", "", "[{\"title\":\"A\"}\n,{\"title\":\"B\"}\n]\n", "application/json", []string{"A", "B"}, nil},
		{"empty array", "application/json", "[]\n", "application/json", nil, nil},
		{
			"array and an error", "*/*", "[{\"title\":\"A\"}\n,{\"@error\":{\"type\":\"about:blank\"," +
				"\"title\":\"Not Found\",\"status\":404,\"detail\":\"no such book\",\"code\":\"NOT_FOUND\",\"retryable\":false}}]\n",
			"application/json",
			[]string{"A"},
			notFound(),
		},
		{
			"an error at once", "text/event-stream", "{\"type\":\"about:blank\"," +
				"\"title\":\"Not Found\",\"status\":404,\"detail\":\"no such book\",\"code\":\"NOT_FOUND\",\"retryable\":false}",
			"application/problem+json", nil, notFound(),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			requests := make(chan string, 1)
			rt := router(t, d, serving(func(c *call) error {
				c.header = metadata.Pairs("x-shelf", "7", "content-type", "application/grpc")
				req, err := c.recv()
				if err != nil {
					return err
				}
				requests <- jsonOf(t, method(t, d, "Watch").Input, req)
				for _, title := range test.titles {
					if err := c.send(message(t, book, `{"title":"`+title+`"}`)); err != nil {
						return err
					}
				}
				return test.err
			}))
			var accept []string
			if test.accept != "" {
				accept = []string{"Accept", test.accept}
			}
			r := do(t, rt, "GET /v1/books/moby:watch?revision=3", "", accept...)
			if got := text(t, r); got != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
			if got := r.Header.Get("Content-Type"); got != test.contentType {
				t.Errorf("content type %q, want %q", got, test.contentType)
			}
			if got := <-requests; got != `{"name":"moby","revision":3}` {
				t.Errorf("the service saw %s", got)
			}
			if r.StatusCode == http.StatusOK && r.Header.Get("X-Shelf") != "7" {
				t.Errorf("headers are %v", r.Header)
			}
		})
	}
}

// A message that cannot be rendered is an error, with a status of its own if it is the first.
func TestStreamMalformedMessage(t *testing.T) {
	t.Parallel()
	d := library(t)
	book := method(t, d, "Watch").Output
	for _, test := range []struct {
		path, accept string
		before       int
		status       int
		want         string
	}{
		{watchPath, "text/event-stream", 0, http.StatusInternalServerError, `{"type":"about:blank"`},
		{watchPath, "text/event-stream", 1, http.StatusOK, "data: {\"title\":\"A\"}\n\nevent: error\ndata: {"},
		{watchPath, "*/*", 0, http.StatusInternalServerError, `{"type":"about:blank"`},
		{watchPath, "*/*", 1, http.StatusOK, "[{\"title\":\"A\"}\n,{\"@error\":{"},
		{"/v1/files/a:parts", "*/*", 0, http.StatusInternalServerError, `{"type":"about:blank"`},
	} {
		rt := router(t, d, serving(func(c *call) error {
			if _, err := c.recv(); err != nil {
				return err
			}
			for range test.before {
				if err := c.send(message(t, book, `{"title":"A"}`)); err != nil {
					return err
				}
			}
			return c.send([]byte{0xff})
		}))
		r := do(t, rt, "GET "+test.path, "", "Accept", test.accept)
		if body := text(t, r); r.StatusCode != test.status || !strings.HasPrefix(body, test.want) || !strings.Contains(body, `"code":"INTERNAL"`) {
			t.Errorf("%s as %q: status %d, body %s", test.path, test.accept, r.StatusCode, body)
		}
	}
}

// Each message arrives while the service has not even made the next one, in every form, and a client that leaves
// cancels the call within 100 ms.
func TestStreamFlushAndLeave(t *testing.T) {
	t.Parallel()
	d := library(t)
	for accept, want := range map[string][]string{
		"text/event-stream":    {"data: {\"title\":\"A\"}\n", "\n", "data: {\"title\":\"B\"}\n", "\n", "data: {\"title\":\"C\"}\n"},
		"application/x-ndjson": {"{\"title\":\"A\"}\n", "{\"title\":\"B\"}\n", "{\"title\":\"C\"}\n"},
		"application/json":     {"[{\"title\":\"A\"}\n", ",{\"title\":\"B\"}\n", ",{\"title\":\"C\"}\n"},
	} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 10)
			cancelled := make(chan time.Time, 1)
			server := httptest.NewServer(router(t, d, serving(func(c *call) error {
				if _, err := c.recv(); err != nil {
					return err
				}
				for _, title := range []string{"A", "B", "C"} {
					if err := c.send(message(t, method(t, d, "Watch").Output, `{"title":"`+title+`"}`)); err != nil {
						return err
					}
					select {
					case <-arrived:
					case <-c.ctx.Done(): // the client is as quick as we are
					}
				}
				<-c.ctx.Done()
				cancelled <- time.Now()
				return c.ctx.Err()
			})))
			defer server.Close()
			leavesInTime(t, cancelled, func() (leave func()) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				r := get(ctx, t, server.URL+watchPath, accept)
				lines := bufio.NewReader(r.Body)
				for _, line := range want {
					got, err := lines.ReadString('\n')
					if err != nil || got != line {
						t.Fatalf("line %q, want %q, %v", got, line, err)
					}
					if line != "\n" {
						arrived <- struct{}{}
					}
				}
				return func() {
					cancel()
					r.Body.Close()
				}
			})
		})
	}
}

// leavesInTime lets clients come and leave until the call of one is cancelled within 100 ms: a busy machine gets a few
// attempts.
func leavesInTime(t *testing.T, cancelled <-chan time.Time, come func() (leave func())) {
	t.Helper()
	var took time.Duration
	for range 5 {
		leave := come()
		left := time.Now()
		leave()
		select {
		case at := <-cancelled:
			took = at.Sub(left)
		case <-time.After(5 * time.Second):
			t.Fatal("the call was not cancelled")
		}
		if took <= 100*time.Millisecond {
			return
		}
	}
	t.Errorf("the call was cancelled only after %v", took)
}

// A client learns that it is connected though nothing comes, long before signs of life are due.
func TestStreamOpens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(router(t, library(t), serving(func(c *call) error {
		if _, err := c.recv(); err != nil {
			return err
		}
		<-c.ctx.Done()
		return c.ctx.Err()
	})))
	t.Cleanup(server.Close)
	for accept, want := range map[string]string{"text/event-stream": "text/event-stream", "": "application/json"} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
			defer leave()
			r := get(ctx, t, server.URL+watchPath, accept)
			defer r.Body.Close()
			if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != want {
				t.Errorf("status %d, headers %v", r.StatusCode, r.Header)
			}
		})
	}
}

func TestStreamHeartbeat(t *testing.T) {
	t.Parallel()
	d := library(t)
	for accept, want := range map[string]string{"text/event-stream": ": still here\n", "": "\n"} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			rt, err := translate.New(d.Methods(libraryService), translate.Options{
				Caller: serving(func(c *call) error {
					_, _ = c.recv()
					<-c.ctx.Done()
					return c.ctx.Err()
				}), Resolver: d.Types(),
				Streams: translate.StreamLimits{Heartbeat: 10 * time.Millisecond},
			})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(rt)
			defer server.Close()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			r := get(ctx, t, server.URL+"/v1/books/moby:watch", accept)
			defer r.Body.Close()
			reader := bufio.NewReader(r.Body)
			for range 2 {
				line, err := reader.ReadString('\n')
				if accept != "" && line == ": still here\n" {
					_, err = reader.ReadString('\n')
				}
				if err != nil || line != want {
					t.Fatalf("line %q, %v", line, err)
				}
			}
		})
	}
}

// Close ends streams with an error that tells clients to come back, and waits for them.
func TestStreamClose(t *testing.T) {
	t.Parallel()
	d := library(t)
	rt := router(t, d, serving(func(c *call) error {
		if _, err := c.recv(); err != nil {
			return err
		}
		if err := c.send(nil); err != nil {
			return err
		}
		<-c.ctx.Done()
		return c.ctx.Err()
	}))
	server := httptest.NewServer(rt)
	defer server.Close()
	r := get(t.Context(), t, server.URL+"/v1/books/moby:watch", "text/event-stream")
	defer r.Body.Close()
	reader := bufio.NewReader(r.Body)
	if line, err := reader.ReadString('\n'); err != nil || line != "data: {}\n" {
		t.Fatalf("first line %q, %v", line, err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(reader)
	if err != nil || !strings.Contains(string(rest), "event: error\n") || !strings.Contains(string(rest), `"code":"UNAVAILABLE"`) {
		t.Errorf("rest %q, %v", rest, err)
	}
	again := get(t.Context(), t, server.URL+"/v1/books/moby:watch", "")
	defer again.Body.Close()
	if again.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a stream after Close got status %d", again.StatusCode)
	}
}

// HEAD tells what GET would answer with, without a call.
func TestStreamHead(t *testing.T) {
	t.Parallel()
	rt := router(t, library(t), stub{})
	r := do(t, rt, "HEAD /v1/books/moby:watch", "", "Accept", "text/event-stream")
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("status %d, headers %v", r.StatusCode, r.Header)
	}
	if r := do(t, rt, "HEAD /v1/books/moby:watch?nope=1", ""); r.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestStreamRefusedByCaller(t *testing.T) {
	t.Parallel()
	d := library(t)
	rt := router(t, d, stub{open: func(context.Context, *upstream.Method) (upstream.Stream, error) {
		return nil, status.Error(codes.PermissionDenied, "secret rule")
	}})
	r := do(t, rt, "GET /v1/books/moby:watch", "")
	if body := text(t, r); r.StatusCode != http.StatusForbidden || strings.Contains(body, "secret") {
		t.Errorf("status %d, body %s", r.StatusCode, body)
	}
}

func get(ctx context.Context, t *testing.T, url, accept string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
