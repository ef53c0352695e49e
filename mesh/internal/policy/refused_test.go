package policy_test

import (
	"strings"
	"testing"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// Words of Istio's that the mesh does not honour are refused by name, with what does
// their work.
func TestIstioWordsThatAreRefused(t *testing.T) {
	t.Parallel()
	const (
		destination = "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\n"
		route       = "kind: Route\nhosts: [a]\nhttp:\n- "
		caller      = "kind: Authorization\nname: a\naction: ALLOW\nrules:\n- "
	)
	for _, test := range []struct{ word, text, want string }{
		{"apiVersion", "apiVersion: v1\nkind: Route\nhosts: [a]\nhttp: []", "documents are flat"},
		{"VirtualService", "kind: VirtualService", `called "Route"`},
		{"DestinationRule", "kind: DestinationRule", `called "Destination"`},
		{"AuthorizationPolicy", "kind: AuthorizationPolicy", `called "Authorization"`},
		{"ServiceEntry", "kind: ServiceEntry", `tls mode "SIMPLE"`},
		{"selector", "kind: PeerAuthentication\nselector: {}\nmtls: {mode: STRICT}", "name them in principals"},
		{"DISABLE", "kind: PeerAuthentication\nmtls: {mode: DISABLE}", "nothing in the clear"},
		{"UNSET", "kind: PeerAuthentication\nmtls: {mode: UNSET}", "it is STRICT"},
		{"maglev", destination + "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {}}}}", `"ringHash" is what there is`},
		{"useSourceIp", destination + "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, useSourceIp: true}}}", "hash a header"},
		{"minimumRingSize", destination + "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, minimumRingSize: 1}}}", `belongs in "ringHash"`},
		{"PASSTHROUGH", destination + "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}", "one is chosen"},
		{"LEAST_CONN", destination + "trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}", `it is "LEAST_REQUEST"`},
		{"warmupDurationSecs", destination + "trafficPolicy: {loadBalancer: {warmupDurationSecs: 3s}}", "warmup: {duration: 30s}"},
		{"distribute", destination + "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: []}}}", "nearest zone"},
		{"failoverPriority", destination + "trafficPolicy: {loadBalancer: {localityLbSetting: {failoverPriority: []}}}", "by region"},
		{"idleTimeout", destination + "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 1h}}}", "keepalive finds dead ones"},
		{"idleTimeout", destination + "trafficPolicy: {connectionPool: {http: {idleTimeout: 1h}}}", "keepalive finds dead ones"},
		{"tcpKeepalive", destination + "trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {}}}}", "pings"},
		{"maxConnectionDuration", destination + "trafficPolicy: {connectionPool: {tcp: {maxConnectionDuration: 1h}}}", "MaxConnectionAge"},
		{"maxRetries", destination + "trafficPolicy: {connectionPool: {http: {maxRetries: 3}}}", `"retryBudget" bounds retries`},
		{"h2UpgradePolicy", destination + "trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}", "ALPN"},
		{"useClientProtocol", destination + "trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}", "ALPN"},
		{"consecutiveErrors", destination + "trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}", `"consecutive5xxErrors"`},
		{"splitExternalLocalOriginErrors", destination + "trafficPolicy: {outlierDetection: {splitExternalLocalOriginErrors: true}}", "gateway errors"},
		{"consecutiveLocalOriginFailures", destination + "trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}", "gateway errors"},
		{"portLevelSettings", destination + "trafficPolicy: {portLevelSettings: []}", "a host with its port"},
		{"tunnel", destination + "trafficPolicy: {tunnel: {}}", "no proxies"},
		{"MUTUAL", destination + "trafficPolicy: {tls: {mode: MUTUAL}}", "its own identity"},
		{"insecureSkipVerify", destination + "trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}", "nobody"},
		{"exportTo", destination + "exportTo: [x]", "who reads it"},
		{"rewrite", route + "rewrite: {uri: /b}", "a gateway's work"},
		{"redirect", route + "redirect: {uri: /b}", "a gateway's work"},
		{"corsPolicy", route + "corsPolicy: {}", "a gateway's work"},
		{"headers", route + "headers: {}", "the caller's"},
		{"mirrors", route + "mirrors: []", `one "mirror"`},
		{"regex", route + "match: [{uri: {regex: x}}]", "exactly or by prefix"},
		{"withoutHeaders", route + "match: [{withoutHeaders: {}}]", "entries are tried in order"},
		{"queryParams", route + "match: [{queryParams: {}}]", "headers"},
		{"httpStatus", route + "fault: {abort: {httpStatus: 500}}", `"grpcStatus"`},
		{"perTryIdleTimeout", route + "retries: {attempts: 1, perTryIdleTimeout: 1s}", `"perTryTimeout"`},
		{"namespaces", caller + "from: [{source: {namespaces: [x]}}]", "name identities"},
		{"ipBlocks", caller + "from: [{source: {ipBlocks: [x]}}]", "addresses prove nothing"},
		{"requestPrincipals", caller + "from: [{source: {requestPrincipals: [x]}}]", "no tokens"},
		{"methods", caller + "to: [{operation: {methods: [GET]}}]", "/package.Service/Method"},
		{"CUSTOM", "kind: Authorization\nname: a\naction: CUSTOM\nrules: []", "rules decide"},
		{"AUDIT", "kind: Authorization\nname: a\naction: AUDIT\nrules: []", `"dryRun"`},
	} {
		_, err := policy.Parse("m.yaml", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), `the mesh does not honour "`+test.word+`"`) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want it refused with %q", test.word, err, test.want)
		}
	}
}
