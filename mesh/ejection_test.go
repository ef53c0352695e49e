package mesh_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh"
)

// Which codes cost a replica its calls is the policy's to say: gateway errors alone, all
// server errors, or none. Codes that speak of the request or its caller never do, nor
// does DEADLINE_EXCEEDED as an answer: see TestBlameForTime.
func TestWhichCodesEject(t *testing.T) {
	t.Parallel()
	gateway := map[codes.Code]bool{codes.Unavailable: true}
	all := map[codes.Code]bool{codes.Unavailable: true, codes.Unknown: true, codes.Internal: true, codes.DataLoss: true}
	for words, eject := range map[string]map[codes.Code]bool{
		"":                            gateway,
		"consecutiveGatewayErrors: 3": gateway,
		"consecutiveGatewayErrors: 0, consecutive5xxErrors: 3": all,
		"consecutiveGatewayErrors: 0":                          nil,
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t, 2, fmt.Sprintf("trafficPolicy: {outlierDetection: {%s}}\n---\nkind: Route\nhosts: [\"static:///replica-0:1,replica-1:1\"]\nhttp: [{retries: {attempts: 0}}]\n", words),
						func(i int, _ context.Context) error {
							if i == 0 {
								return status.Error(code, "as told")
							}
							return nil
						})
					for range 30 {
						_, _ = call(t.Context(), c.conn, echoMethod, "x")
					}
					if out := c.client.Stats().Endpoints[0].Ejected; out != eject[code] {
						t.Errorf("a replica that answers %v is ejected: %v", code, out)
					}
				})
			}
		})
	}
}

// A replica that is connected anew, with warmup, takes up its share slowly, by every way
// of choosing that knows shares.
func TestWarmup(t *testing.T) {
	t.Parallel()
	for _, balancer := range []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PEAK_EWMA"} {
		t.Run(balancer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := newCA(t, "shop.test", time.Hour)
				f := newFleet(t, ca, "a:1", "b:1", "c:1")
				counts := map[string]int{}
				var services list
				policy := parsePolicy(t, "kind: Destination\nhost: orders\nidentities: ["+orders+"]\ntrafficPolicy: {loadBalancer: {simple: "+balancer+", warmup: {duration: 100s}}}\n")
				conn := connect(t, join(t, ca, "portico", mesh.Options{Discovery: &services, Policy: policy}), &f.network, "mesh:///orders")
				share := func(calls int) float64 {
					t.Helper()
					clear(counts)
					for range calls {
						f.mu.Lock()
						clear(f.seen)
						f.mu.Unlock()
						if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
							t.Fatal(err)
						}
						f.mu.Lock()
						for address := range f.seen {
							counts[address]++
						}
						f.mu.Unlock()
					}
					return float64(counts["c:1"]) / float64(calls)
				}
				share(1)
				services.mu.Lock()
				update := services.updates["orders"]
				services.mu.Unlock()
				update([]mesh.Endpoint{{Address: "a:1"}, {Address: "b:1"}}, nil)
				time.Sleep(2 * time.Minute) // these are warm
				update([]mesh.Endpoint{{Address: "a:1"}, {Address: "b:1"}, {Address: "c:1"}}, nil)
				time.Sleep(time.Second)
				if got := share(1000); got < 0.005 || got > 0.1 {
					t.Errorf("at first the new replica gets %.3f of the calls, want about a tenth of its third", got)
				}
				time.Sleep(2 * time.Minute)
				if got := share(1000); got < 0.25 || got > 0.42 {
					t.Errorf("later it gets %.3f of the calls, want about a third", got)
				}
			})
		})
	}
}
