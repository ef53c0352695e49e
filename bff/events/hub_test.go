package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/fault"
)

var minute = Config{Resume: time.Minute}

func TestShareAndReplay(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	h, s, m := hub(t, minute, reg)
	ctx := as(t.Context(), "ann")
	first := attach(ctx, t, h, m, "box-1", "")
	defer first.Close()
	if first.Position().Seq != 0 {
		t.Errorf("the first reader begins at %v", first.Position())
	}
	c := s.nth(t, 1)
	c.say(t, "a", "b")
	at := expect(t, first, "a", "b")
	if md, err := first.Header(); err != nil || md.Get("x-shelf")[0] != "7" {
		t.Errorf("headers %v, %v", md, err)
	}
	// Who joins gets what comes; who comes back gets what follows.
	second := attach(ctx, t, h, m, "box-1", "")
	defer second.Close()
	silent(t, second)
	if second.Position().String() != at {
		t.Errorf("the second reader begins at %v, want %v", second.Position(), at)
	}
	third := attach(ctx, t, h, m, "box-1", strings.TrimSuffix(at, "2")+"0")
	defer third.Close()
	expect(t, third, "a", "b")
	silent(t, third)
	c.say(t, "c")
	for _, r := range []Reader{first, second, third} {
		if end := expect(t, r, "c"); !strings.HasSuffix(end, "-3") {
			t.Errorf("position %s", end)
		}
	}
	first.Close()
	first.Close()
	back := attach(ctx, t, h, m, "box-1", at)
	defer back.Close()
	expect(t, back, "c")
	if got := len(s.seen()); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
	if c.subject != "ann" || c.request != "box-1" {
		t.Errorf("the call is %q's, for %q", c.subject, c.request)
	}
	want := `
# HELP portico_event_logs Event logs that are kept, with and without readers.
# TYPE portico_event_logs gauge
portico_event_logs{rpc="` + watchReadings + `"} 1
# HELP portico_event_readers Readers of event logs.
# TYPE portico_event_readers gauge
portico_event_readers{rpc="` + watchReadings + `"} 3
# HELP portico_event_replays_total Readers that came back and went on where they were.
# TYPE portico_event_replays_total counter
portico_event_replays_total{rpc="` + watchReadings + `"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"portico_event_logs", "portico_event_readers", "portico_event_replays_total", "portico_event_gaps_total"); err != nil {
		t.Error(err)
	}
}

// A position is no permission: other identities and other requests get a stream of their own and nothing else.
func TestIdentitiesNeverShare(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	ann := attach(as(t.Context(), "ann"), t, h, m, "box-1", "")
	defer ann.Close()
	s.nth(t, 1).say(t, "secret", "more")
	at := expect(t, ann, "secret", "more")
	before := strings.TrimSuffix(at, "2") + "0"
	for i, other := range []struct{ subject, request string }{{"bob", "box-1"}, {"ann", "box-2"}} {
		r := attach(as(t.Context(), other.subject), t, h, m, other.request, before)
		defer r.Close()
		expect(t, r, "gap unknown")
		silent(t, r)
		c := s.nth(t, i+2)
		c.say(t, "mine")
		expect(t, r, "mine")
		if c.subject != other.subject || c.request != other.request {
			t.Errorf("the call is %q's, for %q", c.subject, c.request)
		}
	}
	silent(t, ann)
}

func TestResumeIsAuthorized(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	r := attach(as(t.Context(), "ann"), t, h, m, "box-1", "")
	s.nth(t, 1).say(t, "a")
	at := expect(t, r, "a")
	r.Close()
	if _, err := h.Attach(as(t.Context(), "ann", "none"), m, []byte("box-1"), at); fault.From(err).Code != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if got := len(s.seen()); got != 1 {
		t.Errorf("%d calls", got)
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	h, s, m := hub(t, Config{Resume: time.Minute, MaxEvents: 2}, reg)
	ctx := as(t.Context(), "ann")
	live := attach(ctx, t, h, m, "box-1", "")
	defer live.Close()
	slow := attach(ctx, t, h, m, "box-1", "")
	defer slow.Close()
	c := s.nth(t, 1)
	var at []string
	for _, message := range []string{"a", "b", "c", "d"} {
		c.say(t, message)
		at = append(at, expect(t, live, message))
	}
	// A slow reader has fallen out, and goes on with what comes.
	if got := expect(t, slow, "gap overrun"); got != at[3] {
		t.Errorf("the gap reaches to %s, want %s", got, at[3])
	}
	silent(t, slow)
	for _, test := range []struct {
		name, last string
		want       []string
	}{
		{"nothing missed", at[3], nil},
		{"one missed", at[2], []string{"d"}},
		{"all that is kept", at[1], []string{"c", "d"}},
		{"a hole", at[0], []string{"gap overrun"}},
		{"the future", strings.TrimSuffix(at[3], "4") + "9", []string{"gap unknown"}},
		{"another epoch", "AAAA-1", []string{"gap unknown"}},
		{"nonsense", "\x00", []string{"gap unknown"}},
	} {
		r := attach(ctx, t, h, m, "box-1", test.last)
		expect(t, r, test.want...)
		silent(t, r)
		if r.Position().String() != at[3] {
			t.Errorf("%s: the reader stands at %v, want %s", test.name, r.Position(), at[3])
		}
		r.Close()
	}
	c.say(t, "e")
	expect(t, slow, "e")
	for reason, want := range map[Gap]float64{Unknown: 3, Overrun: 2} {
		if got := testutil.ToFloat64(h.methods[m].gaps(reason)); got != want {
			t.Errorf("%v gaps of reason %s, want %v", got, reason, want)
		}
	}
	if got := len(s.seen()); got != 1 {
		t.Errorf("%d calls", got)
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"well", "end", io.EOF},
		{"an error", "end NOT_FOUND", status.Error(codes.NotFound, "no such box")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, s, m := hub(t, minute, nil)
				ctx := as(t.Context(), "ann")
				r := attach(ctx, t, h, m, "box-1", "")
				c := s.nth(t, 1)
				c.say(t, "a", "b")
				at := expect(t, r, "a")
				r.Close()
				c.end <- test.err
				synctest.Wait()
				// The end is remembered behind what was missed.
				r = attach(ctx, t, h, m, "box-1", at)
				end := expect(t, r, "b", test.want)
				expect(t, r, test.want)
				r.Close()
				if got := len(s.seen()); got != 1 {
					t.Errorf("%d calls", got)
				}
				// Who has seen it, or asks anew, gets another stream.
				r = attach(ctx, t, h, m, "box-1", end)
				expect(t, r, "gap ended")
				anew := attach(ctx, t, h, m, "box-1", "")
				s.nth(t, 2).say(t, "z")
				expect(t, r, "z")
				expect(t, anew, "z")
				anew.Close()
				r.Close()
				// For as long as it is kept, the old one is there.
				time.Sleep(time.Minute - time.Second)
				r = attach(ctx, t, h, m, "box-1", at)
				expect(t, r, "b", test.want)
				r.Close()
				time.Sleep(time.Minute)
				synctest.Wait()
				r = attach(ctx, t, h, m, "box-1", at)
				expect(t, r, "gap unknown")
				r.Close()
				shut(t, h)
			})
		})
	}
}

// A call that is about to end with its caller's configuration is nobody's new one, also before it has noticed: who comes
// back to the last message, or asks anew, would only be given the end.
func TestOver(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	ctx := as(t.Context(), "ann")
	r := attach(ctx, t, h, m, "box-1", "")
	c := s.nth(t, 1)
	c.say(t, "a", "b")
	early := expect(t, r, "a")
	late := expect(t, r, "b")
	r.Close()
	c.over.Store(true)
	anew := attach(ctx, t, h, m, "box-1", "")
	back := attach(ctx, t, h, m, "box-1", late)
	expect(t, back, "gap ended")
	s.nth(t, 2).say(t, "z")
	expect(t, anew, "z")
	expect(t, back, "z")
	anew.Close()
	back.Close()
	missing := attach(ctx, t, h, m, "box-1", early)
	defer missing.Close()
	c.end <- status.Error(codes.Unavailable, "over")
	expect(t, missing, "b", "end UNAVAILABLE")
	if got := len(s.seen()); got != 2 {
		t.Errorf("%d calls", got)
	}
}

// A call that fails without any message leaves nothing behind.
func TestFailureAtOnce(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	s.refuse = func() error { return status.Error(codes.Unavailable, "down") }
	r := attach(as(t.Context(), "ann"), t, h, m, "box-1", "")
	expect(t, r, "end UNAVAILABLE")
	h.mu.Lock()
	if got := len(h.methods[m].logs); got != 0 {
		t.Errorf("%d logs are kept", got)
	}
	h.mu.Unlock()
	r.Close()
	s.refuse = func() error { panic("oops") } //nolint:forbidigo // what the test is about
	r = attach(as(t.Context(), "ann"), t, h, m, "box-1", "")
	defer r.Close()
	expect(t, r, "end INTERNAL")
}

func TestKeptForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, s, m := hub(t, minute, nil)
		ctx, cancel := context.WithCancel(as(t.Context(), "ann"))
		r := attach(ctx, t, h, m, "box-1", "")
		c := s.nth(t, 1)
		c.say(t, "a")
		at := expect(t, r, "a")
		r.Close()
		cancel() // the request has ended
		c.say(t, "b")
		time.Sleep(time.Minute - 1)
		if c.ctx.Err() != nil {
			t.Fatal("the call was cancelled too early")
		}
		// A reader stops the clock; it starts again when that has left.
		r = attach(as(t.Context(), "ann"), t, h, m, "box-1", at)
		time.Sleep(time.Hour)
		expect(t, r, "b")
		r.Close()
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if c.ctx.Err() != nil {
			t.Fatal("the call was cancelled too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if c.ctx.Err() == nil {
			t.Fatal("the call was not cancelled")
		}
		if got := testutil.ToFloat64(h.methods[m].expired); got != 1 {
			t.Errorf("%v logs have expired", got)
		}
		r = attach(as(t.Context(), "ann"), t, h, m, "box-1", at)
		expect(t, r, "gap unknown")
		synctest.Wait()
		r.Close()
		if got := len(s.seen()); got != 2 {
			t.Errorf("%d calls", got)
		}
		shut(t, h)
	})
}

// A reader ends with its credentials; with fresh ones it goes on where it was, in the same call.
func TestCredentialsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, s, m := hub(t, minute, nil)
		until := func(d time.Duration) context.Context {
			return auth.NewContext(t.Context(), &auth.Principal{Subject: "ann", Authenticated: true, Expires: time.Now().Add(d)})
		}
		start := time.Now()
		r := attach(until(time.Second), t, h, m, "box-1", "")
		other := attach(until(time.Hour), t, h, m, "box-1", "")
		c := s.nth(t, 1)
		c.say(t, "a")
		expect(t, r, "a")
		at := expect(t, r, "end UNAUTHENTICATED")
		if took := time.Since(start); took != time.Second+auth.Leeway {
			t.Errorf("expired after %v", took)
		}
		c.say(t, "b")
		expect(t, r, "end UNAUTHENTICATED")
		r.Close()
		expect(t, other, "a", "b")
		other.Close()
		r = attach(until(time.Minute), t, h, m, "box-1", at)
		expect(t, r, "b")
		r.Close()
		if !auth.FromContext(c.ctx).Expires.IsZero() {
			t.Error("the call is bound to the credentials of its first reader")
		}
		if got := len(s.seen()); got != 1 {
			t.Errorf("%d calls", got)
		}
		shut(t, h)
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, s, m := hub(t, Config{Resume: time.Minute, MaxLogs: 2, MaxReaders: 2}, nil)
		ctx := as(t.Context(), "ann")
		first := attach(ctx, t, h, m, "box-1", "")
		synctest.Wait() // so that calls are seen in this order
		second := attach(ctx, t, h, m, "box-1", "")
		if _, err := h.Attach(ctx, m, []byte("box-1"), ""); fault.From(err).Code != codes.ResourceExhausted {
			t.Errorf("a third reader: %v", err)
		}
		other := attach(ctx, t, h, m, "box-2", "")
		if _, err := h.Attach(ctx, m, []byte("box-3"), ""); fault.From(err).Code != codes.ResourceExhausted {
			t.Errorf("a third log: %v", err)
		}
		synctest.Wait()
		// The log that was left longest ago makes room.
		other.Close()
		time.Sleep(time.Second)
		first.Close()
		second.Close()
		third := attach(ctx, t, h, m, "box-3", "")
		synctest.Wait()
		var ended []bool
		for _, c := range s.seen() {
			ended = append(ended, c.ctx.Err() != nil)
		}
		if fmt.Sprint(ended) != "[false true false]" {
			t.Errorf("ended calls are %v", ended)
		}
		if got := testutil.ToFloat64(h.methods[m].evicted); got != 1 {
			t.Errorf("%v logs were evicted", got)
		}
		third.Close()
		shut(t, h)
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	ctx := as(t.Context(), "ann")
	r := attach(ctx, t, h, m, "box-1", "")
	defer r.Close()
	idle := attach(ctx, t, h, m, "box-2", "")
	s.nth(t, 2)
	idle.Close()
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.seen() {
		if c.ctx.Err() == nil {
			t.Error("a call goes on")
		}
	}
	expect(t, r, "end UNAVAILABLE")
	if _, err := h.Attach(ctx, m, []byte("box-1"), ""); fault.From(err).Code != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	h, s, m := hub(t, minute, nil)
	stuck := make(chan struct{})
	s.refuse = func() error {
		<-stuck
		return errors.New("late")
	}
	r := attach(as(t.Context(), "ann"), t, h, m, "box-1", "")
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(stuck)
}

func TestNotResumable(t *testing.T) {
	t.Parallel()
	h, _, _ := hub(t, minute, nil)
	for _, m := range fleet(t) { // of another descriptor set
		if h.Resumes(m) {
			t.Errorf("%s resumes", m.Name)
		}
		if _, err := h.Attach(t.Context(), m, nil, ""); fault.From(err).Code != codes.Internal {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}
