package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/budget"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

const whole = `# The policy of a shop.
kind: PeerAuthentication
mtls: {mode: STRICT}
---
kind: Authorization
name: orders
action: ALLOW
dryRun: true
rules:
  - from:
      - source: {principals: [spiffe://shop.test/portico, "spiffe://shop.test/ns/*", "spiffe://partner.test/*"], notPrincipals: ["*"]}
    to:
      - operation:
          paths: [/shop.orders.v1.OrderService/*, "*"]
          notPaths: [/shop.orders.v1.OrderService/Drop]
    when:
      - {key: "request.headers[X-Team]", values: [red, "blue*", "*"], notValues: [green]}
---
kind: Destination
host: orders:7000
identities: [spiffe://shop.test/orders]
trafficPolicy:
  loadBalancer: {simple: LEAST_REQUEST}
  outlierDetection: {consecutiveGatewayErrors: 7, consecutive5xxErrors: 9, interval: 3s, successRateEjection: {stdevFactor: 1500}, baseEjectionTime: 10s, maxEjectionTime: 1m, maxEjectionPercent: 30}
  retryBudget: {retryRatio: 0.1, minRetriesPerSecond: 2.5, ttl: 20s}
---
kind: Route
hosts: [orders]
http:
  - name: reads
    match:
      - uri: {prefix: /shop.orders.v1.OrderService/Get}
        headers: {x-canary: {exact: "true"}, x-any: {}, x-re: {regex: "a|b"}}
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: "5xx,cancelled", retryIgnorePreviousHosts: false, backoff: 10ms}
  - timeout: 10s
    hedging: {maxAttempts: 3, hedgingDelay: 40ms, hedgingPercentile: {value: 95}}
`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := policy.Parse("mesh.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := &policy.Policy{
		Authorizations: []authz.Policy{{Name: "orders", DryRun: true, Rules: []authz.Rule{{
			From: []authz.Source{{
				Principals: []authz.PrincipalPattern{
					{Principal: authz.Principal{TrustDomain: "shop.test", Path: "/portico"}},
					{Principal: authz.Principal{TrustDomain: "shop.test", Path: "/ns/"}, Prefix: true},
					{Principal: authz.Principal{TrustDomain: "partner.test", Path: "/"}, Prefix: true}, // a whole trust domain
				},
				NotPrincipals: []authz.PrincipalPattern{{Any: true}},
			}},
			To: []authz.Operation{{
				Paths:    []authz.PathPattern{{Path: "/shop.orders.v1.OrderService/", Prefix: true}, {Prefix: true}},
				NotPaths: []authz.PathPattern{{Path: "/shop.orders.v1.OrderService/Drop"}},
			}},
			When: []authz.Header{
				{Name: "x-team", Values: []string{"red"}, Prefixes: []string{"blue"}, Present: true},
				{Name: "x-team", Values: []string{"green"}, Not: true},
			},
		}}}},
		Destinations: []policy.Destination{{
			Host: "orders:7000", Identities: []spiffeid.ID{spiffeid.RequireFromString("spiffe://shop.test/orders")},
			Balance: picker.Config{Algorithm: picker.LeastRequest},
			Outlier: outlier.Config{
				ConsecutiveGatewayErrors: 7, Interval: 3 * time.Second, BaseEjection: 10 * time.Second, MaxEjection: time.Minute, MaxEjectionPercent: 30,
				Consecutive5xxErrors: 9, SuccessRate: outlier.SuccessRate{StdevFactor: 1500, MinimumHosts: 5, RequestVolume: 100},
			},
			Budget: budget.Config{Ratio: 0.1, MinPerSecond: 2.5, TTL: 20 * time.Second},
		}},
		Routes: []policy.Route{{Hosts: []string{"orders"}, Rules: []policy.RouteRule{
			{
				Name: "reads",
				Match: []policy.Match{{
					Path: []authz.PathPattern{{Path: "/shop.orders.v1.OrderService/Get", Prefix: true}},
					Headers: []authz.Header{
						{Name: "x-canary", Values: []string{"true"}},
						{Name: "x-any", Present: true},
						{Name: "x-re"},
					},
				}},
				Timeout: 2 * time.Second,
				Retries: policy.Retries{
					Attempts: 3, PerTryTimeout: 500 * time.Millisecond,
					On:          policy.Conditions(0).Add(codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss, codes.Canceled),
					BaseBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
				},
			},
			{
				Timeout: 10 * time.Second, Retries: policy.DefaultRule().Retries,
				Hedging: policy.Hedging{MaxAttempts: 3, Delay: 40 * time.Millisecond, Percentile: 95},
			},
		}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(authz.Header{}, "Regexps"), cmpopts.EquateComparable(spiffeid.ID{})); diff != "" {
		t.Error(diff)
	}
	if re := got.Routes[0].Rules[0].Match[0].Headers[2].Regexps; len(re) != 1 || !re[0].MatchString("b") || re[0].MatchString("ab") {
		t.Errorf("regex %v, want one for the whole value", re)
	}
}

// Every mistake is refused with its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"no kind", "name: x", `m.yaml:1:1: document: "kind" is missing`},
		{"unknown kind", "kind: Authorisation", `m.yaml:1:7: kind: the mesh does not honour "Authorisation", want "Authorization", "Destination", "Egress", "Overload", "PeerAuthentication", "RateLimit" or "Route"; did you mean "Authorization"?`},
		{"not a mapping", "- a", `m.yaml:1:1: document: a list, want a mapping`},
		{"no YAML", "kind: [", `m.yaml:1:7: `},
		{"a key twice", "kind: Authorization\nkind: Route", `m.yaml:2:1: `},
		{"permissive for all", "kind: PeerAuthentication\nmtls: {mode: PERMISSIVE}", `m.yaml:1:1: PeerAuthentication: mode "PERMISSIVE" wants "principals"`},
		{"permissive for a domain", "kind: PeerAuthentication\nprincipals: [\"spiffe://a.test/*\"]\nportLevelMtls: {80: {mode: PERMISSIVE}}", `m.yaml:1:1: PeerAuthentication: mode "PERMISSIVE" wants "principals"`},
		{"no TLS", "kind: PeerAuthentication\nmtls: {mode: DISABLE}", `m.yaml:2:14: mode: the mesh does not honour "DISABLE", want "STRICT" or "PERMISSIVE"`},
		{"no mode", "kind: PeerAuthentication", `want "mtls" or "portLevelMtls"`},
		{"port", "kind: PeerAuthentication\nportLevelMtls: {070: {mode: STRICT}}", `m.yaml:2:17: portLevelMtls: "070", want a port`},
		{"missing keys", "kind: Authorization", `m.yaml:1:1: Authorization: "name" is missing`},
		{"unknown key", "kind: Destination\nhost: a\nidentitys: []", `m.yaml:3:1: Destination: the mesh does not honour "identitys", want "kind", "host", `},
		{"custom action", "kind: Authorization\nname: a\naction: CUSTOM\nrules: []", `m.yaml:3:9: action: the mesh does not honour "CUSTOM", want "ALLOW" or "DENY"`},
		{"empty rule", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{}]", `rule: it matches everything`},
		{"no principals", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{from: [{source: {principals: []}}]}]", `source: want "principals" or "notPrincipals"`},
		{"Istio's short principal", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{from: [{source: {principals: [cluster.local/ns/x]}}]}]", `m.yaml:4:40: principal: "cluster.local/ns/x", want a SPIFFE id`},
		{"trust domain as principal", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{from: [{source: {principals: [\"spiffe://shop.test\"]}}]}]", `want a SPIFFE id`},
		{"namespaces", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{from: [{source: {namespaces: [x]}}]}]", `m.yaml:4:27: source: the mesh does not honour "namespaces"`},
		{"method without slash", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{to: [{operation: {paths: [a.S/Get]}}]}]", `path: "a.S/Get", want a method such as`},
		{"suffix", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{to: [{operation: {paths: [\"*/Get\"]}}]}]", `path: "*/Get", want a method`},
		{"other condition", "kind: Authorization\nname: a\naction: ALLOW\nrules: [{when: [{key: source.ip, values: [a]}]}]", `key: the mesh does not honour "source.ip", want "request.headers[name]"`},
		{"same name twice", "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\n---\nkind: Destination\nhost: a\nidentities: [spiffe://x.test/a]", `m.yaml:6:7: Destination: a second one for "a"`},
		{"identities missing", "kind: Destination\nhost: a", `"identities" is missing`},
		{"identities empty", "kind: Destination\nhost: a\nidentities: []", `a server is always pinned`},
		{"whole trust domain", "kind: Destination\nhost: a\nidentities: [spiffe://shop.test]", `m.yaml:3:14: identity: "spiffe://shop.test", want a whole SPIFFE id`},
		{"balancer", "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\ntrafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}", `m.yaml:4:40: simple: the mesh does not honour "PASSTHROUGH"`},
		{"percent", "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 200}}", `maxEjectionPercent: 200, want a whole number from 0 to 100`},
		{"duration", "kind: Route\nhosts: [a]\nhttp: [{timeout: 5}]", `m.yaml:3:18: timeout: 5, want a positive duration`},
		{"negative duration", "kind: Route\nhosts: [a]\nhttp: [{timeout: -5s}]", `want a positive duration`},
		{"retry condition", "kind: Route\nhosts: [a]\nhttp: [{retries: {attempts: 1, retryOn: \"5xx,reset\"}}]", `retryOn: the mesh does not honour "reset"`},
		{"rewriting", "kind: Route\nhosts: [a]\nhttp: [{rewrite: {uri: /b}}]", `m.yaml:3:9: http: the mesh does not honour "rewrite"`},
		{"hedging without a delay", "kind: Route\nhosts: [a]\nhttp: [{hedging: {maxAttempts: 2}}]", `hedging: "hedgingDelay" is missing`},
		{"hedging at no percentile", "kind: Route\nhosts: [a]\nhttp: [{hedging: {maxAttempts: 2, hedgingDelay: 1s, hedgingPercentile: {value: 100}}}]", `m.yaml:3:80: value: 100, want a number from 50 to 99.9`},
		{"regex", "kind: Route\nhosts: [a]\nhttp: [{match: [{headers: {x: {regex: \"(\"}}}]}]", `regex: error parsing regexp`},
		{"alias", "kind: Route\nhosts: &h [a]\nhttp: []", `an anchor, alias or tag (not supported here)`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := policy.Parse("m.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("taken: %+v", p)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if !strings.HasPrefix(err.Error(), "m.yaml:") {
				t.Errorf("no place in %v", err)
			}
		})
	}
}

const balanced = `kind: Destination
host: a
identities: [spiffe://x.test/a]
trafficPolicy:
  loadBalancer:
    consistentHash: {httpHeaderName: X-User, ringHash: {minimumRingSize: 64}}
    localityLbSetting: {enabled: true, failover: [{from: north, to: south}]}
  connectionPool:
    tcp: {maxConnections: 100}
    http: {http2MaxRequests: 50, http1MaxPendingRequests: 5, maxRequestsPerConnection: 10, maxConcurrentStreams: 20}
  outlierDetection: {minHealthPercent: 40}
---
kind: Destination
host: b
identities: [spiffe://x.test/b]
trafficPolicy:
  loadBalancer: {simple: PEAK_EWMA, warmup: {duration: 30s, aggression: 1.5}, localityLbSetting: {enabled: false}}
  connectionPool: {http: {http2MaxRequests: 50}}
---
kind: Route
hosts: [a]
http: [{retries: {attempts: 1, retryRemoteLocalities: true}}]
`

func TestBalancing(t *testing.T) {
	t.Parallel()
	got, err := policy.Parse("m.yaml", []byte(balanced))
	if err != nil {
		t.Fatal(err)
	}
	a, b := policy.DefaultDestination(), policy.DefaultDestination()
	a.Host, a.Identities = "a", []spiffeid.ID{spiffeid.RequireFromString("spiffe://x.test/a")}
	a.HashHeader = "x-user"
	a.Balance = picker.Config{Algorithm: picker.ConsistentHash, RingSize: 64, MinHealthPercent: 40, MaxActive: 20}
	a.Locality.Failover = map[string]string{"north": "south"}
	a.Pool = policy.Pool{MaxConnections: 100, MaxRequests: 50, MaxPending: 5, MaxRequestsPerConnection: 10}
	b.Host, b.Identities = "b", []spiffeid.ID{spiffeid.RequireFromString("spiffe://x.test/b")}
	b.Balance = picker.Config{Algorithm: picker.PeakEWMA, Warmup: picker.Warmup{Duration: 30 * time.Second, Aggression: 1.5, MinimumPercent: 10}}
	b.Locality.Off = true
	b.Pool = policy.Pool{MaxRequests: 50, MaxPending: 1024}
	if diff := cmp.Diff([]policy.Destination{a, b}, got.Destinations, cmpopts.EquateComparable(spiffeid.ID{})); diff != "" {
		t.Error(diff)
	}
	if !got.Routes[0].Rules[0].Retries.RemoteLocalities {
		t.Error("retryRemoteLocalities is not taken")
	}
}

func TestTier(t *testing.T) {
	t.Parallel()
	l := policy.Locality{Failover: map[string]string{"north": "south"}}
	for zone, want := range map[string]int{"north/1": 0, "north/2": 1, "north": 1, "south/1": 2, "west/1": 3, "": 3} {
		if got := l.Tier("north/1", zone); got != want {
			t.Errorf("%q is in tier %d, want %d", zone, got, want)
		}
	}
	if l.Tier("", "west/1") != 0 || (&policy.Locality{Off: true}).Tier("north/1", "west/1") != 0 {
		t.Error("zones count where they should not")
	}
}

func TestBalancingMistakes(t *testing.T) {
	t.Parallel()
	const before = "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\ntrafficPolicy: "
	for text, want := range map[string]string{
		"{loadBalancer: {simple: RANDOM, consistentHash: {httpHeaderName: x}}}":                 `m.yaml:4:32: loadBalancer: want "simple" or "consistentHash", not both`,
		"{loadBalancer: {consistentHash: {useSourceIp: true}}}":                                 `consistentHash: the mesh does not honour "useSourceIp", want "httpHeaderName" or "ringHash"`,
		"{loadBalancer: {consistentHash: {}}}":                                                  `consistentHash: "httpHeaderName" is missing`,
		"{loadBalancer: {consistentHash: {httpHeaderName: x}, warmup: {duration: 5s}}}":         `"warmup" has no effect`,
		"{loadBalancer: {warmup: {aggression: 2}}}":                                             `m.yaml:4:41: warmup: "duration" is missing`,
		"{loadBalancer: {warmup: {duration: 5s, minimumPercent: 0}}}":                           `minimumPercent: 0, want a whole number from 1 to 100`,
		"{loadBalancer: {localityLbSetting: {distribute: []}}}":                                 `localityLbSetting: the mesh does not honour "distribute"`,
		"{loadBalancer: {localityLbSetting: {failover: [{from: a/b, to: c}]}}}":                 `from: "a/b", want a region`,
		"{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}, {from: a, to: c}]}}}": `a second one from "a"`,
		"{connectionPool: {tcp: {connectTimeout: 11s}}}":                                        `m.yaml:4:56: connectTimeout: want at most 10s`,
		"{tls: {mode: MUTUAL}}":                                  `m.yaml:4:29: mode: the mesh does not honour "MUTUAL", want "ISTIO_MUTUAL" or "SIMPLE"`,
		"{tls: {mode: DISABLE}}":                                 `mode: the mesh does not honour "DISABLE"`,
		"{tls: {mode: SIMPLE}}":                                  `"identities" are of servers in the mesh`,
		"{tls: {mode: ISTIO_MUTUAL, sni: a}}":                    `"sni" and "caCertificates" are for mode "SIMPLE"`,
		"{connectionPool: {http: {maxRetries: 1}}}":              `http: the mesh does not honour "maxRetries"`,
		"{connectionPool: {http: {http1MaxPendingRequests: 1}}}": `bounds nothing without "http2MaxRequests"`,
		"{connectionPool: {http: {http2MaxRequests: 0}}}":        `http2MaxRequests: 0, want a whole number from 1`,
	} {
		_, err := policy.Parse("m.yaml", []byte(before+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := policy.Parse("m.yaml", []byte(`kind: Destination
host: a
identities: [x]
trafficPolicy: {tls: {}}
---
kind: Route
hosts: [a]
http: [{timeout: soon, fault: {}}]
`))
	if n := strings.Count(err.Error(), "m.yaml:"); n != 4 {
		t.Errorf("%d mistakes, want 4:\n%v", n, err)
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n---\n"} {
		if p, err := policy.Parse("m.yaml", []byte(text)); err != nil || len(p.Authorizations) != 0 {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		host, target string
		want         bool
	}{
		{"orders", "dns:///orders:7000", true},
		{"orders:7000", "dns:///orders:7000", true},
		{"dns:///orders:7000", "dns:///orders:7000", true},
		{"orders:7001", "dns:///orders:7000", false},
		{"order", "dns:///orders:7000", false},
		{"orders", "dns:orders:7000", true},
		{"orders", "orders:7000", true},
		{"orders", "dns://8.8.8.8/orders:7000", true},
		{"10.0.0.1:1,10.0.0.2:1", "static:///10.0.0.1:1,10.0.0.2:1", true},
		{"10.0.0.1", "static:///10.0.0.1:1,10.0.0.2:1", false},
		{"::1", "passthrough:///[::1]:7000", true},
		{"run/orders.sock", "unix:///run/orders.sock", true},
	}
	for _, test := range tests {
		if got := policy.Names(test.host, test.target); got != test.want {
			t.Errorf("%q names %q: %v", test.host, test.target, got)
		}
	}
}

// FuzzParse holds that no text makes Parse panic, that it returns a policy or an
// error and not both, and that every mistake has the file's name.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("kind: [")
	f.Add("kind: Route\nhosts: &h [a]\nhttp: [*h]")
	f.Add("? {a: b}\n: c\n")
	f.Add("kind: Authorization\nname: |\n  x\naction: !!str ALLOW\nrules: [{}]")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := policy.Parse("m.yaml", []byte(text))
		if (p == nil) == (err == nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\nm.yaml") {
				if !strings.HasPrefix(line, "m.yaml") && !strings.HasPrefix(line, ":") {
					t.Fatalf("no place: %q", line)
				}
			}
		}
	})
}
