package mesh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

// replica answers calls with its version.
type replica struct {
	address, version string
}

// twoVersions are three replicas of v1 and two of v2.
func twoVersions() []replica {
	return []replica{{"a:1", "v1"}, {"b:1", "v1"}, {"c:1", "v1"}, {"d:1", "v2"}, {"e:1", "v2"}}
}

// newVersions starts replicas and makes a client of all, with a seeded source of
// chance; handle answers for a replica.
func newVersions(t *testing.T, replicas []replica, o mesh.Options, handle func(ctx context.Context, r replica) error) (*mesh.Mesh, *grpc.ClientConn) {
	t.Helper()
	ca := newCA(t, "shop.test", time.Hour)
	var n network
	allow := parsePolicy(t, everybody)
	var endpoints fixedList
	for _, r := range replicas {
		serve := func(ctx context.Context) error {
			if handle == nil {
				return nil
			}
			return handle(ctx, r)
		}
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: allow}), &echo{
			unary: func(ctx context.Context, _ string) (string, error) { return r.version, serve(ctx) },
			stream: func(stream grpc.ServerStream) error {
				return stream.SendMsg(wrapperspb.String(r.version))
			},
		})
		n.add(r.address, listener)
		endpoints = append(endpoints, mesh.Endpoint{Address: r.address, Labels: map[string]string{"version": r.version}})
	}
	o.Discovery = endpoints
	client := join(t, ca, "gateway", o)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(3, 4))
	client.SetChance(func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	})
	conn := connect(t, client, &n, "mesh:///orders")
	(&cluster{client: client, conn: conn, calls: make([]atomic.Int64, len(replicas))}).settle(t)
	return client, conn
}

func fixture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "orders.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func canary(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-canary", "true")
}

// Of a canary's calls all go to v2, of the others nine in ten to v1; streams go the
// same ways.
func TestSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, conn := newVersions(t, twoVersions(), mesh.Options{Policy: parsePolicy(t, fixture(t))}, nil)
		for range 50 {
			if got, err := call(canary(t.Context()), conn, echoMethod, "x"); err != nil || got != "v2" {
				t.Fatalf("canary: %q, %v", got, err)
			}
		}
		const calls = 2000
		seen := map[string]float64{}
		for range calls {
			got, err := call(t.Context(), conn, echoMethod, "x")
			if err != nil {
				t.Fatal(err)
			}
			seen[got]++
		}
		chi := (seen["v1"]-0.9*calls)*(seen["v1"]-0.9*calls)/(0.9*calls) + (seen["v2"]-0.1*calls)*(seen["v2"]-0.1*calls)/(0.1*calls)
		t.Logf("%v, chi-square %.2f", seen, chi)
		if chi > 10.83 { // one in a thousand
			t.Errorf("%v, chi-square %.2f", seen, chi)
		}
		stream, err := openStream(canary(t.Context()), conn, watchMethod)
		if err != nil {
			t.Fatal(err)
		}
		msg := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(msg); err != nil || msg.GetValue() != "v2" {
			t.Errorf("canary's stream: %q, %v", msg.GetValue(), err)
		}
	})
}

const halves = `kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
trafficPolicy: {outlierDetection: {consecutiveGatewayErrors: 0}}
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}}
---
kind: Route
hosts: [orders]
http:
- route:
  - {destination: {host: orders, subset: v1}, weight: 50}
  - {destination: {host: orders, subset: v2}, weight: 50}
  timeout: 5s
  retries: {attempts: 2, backoff: 1ms}
`

// All attempts of a call go to one subset, retries and hedges alike.
func TestSplitIsSticky(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"retries": "",
		"hedges":  "  hedging: {maxAttempts: 3, hedgingDelay: 10ms}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				went := map[string]map[string]int{} // call -> version -> attempts
				_, conn := newVersions(t, twoVersions(), mesh.Options{Policy: parsePolicy(t, halves+more)}, func(ctx context.Context, r replica) error {
					id := metadata.ValueFromIncomingContext(ctx, "id")[0]
					mu.Lock()
					if went[id] == nil {
						went[id] = map[string]int{}
					}
					went[id][r.version]++
					mu.Unlock()
					time.Sleep(25 * time.Millisecond)
					return status.Error(codes.Unavailable, "down")
				})
				for i := range 40 {
					ctx := metadata.AppendToOutgoingContext(t.Context(), "id", strconv.Itoa(i))
					if _, err := call(ctx, conn, echoMethod, "x"); status.Code(err) != codes.Unavailable {
						t.Fatal(err)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				versions, attempts := map[string]int{}, 0
				for id, by := range went {
					if len(by) != 1 {
						t.Errorf("the attempts of call %s went to %v", id, by)
					}
					for version, n := range by {
						versions[version]++
						attempts += n
					}
				}
				if attempts < 80 || versions["v1"] < 10 || versions["v2"] < 10 {
					t.Errorf("%d attempts of 40 calls, to %v: want more, to both", attempts, versions)
				}
			})
		})
	}
}

// A header's value decides, the same in every client; without it chance does.
func TestSplitByHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		policy := parsePolicy(t, halves+"  splitBy: {httpHeaderName: X-User}\n")
		var answers [2][]string
		for i := range answers {
			_, conn := newVersions(t, twoVersions(), mesh.Options{Policy: policy}, nil)
			for user := range 40 {
				got, err := call(metadata.AppendToOutgoingContext(t.Context(), "x-user", "user-"+strconv.Itoa(user%20)), conn, echoMethod, "x")
				if err != nil {
					t.Fatal(err)
				}
				answers[i] = append(answers[i], got)
			}
		}
		if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
			t.Errorf("two clients: %s", diff)
		}
		if diff := cmp.Diff(answers[0][:20], answers[0][20:]); diff != "" {
			t.Errorf("the same users later: %s", diff)
		}
		if n := strings.Count(fmt.Sprint(answers[0][:20]), "v1"); n < 4 || n > 16 {
			t.Errorf("%d of 20 users have v1", n)
		}
	})
}

// Where a subset has no endpoint, the call fails at once and says so; a changed
// policy moves the next call.
func TestSubsetWithoutEndpoints(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	toV2 := strings.Replace(halves, "- {destination: {host: orders, subset: v1}, weight: 50}\n  ", "", 1)
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(toV2)
	synctest.Test(t, func(t *testing.T) {
		_, conn := newVersions(t, []replica{{"a:1", "v1"}, {"b:1", "v3"}}, mesh.Options{PolicyFile: file}, nil)
		_, err := call(t.Context(), conn, writeMethod, "x")
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `no endpoint of mesh:///orders belongs to subset "v2"`) {
			t.Errorf("no endpoints: %v", err)
		}
		write(strings.Replace(toV2, "version: v2", "version: v3", 1))
		time.Sleep(1100 * time.Millisecond)
		if got, err := call(t.Context(), conn, echoMethod, "x"); err != nil || got != "v3" {
			t.Errorf("after the change: %q, %v", got, err)
		}
	})
}

func TestExplainSplit(t *testing.T) {
	t.Parallel()
	policy := parsePolicy(t, fixture(t))
	query := mesh.Query{Target: "mesh:///orders", Method: "/shop.orders.v1.OrderService/GetOrder"}
	e := policy.Explain(query)
	if diff := cmp.Diff([]mesh.SubsetShare{{"v1", 90}, {"v2", 10}}, e.Split); diff != "" || e.Entry != 1 ||
		e.Timeout != 10*time.Second || e.Retries != 3 || e.PerTryTimeout != 2*time.Second || e.LoadBalancer != "LEAST_REQUEST" {
		t.Errorf("%s\n%+v", diff, e)
	}
	if !strings.Contains(e.String(), "\n  to: subset v1 (90), subset v2 (10)\n") {
		t.Errorf("%s", e)
	}
	query.Metadata = metadata.Pairs("x-canary", "true")
	if diff := cmp.Diff([]mesh.SubsetShare{{"v2", 100}}, policy.Explain(query).Split); diff != "" {
		t.Error(diff)
	}
	query.Target, query.Metadata = "", nil
	for _, test := range []struct {
		caller, method string
		want           bool
	}{
		{"gateway", "GetOrder", true},
		{"payments", "PlaceOrder", true},
		{"gateway", "CancelOrder", false},
		{"catalog", "GetOrder", false},
	} {
		query.Caller = spiffeid.RequireFromString("spiffe://shop.test/" + test.caller)
		query.Method = "/shop.orders.v1.OrderService/" + test.method
		if got := policy.Explain(query); got.Allowed != test.want {
			t.Errorf("%s calls %s: %v", test.caller, test.method, got.Allowed)
		}
	}
}
