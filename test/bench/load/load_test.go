package load

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a plan against a handler.
func serve(t *testing.T, h http.HandlerFunc, change func(*Plan)) (Result, error) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	plan := Plan{
		Address: strings.TrimPrefix(server.URL, "http://"), Path: "/a?b=c", Header: map[string]string{"X-Test": "yes"},
		Connections: 3, Warmup: 10 * time.Millisecond, Duration: 50 * time.Millisecond,
	}
	change(&plan)
	var in, out bytes.Buffer
	for _, v := range []any{plan, true} {
		if err := json.NewEncoder(&in).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := Serve(t.Context(), &in, &out); err != nil {
		return Result{}, err
	}
	var ready bool
	var r Result
	answers := json.NewDecoder(&out)
	for _, v := range []any{&ready, &r} {
		if err := answers.Decode(v); err != nil {
			t.Fatal(err)
		}
	}
	return r, nil
}

func TestClosedLoop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		size int
	}{{"with a length", 100}, {"empty", 0}, {"in chunks", 200 << 10}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int64
			r, err := serve(t, func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				if r.URL.String() != "/a?b=c" || r.Header.Get("X-Test") != "yes" {
					http.Error(w, "not the plan's request: "+r.URL.String(), http.StatusBadRequest)
					return
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), c.size))
			}, func(*Plan) {})
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests == 0 || int64(r.Requests) >= served.Load() {
				t.Errorf("counted %d requests of %d, want some, and fewer because of the warm-up", r.Requests, served.Load())
			}
			if want := int64(r.Requests * c.size); r.Bytes != want {
				t.Errorf("read %d bytes in %d answers, want %d", r.Bytes, r.Requests, want)
			}
			if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Max || r.Elapsed < 50*time.Millisecond {
				t.Errorf("times do not fit together: %+v", r)
			}
		})
	}
}

// TestFixedRate shows that the rate is the plan's, and that a slow answer makes those behind it late.
func TestFixedRate(t *testing.T) {
	t.Parallel()
	const stall = 100 * time.Millisecond
	var served atomic.Int64
	r, err := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1) == 5 {
			time.Sleep(stall)
		}
		_, _ = w.Write([]byte("x"))
	}, func(p *Plan) { p.Warmup, p.Duration, p.Rate, p.Connections = 0, 200*time.Millisecond, 500, 1 })
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests != 100 {
		t.Errorf("sent %d requests, want 100: 500/s for 200 ms", r.Requests)
	}
	if r.Max < stall {
		t.Errorf("the slowest answer took %s, want at least %s", r.Max, stall)
	}
	// About half of the requests were due while the server stalled.
	if r.P50 < 2*time.Millisecond {
		t.Errorf("half of the answers took less than %s, though the server stalled for half of the time", r.P50)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	hello := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		change  func(*Plan)
		want    string
	}{
		{"a refusal", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusTeapot) }, func(*Plan) {}, "go away"},
		{"a cut answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		}, func(*Plan) {}, "EOF"},
		{"no connections", hello, func(p *Plan) { p.Connections = 0 }, "connections"},
		{"too many connections", hello, func(p *Plan) { p.Connections = maxConnections + 1 }, "connections"},
		{"no time", hello, func(p *Plan) { p.Duration = 0 }, "expected more than 0"},
		{"too long", hello, func(p *Plan) { p.Duration = time.Hour }, "at most"},
		{"a negative rate", hello, func(p *Plan) { p.Rate = -1 }, "rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := serve(t, c.handler, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestCancel shows that a generator ends with its context, also while a server does not answer.
func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	plan, err := json.Marshal(Plan{Address: strings.TrimPrefix(server.URL, "http://"), Path: "/", Connections: 2, Duration: maxDuration})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := Serve(ctx, strings.NewReader(string(plan)+"true"), new(bytes.Buffer)); err == nil {
		t.Error("no error")
	}
	if took := time.Since(start); took > grace/2 {
		t.Errorf("it took %s to end", took)
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	got := sum([]samples{
		{took: []time.Duration{5, 1}, bytes: 10},
		{},
		{took: []time.Duration{3}, bytes: 5},
	}, time.Second)
	want := Result{Requests: 3, Bytes: 15, Elapsed: time.Second, P50: 3, P99: 5, Max: 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
