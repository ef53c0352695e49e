package translate_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

const (
	watchPath = "/v1/books/moby:watch"
	// brisk is how often there are signs of life: answers begin with the first.
	brisk = 20 * time.Millisecond
)

// sharing is a stub whose calls can be shared by the same user. A user "nobody" is refused.
type sharing struct{ stub }

func (s sharing) Share(ctx context.Context, m *upstream.Method, req []byte) (cache.Key, error) {
	who := auth.FromContext(ctx).Subject
	if who == "nobody" {
		return cache.Key{}, fault.New(codes.PermissionDenied, "you are not allowed to do this")
	}
	b := cache.NewKey(nil)
	b.AddString(m.Name)
	b.AddString(who)
	b.Add(req)
	return b.Key(), nil
}

// resuming is a server whose method Watch can be resumed. Users say who they are in X-User.
type resuming struct {
	*httptest.Server
	router *translate.Router
	calls  chan *call // as they begin
	end    chan error // what they end with
}

func newResuming(t *testing.T, heartbeat time.Duration) *resuming {
	t.Helper()
	d := library(t)
	s := &resuming{calls: make(chan *call, 10), end: make(chan error)}
	caller := sharing{serving(func(c *call) error {
		if _, err := c.recv(); err != nil {
			return err
		}
		s.calls <- c
		select {
		case err := <-s.end:
			return err
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	})}
	hub, err := events.New(map[string]events.Config{libraryService + "/Watch": {Resume: time.Minute, MaxEvents: 3}},
		d.Methods(libraryService), events.Options{Caller: caller})
	if err != nil {
		t.Fatal(err)
	}
	s.router, err = translate.New(d.Methods(libraryService), translate.Options{
		Caller: caller, Resolver: d.Types(), Streams: translate.StreamLimits{Heartbeat: heartbeat}, Events: hub,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := auth.NewContext(r.Context(), &auth.Principal{Subject: r.Header.Get("X-User"), Authenticated: true})
		s.router.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.router.Close(ctx), hub.Close(ctx)); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

// say sends books of these titles.
func (s *resuming) say(t *testing.T, c *call, titles ...string) {
	t.Helper()
	for _, title := range titles {
		if err := c.send([]byte("\x12" + string(rune(len(title))) + title)); err != nil {
			t.Fatal(err)
		}
	}
}

// source is a client of event streams, such as browsers have.
type source struct {
	*http.Response
	lines *bufio.Reader
	last  string // the last event's id
}

// event is an event as the client sees it.
type event struct{ Type, Data string }

// watch connects; whoever has seen an id sends it, and more headers, written as name and value.
func (s *resuming) watch(t *testing.T, user, last string, header ...string) *source {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+watchPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("X-User", user)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return &source{Response: res, lines: bufio.NewReader(res.Body), last: last}
}

func (s *source) leave() { _ = s.Body.Close() }

// next reads an event. An id without data counts, but is no event.
func (s *source) next(t *testing.T) event {
	t.Helper()
	var e event
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			s.last = value
		case "event":
			e.Type = value
		case "data":
			e.Data = value
		case "":
			if e.Data != "" {
				return e
			}
		}
	}
}

// expect wants these events next: a title, or "TYPE DATA".
func (s *source) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		got := s.next(t)
		text := strings.TrimSpace(got.Type + " " + got.Data)
		if got.Type == "" && got.Data != "" {
			text = strings.TrimSuffix(strings.TrimPrefix(got.Data, `{"title":"`), `"}`)
		}
		if diff := cmp.Diff(w, text); diff != "" {
			t.Fatalf("event (-want +got)\n%s", diff)
		}
	}
}

// A client whose connection breaks goes on where it was: nothing is lost, nothing comes twice, and the service sees one
// call.
func TestResume(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	first := s.watch(t, "ann", "")
	c := <-s.calls
	s.say(t, c, "A", "B")
	first.expect(t, "A")
	if got := first.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	first.leave()
	s.say(t, c, "C")
	again := s.watch(t, "ann", first.last)
	defer again.leave()
	again.expect(t, "B", "C")
	s.say(t, c, "D")
	again.expect(t, "D")
	// Another reader of the same user joins in.
	other := s.watch(t, "ann", again.last)
	defer other.leave()
	s.say(t, c, "E")
	again.expect(t, "E")
	other.expect(t, "E")
	if again.last != other.last || !strings.HasSuffix(again.last, "-5") {
		t.Errorf("ids %q and %q", again.last, other.last)
	}
	if len(s.calls) != 0 {
		t.Error("the service was called again")
	}
}

func TestResumeOfOthers(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	ann := s.watch(t, "ann", "")
	defer ann.leave()
	c := <-s.calls
	s.say(t, c, "A", "B")
	ann.expect(t, "A")

	bob := s.watch(t, "bob", ann.last)
	defer bob.leave()
	bob.expect(t, `gap {"reason":"unknown"}`)
	s.say(t, <-s.calls, "Z")
	bob.expect(t, "Z")

	nobody := s.watch(t, "nobody", ann.last)
	defer nobody.leave()
	if body := text(t, nobody.Response); nobody.StatusCode != http.StatusForbidden || strings.Contains(body, "title\":\"B") {
		t.Errorf("status %d, %s", nobody.StatusCode, body)
	}
}

func TestResumeGaps(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	reader := s.watch(t, "ann", "nonsense")
	defer reader.leave()
	reader.expect(t, `gap {"reason":"unknown"}`)
	begin := reader.last
	c := <-s.calls
	for _, title := range []string{"A", "B", "C", "D"} {
		s.say(t, c, title)
		reader.expect(t, title)
	}
	late := s.watch(t, "ann", begin)
	defer late.leave()
	late.expect(t, `gap {"reason":"overrun"}`)
	if late.last != reader.last {
		t.Errorf("the gap reaches to %s, not to %s", late.last, reader.last)
	}
	s.say(t, c, "E")
	late.expect(t, "E")
}

// The end has an id too: a client that returns with it gets another stream, one that has not seen it gets it.
func TestResumeAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"well": {nil, "end {}"},
		"an error": {notFound(), `error {"type":"about:blank","title":"Not Found","status":404,"detail":"no such book",` +
			`"code":"NOT_FOUND","retryable":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newResuming(t, brisk)
			first := s.watch(t, "ann", "")
			s.say(t, <-s.calls, "A", "B")
			first.expect(t, "A")
			first.leave()
			s.end <- test.err
			again := s.watch(t, "ann", first.last)
			defer again.leave()
			again.expect(t, "B", test.want)
			anew := s.watch(t, "ann", again.last)
			defer anew.leave()
			anew.expect(t, `gap {"reason":"ended"}`)
			s.say(t, <-s.calls, "Z")
			anew.expect(t, "Z")
		})
	}
}

// An error that comes first has a status of its own, if it comes within a second. A busy machine gets a few attempts.
func TestResumeFailsAtOnce(t *testing.T) {
	t.Parallel()
	s := newResuming(t, 0)
	for range 5 {
		go func() {
			<-s.calls
			s.end <- notFound()
		}()
		r := s.watch(t, "ann", "")
		r.leave()
		if r.StatusCode == http.StatusNotFound && r.Header.Get("Content-Type") == "application/problem+json" {
			return
		}
		t.Logf("status %d, %v", r.StatusCode, r.Header)
	}
	t.Error("no answer had a status of its own")
}

// A client that has not got any event yet knows nevertheless where to go on.
func TestResumeBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	first := s.watch(t, "ann", "")
	var lines []string
	for range 7 {
		line, err := first.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	id, ok := strings.CutPrefix(lines[3], "id: ")
	first.last = strings.TrimSuffix(id, "\n")
	if diff := cmp.Diff([]string{": still here\n", "\n", ": still here\n", lines[3], "\n", ": still here\n", "\n"}, lines); diff != "" || !ok {
		t.Errorf("(-want +got)\n%s", diff)
	}
	first.leave()
	c := <-s.calls
	s.say(t, c, "A")
	again := s.watch(t, "ann", first.last)
	defer again.leave()
	again.expect(t, "A")
}

// When the server goes down, streams that can be resumed end like all others, with an id.
func TestResumeClose(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	r := s.watch(t, "ann", "")
	defer r.leave()
	s.say(t, <-s.calls, "A")
	r.expect(t, "A")
	at := r.last
	if err := s.router.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.next(t); e.Type != "error" || !strings.Contains(e.Data, `"code":"UNAVAILABLE"`) || r.last != at {
		t.Errorf("got %+v at %s", e, r.last)
	}
}

// Answers of other forms belong to their clients, whether the method can be resumed or not.
func TestOtherFormsDoNotResume(t *testing.T) {
	t.Parallel()
	s := newResuming(t, brisk)
	for _, accept := range []string{"application/x-ndjson", "application/json"} {
		ctx, leave := context.WithCancel(t.Context())
		answered := make(chan string, 1)
		go func() {
			r := get(ctx, t, s.URL+watchPath, accept)
			line, err := bufio.NewReader(r.Body).ReadString('\n')
			answered <- strings.TrimPrefix(line, "[") + strconv.FormatBool(err == nil)
			<-ctx.Done()
			_ = r.Body.Close()
		}()
		c := <-s.calls
		s.say(t, c, "A")
		if got := <-answered; got != "{\"title\":\"A\"}\ntrue" {
			t.Errorf("%s: %q", accept, got)
		}
		leave()
		select {
		case <-c.ctx.Done():
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the call goes on", accept)
		}
	}
}
