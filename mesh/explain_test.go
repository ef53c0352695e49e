package mesh_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/mesh"
)

const explained = `
kind: Authorization
name: doors
action: ALLOW
rules:
- from: [{source: {principals: [spiffe://shop.test/portico]}}]
  to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
---
kind: Authorization
name: no-drops
action: DENY
rules:
- to: [{operation: {paths: [/shop.orders.v1.OrderService/Drop]}}]
---
kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}
---
kind: Route
hosts: [orders]
http:
- match: [{headers: {x-canary: {exact: "true"}}}]
  timeout: 1s
  retries: {attempts: 3, perTryTimeout: 300ms, retryOn: 5xx}
- match: [{uri: {prefix: /shop.orders.v1.OrderService/Get}}]
  timeout: 2s
`

func TestExplain(t *testing.T) {
	t.Parallel()
	policy := parsePolicy(t, explained)
	caller := spiffeid.RequireFromString(portico)
	base := mesh.Explanation{
		Allowed: true, Policy: "doors", Rule: 0,
		Destination: "orders", Identities: []spiffeid.ID{spiffeid.RequireFromString(orders)}, LoadBalancer: "LEAST_REQUEST",
		Entry: -1, Retries: 2, RetryOn: []codes.Code{codes.Unavailable},
		RetryRatio: 0.2, MinRetriesPerSecond: 10,
		Outlier: mesh.OutlierExplanation{
			ConsecutiveGatewayErrors: 5, Interval: 10 * time.Second,
			BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute, MaxEjectionPercent: 50,
		},
	}
	with := func(change func(*mesh.Explanation)) mesh.Explanation {
		e := base
		change(&e)
		return e
	}
	tests := []struct {
		name  string
		query mesh.Query
		want  mesh.Explanation
	}{
		{
			"defaults of a known destination",
			mesh.Query{Caller: caller, Target: "dns:///orders:7000", Method: "/shop.orders.v1.OrderService/List"},
			base,
		},
		{
			"by method",
			mesh.Query{Caller: caller, Target: "dns:///orders:7000", Method: "/shop.orders.v1.OrderService/GetOrder"},
			with(func(e *mesh.Explanation) { e.Route, e.Entry, e.Timeout = "orders", 1, 2*time.Second }),
		},
		{
			"by metadata",
			mesh.Query{Caller: caller, Target: "dns:///orders:7000", Method: "/shop.orders.v1.OrderService/GetOrder", Metadata: metadata.Pairs("x-canary", "true")},
			with(func(e *mesh.Explanation) {
				e.Route, e.Entry, e.Timeout, e.Retries, e.PerTryTimeout = "orders", 0, time.Second, 3, 300*time.Millisecond
				e.RetryOn = []codes.Code{codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss}
			}),
		},
		{
			"denied by a rule",
			mesh.Query{Caller: caller, Target: "dns:///orders:7000", Method: "/shop.orders.v1.OrderService/Drop"},
			with(func(e *mesh.Explanation) { e.Allowed, e.Policy = false, "no-drops" }),
		},
		{
			"denied for want of a rule, at an unknown destination",
			mesh.Query{Caller: caller, Target: "dns:///fleet:7000", Method: "/shop.fleet.v1.FleetService/Get"},
			with(func(e *mesh.Explanation) {
				e.Allowed, e.Policy, e.Rule = false, "", -1
				e.Destination, e.Identities, e.LoadBalancer = "", nil, "ROUND_ROBIN"
			}),
		},
		{
			"the server's side alone",
			mesh.Query{Caller: caller, Method: "/shop.orders.v1.OrderService/GetOrder"},
			mesh.Explanation{Allowed: true, Policy: "doors", Entry: -1},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := policy.Explain(test.query)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(spiffeid.ID{}), cmpopts.IgnoreFields(mesh.Explanation{}, "Query")); diff != "" {
				t.Error(diff)
			}
		})
	}
	m := join(t, newCA(t, "shop.test", time.Hour), "portico", mesh.Options{Policy: policy})
	if got := m.Explain(tests[0].query); got.Policy != "doors" {
		t.Errorf("the mesh explains %+v", got)
	}
}

func ExamplePolicy_Explain() {
	policy, err := mesh.ParsePolicy("mesh.yaml", []byte(explained))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(policy.Explain(mesh.Query{
		Caller: spiffeid.RequireFromString("spiffe://shop.test/portico"),
		Target: "dns:///orders:7000",
		Method: "/shop.orders.v1.OrderService/GetOrder",
	}))
	// Output:
	// /shop.orders.v1.OrderService/GetOrder from spiffe://shop.test/portico: allowed (Authorization "doors", rule 1)
	// dns:///orders:7000: Destination "orders"
	//   server: spiffe://shop.test/orders
	//   balancing: LEAST_REQUEST
	//   ejection: after 5 gateway errors in a row; for 30s to 5m0s, at most 50% at a time
	//   Route "orders", entry 2
	//   timeout: 2s
	//   retries: 2 on Unavailable, if the method is idempotent
	//   budget: 0.2 retries a call, and 10 a second
}

// Hedges are told with what they wait for.
func TestExplainHedging(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"":                                   "  hedges: 1, 50ms apart, if the method is idempotent\n",
		", hedgingPercentile: {value: 99.5}": "  hedges: 1, p99.5 of the entry's calls (50ms until it is known) apart, if the method is idempotent\n",
	} {
		e := parsePolicy(t, "kind: Route\nhosts: [orders]\nhttp: [{hedging: {maxAttempts: 2, hedgingDelay: 50ms"+more+"}}]").Explain(mesh.Query{Target: "dns:///orders:1", Method: echoMethod})
		if !strings.Contains(e.String(), want) {
			t.Errorf("%s\ndoes not say %s", e, want)
		}
	}
}

// Zones and warm-up are told, and of a live mesh which endpoints they concern.
func TestExplainPlaces(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	f := newFleet(t, ca, "a:1", "b:1")
	m := join(t, ca, "portico", mesh.Options{
		Zone:      "north/a",
		Discovery: fixedList{{Address: "a:1", Zone: "north/a"}, {Address: "b:1", Zone: "south/a"}},
		Policy: parsePolicy(t, `
kind: Destination
host: orders
identities: [`+orders+`]
trafficPolicy:
  loadBalancer:
    localityLbSetting: {failover: [{from: north, to: south}]}
    warmup: {duration: 1h, minimumPercent: 25, aggression: 2}
`),
	})
	conn := connect(t, m, &f.network, "mesh:///orders")
	conn.Connect()
	var e mesh.Explanation
	for range 1000 {
		e = m.Explain(mesh.Query{Target: "mesh:///orders", Method: echoMethod})
		if len(e.Endpoints) == 2 && e.Endpoints[0].Ready && e.Endpoints[1].Ready {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if want := (mesh.LocalityExplanation{Zone: "north/a", Failover: map[string]string{"north": "south"}}); !cmp.Equal(want, e.Locality) {
		t.Errorf("locality: %+v", e.Locality)
	}
	if want := (mesh.WarmupExplanation{Duration: time.Hour, MinimumPercent: 25, Aggression: 2}); want != e.Warmup {
		t.Errorf("warmup: %+v", e.Warmup)
	}
	if len(e.Endpoints) != 2 || e.Endpoints[0].Zone != "north/a" || e.Endpoints[1].Zone != "south/a" ||
		e.Endpoints[0].Warmth < 0.25 || e.Endpoints[0].Warmth > 0.3 {
		t.Errorf("endpoints: %+v", e.Endpoints)
	}
	for _, line := range []string{
		"  locality: nearest first, from north/a, north fails over to south\n",
		"  warmup: 1h0m0s from 25%, aggression 2\n",
		"  endpoint: a:1 in north/a, warming up: 25%\n",
	} {
		if !strings.Contains(e.String(), line) {
			t.Errorf("%s\ndoes not say %s", e, line)
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	f := newFleet(t, ca, "a:1")
	client := join(t, ca, "portico", mesh.Options{})
	conn := connect(t, client, &f.network, "static:///a:1", mesh.ExpectIdentity(orders))
	if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	client.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/mesh", nil))
	var got mesh.Stats
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, recorder.Body)
	}
	want := []mesh.EndpointStats{{Target: "static:///a:1", Address: "a:1", Ready: true, Warmth: 1}}
	if diff := cmp.Diff(want, got.Endpoints); diff != "" || got.Calls != 1 || got.CertificateExpiry.IsZero() {
		t.Errorf("%s\n%s", recorder.Body, diff)
	}
}
