package mesh_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

const limited = everybody + `---
kind: RateLimit
name: callers
rules:
- from: [{source: {principals: [spiffe://shop.test/payments]}}]
  tokenBucket: {maxTokens: 1000, tokensPerFill: 1000, fillInterval: 1s}
- to: [{operation: {paths: [/mesh.test.Echo/*]}}]
  tokenBucket: {maxTokens: 5, tokensPerFill: 2, fillInterval: 1s}
`

// Each caller has a bucket for each method, by the first rule that matches; a refusal
// says when to come again, streams are counted like calls, and a client that may retry
// waits that long.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		ca := newCA(t, "shop.test", time.Hour)
		server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, limited), OnEvent: seen.add})
		_, listener := start(t, server, &echo{})
		var n network
		n.add("a:1", listener)
		pin := mesh.ExpectIdentity(orders)
		portico := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", pin)
		payments := connect(t, join(t, ca, "payments", mesh.Options{}), &n, "static:///a:1", pin)
		burst := func(conn *grpc.ClientConn, method string, calls int) (passed int) {
			for range calls {
				if _, err := call(t.Context(), conn, method, "x"); err == nil {
					passed++
				} else if status.Code(err) != codes.ResourceExhausted {
					t.Fatal(err)
				}
			}
			return passed
		}
		if a, b, c := burst(portico, echoMethod, 8), burst(portico, writeMethod, 8), burst(payments, echoMethod, 100); a != 5 || b != 5 || c != 100 {
			t.Errorf("%d, %d and %d calls passed, want 5, 5 (another method) and 100 (another rule)", a, b, c)
		}
		var trailer metadata.MD
		err := portico.Invoke(t.Context(), writeMethod, wrapperspb.String("x"), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
		if got := trailer.Get("grpc-retry-pushback-ms"); status.Code(err) != codes.ResourceExhausted || len(got) != 1 || got[0] != "500" {
			t.Errorf("%v, pushback %q", err, got)
		}
		time.Sleep(1500 * time.Millisecond)
		if a := burst(portico, echoMethod, 8); a != 3 {
			t.Errorf("%d calls passed after 1.5s, want 3", a)
		}
		passed := 0
		for range 7 {
			stream, err := openStream(t.Context(), portico, chatMethod)
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.SendMsg(wrapperspb.String("x"))
			if err := stream.RecvMsg(new(wrapperspb.StringValue)); err == nil {
				passed++
			}
		}
		if passed != 5 {
			t.Errorf("%d streams passed, want 5", passed)
		}
		if got := seen.of(mesh.CallLimited); len(got) != 14 || server.Stats().Limited != 14 || got[0].Policy != "callers" || got[0].Method != echoMethod || got[0].Peer.Path() != "/portico" {
			t.Errorf("stats %+v, %d events, the first %+v", server.Stats(), len(got), got[0])
		}

		retrying := connect(t, join(t, ca, "gateway", mesh.Options{Policy: parsePolicy(t, `kind: Route
hosts: ["a:1"]
http: [{retries: {attempts: 1, retryOn: resource-exhausted}}]`)}), &n, "static:///a:1", pin)
		began := time.Now()
		if a := burst(retrying, echoMethod, 5); a != 5 || time.Since(began) != 0 {
			t.Errorf("%d calls of another caller passed in %v, want 5 at once", a, time.Since(began))
		}
		began = time.Now()
		if _, err := call(t.Context(), retrying, echoMethod, "x"); err != nil || time.Since(began) != 500*time.Millisecond {
			t.Errorf("a retry that waits as asked: %v after %v", err, time.Since(began))
		}
	})
}

func TestExplainRateLimit(t *testing.T) {
	t.Parallel()
	e := parsePolicy(t, limited).Explain(mesh.Query{Caller: spiffeid.RequireFromString(portico), Method: echoMethod})
	want := []mesh.RateLimitExplanation{{Name: "callers", Burst: 5, Every: 500 * time.Millisecond}}
	if diff := cmp.Diff(want, e.RateLimits); diff != "" || !strings.Contains(e.String(), "  rate: 5 at once, and one every 500ms (RateLimit \"callers\")\n") {
		t.Errorf("%s\n%s", diff, e)
	}
}
