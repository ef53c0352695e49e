package mesh_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const breaking = `---
kind: Route
hosts: ["static:///replica-0:1,replica-1:1"]
http:
- name: echoes
  match: [{uri: {exact: /mesh.test.Echo/Echo}}]
  retries: {attempts: 0}
  circuitBreaker: {consecutive5xxErrors: 3, baseEjectionTime: 10s, maxEjectionTime: 20s}
- match: [{uri: {exact: /mesh.test.Echo/Write}}]
  retries: {attempts: 0}
  circuitBreaker: {maxRequests: 2, maxPendingRequests: 1}
- retries: {attempts: 0}
`

// breakable is a cluster with such routes, all of whose replicas answer with a code.
func breakable(t *testing.T) (c *cluster, answer *atomic.Uint32) {
	t.Helper()
	answer = new(atomic.Uint32)
	c = newCluster(t, 2, breaking, func(int, context.Context) error {
		return status.Error(codes.Code(answer.Load()), "an answer")
	})
	return c, answer
}

// A breaker opens after failures in a row, over all endpoints, whatever their share of
// them; then calls are not sent, but for one after a while, which decides. Other entries
// go on.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, answer := breakable(t)
		try := func(want codes.Code, reached bool) {
			t.Helper()
			before := c.total()
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); status.Code(err) != want || (c.total() > before) != reached {
				t.Fatalf("%v (want %v), reached a replica: %v", err, want, c.total() > before)
			}
		}
		answer.Store(uint32(codes.NotFound))
		for range 10 {
			try(codes.NotFound, true)
		}
		answer.Store(uint32(codes.Internal))
		for range 3 {
			try(codes.Internal, true)
		}
		for range 5 {
			try(codes.Unavailable, false)
		}
		s := c.client.Stats()
		if b := s.Breakers[0]; s.BreakerOpens != 1 || s.Broken != 5 || b.State != "open" || !b.Until.After(time.Now().Add(9*time.Second)) || !strings.HasSuffix(b.Entry, " echoes") {
			t.Errorf("%d openings, %d broken, %+v", s.BreakerOpens, s.Broken, b)
		}
		if _, err := call(t.Context(), c.conn, writeMethod, "x"); status.Code(err) != codes.Internal {
			t.Errorf("another entry: %v", err)
		}
		time.Sleep(11 * time.Second)
		try(codes.Internal, true)
		try(codes.Unavailable, false)
		time.Sleep(11 * time.Second)
		try(codes.Unavailable, false) // the second time is twice as long
		time.Sleep(11 * time.Second)
		if got := c.client.Stats().Breakers[0].State; got != "probing" {
			t.Errorf("it is %s", got)
		}
		answer.Store(uint32(codes.OK))
		for range 3 {
			try(codes.OK, true)
		}
		if got := c.client.Stats().Breakers[0].State; got != "closed" {
			t.Errorf("it is %s", got)
		}
	})
}

// What the mesh itself refuses says nothing of the route.
func TestCircuitBreakerIgnoresTheMesh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		c := newCluster(t, 1, `trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 1}}}
---
kind: Route
hosts: ["static:///replica-0:1"]
http: [{circuitBreaker: {consecutive5xxErrors: 1}}]
`, func(int, context.Context) error {
			<-proceed
			return nil
		})
		var work sync.WaitGroup
		work.Go(func() { _, _ = call(t.Context(), c.conn, echoMethod, "x") })
		synctest.Wait()
		for range 5 {
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); status.Code(err) != codes.Unavailable {
				t.Error(err)
			}
			if _, err := openStream(t.Context(), c.conn, chatMethod); status.Code(err) != codes.Unavailable {
				t.Error(err)
			}
		}
		close(proceed)
		work.Wait()
		if got := c.client.Stats().Breakers[0].State; got != "closed" {
			t.Errorf("it is %s", got)
		}
	})
}

// A stream that ends badly counts, and one that has received something is as good as an
// answer, however long it lasts.
func TestCircuitBreakerAndStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		s := newStreams(t, 2, `{retries: {attempts: 0}, circuitBreaker: {consecutive5xxErrors: 2, baseEjectionTime: 5s, maxRequests: 3}}`, mesh.Options{},
			func(_ int64, stream grpc.ServerStream) error {
				if bad.Load() {
					return status.Error(codes.Internal, "broken")
				}
				return echoing(stream)
			})
		open := func() error {
			stream, err := openStream(t.Context(), s.conn, chatMethod)
			if err != nil {
				return err
			}
			_ = stream.SendMsg(wrapperspb.String("x"))
			return stream.RecvMsg(new(wrapperspb.StringValue))
		}
		for i, want := range []codes.Code{codes.Internal, codes.Internal, codes.Unavailable} {
			if err := open(); status.Code(err) != want {
				t.Errorf("stream %d: %v, want %v", i, err, want)
			}
		}
		bad.Store(false)
		time.Sleep(6 * time.Second)
		for range 3 { // the first is the probe, and goes on
			if err := open(); err != nil {
				t.Error(err)
			}
		}
		if err := open(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "maxRequests") {
			t.Errorf("a stream too many: %v", err)
		}
		if got := s.client.Stats().Breakers[0]; got.State != "closed" || got.Running != 3 {
			t.Errorf("%+v", got)
		}
		if got := s.events.of(mesh.BreakerOpened); len(got) != 1 || got[0].Until.IsZero() || status.Code(got[0].Err) != codes.Internal || got[0].Method != chatMethod {
			t.Errorf("events %+v", got)
		}
	})
}

// An entry has so many calls at a time, and so many wait; it all shows on the handler.
func TestMaxRequestsOfAnEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		c := newCluster(t, 2, breaking, func(int, context.Context) error {
			<-proceed
			return nil
		})
		results := make(chan error, 5)
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				_, err := call(t.Context(), c.conn, writeMethod, "x")
				results <- err
			})
		}
		synctest.Wait()
		recorder := httptest.NewRecorder()
		c.client.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/mesh", nil))
		var shown mesh.Stats
		if err := json.Unmarshal(recorder.Body.Bytes(), &shown); err != nil {
			t.Fatal(err)
		}
		target := "static:///replica-0:1,replica-1:1"
		want := []mesh.BreakerStats{
			{Target: target, Entry: target + " echoes", State: "closed"},
			{Target: target, Entry: target + " 2", State: "closed", Running: 2, Waiting: 1},
		}
		if diff := cmp.Diff(want, shown.Breakers); diff != "" {
			t.Error(diff)
		}
		close(proceed)
		work.Wait()
		refused := 0
		for range 5 {
			if err := <-results; status.Code(err) == codes.Unavailable {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused != 2 || c.client.Stats().Overflows != 2 {
			t.Errorf("%d refused, want 2", refused)
		}
	})
}

// A changed policy leaves a breaker as it is.
func TestBreakerReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	write := func(name string, limit string) {
		text := "kind: Route\nhosts: [\"a:1\"]\nhttp: [{name: " + name + ", retries: {attempts: 0}, circuitBreaker: {consecutive5xxErrors: " + limit + ", baseEjectionTime: 1m}}]"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("all", "1")
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{unary: func(context.Context, string) (string, error) {
			return "", status.Error(codes.Internal, "broken")
		}})
		n.add("a:1", listener)
		client := join(t, ca, "portico", mesh.Options{PolicyFile: file})
		conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
		for i, want := range []codes.Code{codes.Internal, codes.Unavailable, codes.Unavailable, codes.Internal} {
			if _, err := call(t.Context(), conn, echoMethod, "x"); status.Code(err) != want {
				t.Errorf("call %d: %v, want %v", i, err, want)
			}
			if i == 1 {
				write("all", "2")
				time.Sleep(2 * time.Second)
			}
			if i == 2 {
				write("another", "2")
				time.Sleep(2 * time.Second)
			}
		}
	})
}

func TestExplainBreaker(t *testing.T) {
	t.Parallel()
	e := parsePolicy(t, strings.TrimPrefix(breaking, "---\n")).Explain(mesh.Query{Target: "static:///replica-0:1,replica-1:1", Method: echoMethod})
	if diff := cmp.Diff(mesh.BreakerExplanation{Consecutive5xxErrors: 3, BaseEjectionTime: 10 * time.Second}, e.Breaker); diff != "" || !strings.Contains(e.String(), "  breaker: opens for 10s after 3 errors in a row\n") {
		t.Errorf("%s\n%s", diff, e)
	}
	e = parsePolicy(t, strings.TrimPrefix(breaking, "---\n")).Explain(mesh.Query{Target: "static:///replica-0:1,replica-1:1", Method: writeMethod})
	if !strings.Contains(e.String(), "  breaker: 2 requests at a time, and 1 that wait\n") {
		t.Error(e)
	}
}
