package mesh_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Of two replicas that are connected a call's second attempt goes to the one that its
// first did not, be it a retry or a hedge, and however endpoints are chosen.
func TestFurtherAttemptsGoElsewhere(t *testing.T) {
	t.Parallel()
	balancers := map[string]string{"consistentHash": "consistentHash: {httpHeaderName: id}"}
	for _, word := range []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PEAK_EWMA"} {
		balancers[word] = "simple: " + word
	}
	for name, balancer := range balancers {
		for kind, route := range map[string]string{
			"retries": "retries: {attempts: 1, backoff: 1ms}",
			"hedges":  "retries: {attempts: 0}, hedging: {maxAttempts: 2, hedgingDelay: 10ms}",
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					went := map[string][]int{} // call -> replicas
					c := newCluster(t, 2, fmt.Sprintf(`trafficPolicy:
  loadBalancer: {%s}
  outlierDetection: {consecutiveGatewayErrors: 0}
  retryBudget: {retryRatio: 1, minRetriesPerSecond: 100, ttl: 10s}
---
kind: Route
hosts: ["static:///replica-0:1,replica-1:1"]
http: [{timeout: 5s, %s}]
`, balancer, route), func(i int, ctx context.Context) error {
						id := metadata.ValueFromIncomingContext(ctx, "id")[0]
						mu.Lock()
						went[id] = append(went[id], i)
						mu.Unlock()
						if kind == "retries" {
							return status.Error(codes.Unavailable, "down")
						}
						select {
						case <-time.After(20 * time.Millisecond):
						case <-ctx.Done():
						}
						return ctx.Err()
					})
					const calls = 40
					var work sync.WaitGroup
					for i := range calls { // some at a time, so that turns are mixed
						work.Go(func() {
							_, _ = call(metadata.AppendToOutgoingContext(t.Context(), "id", strconv.Itoa(i)), c.conn, echoMethod, "x")
						})
						if i%3 == 0 {
							time.Sleep(7 * time.Millisecond)
						}
					}
					work.Wait()
					mu.Lock() // who was hedged in vain may still be served
					defer mu.Unlock()
					for id, replicas := range went {
						slices.Sort(replicas)
						if !slices.Equal(replicas, []int{0, 1}) {
							t.Errorf("the attempts of call %s went to %v", id, replicas)
						}
					}
					if len(went) != calls {
						t.Errorf("%d calls, want %d", len(went), calls)
					}
				})
			})
		}
	}
}

// A retry waits for its backoff, which doubles up to ten times the first and is a fifth
// more or less by chance: no two callers come again together.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time // one call at a time
		c := newCluster(t, 1, `trafficPolicy:
  outlierDetection: {consecutiveGatewayErrors: 0}
  retryBudget: {retryRatio: 10, minRetriesPerSecond: 100, ttl: 10s}
---
kind: Route
hosts: ["static:///replica-0:1"]
http: [{timeout: 1m, retries: {attempts: 6, backoff: 100ms}}]
`, func(int, context.Context) error {
			at = append(at, time.Now())
			return status.Error(codes.Unavailable, "down")
		})
		var least, most [6]time.Duration
		for range 30 {
			at = at[:0]
			if _, err := call(t.Context(), c.conn, echoMethod, "x"); status.Code(err) != codes.Unavailable || len(at) != 7 {
				t.Fatalf("%v after %d attempts", err, len(at))
			}
			for i := range least {
				waited := at[i+1].Sub(at[i])
				if least[i] == 0 || waited < least[i] {
					least[i] = waited
				}
				most[i] = max(most[i], waited)
			}
		}
		for i, ms := range []int{100, 200, 400, 800, 1000, 1000} {
			want := time.Duration(ms) * time.Millisecond
			if least[i] < want*8/10 || most[i] > want*12/10 || least[i] > want*95/100 || most[i] < want*105/100 {
				t.Errorf("retry %d came after %v to %v, want a fifth less than %v to a fifth more", i+1, least[i], most[i], want)
			}
		}
	})
}
