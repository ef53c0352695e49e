package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh/internal/adaptive"
	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

func TestParseOverload(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse("m.yaml", []byte(`
kind: Overload
name: orders
criticalityFrom: [spiffe://shop.test/portico]
rules:
- to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
  gradientControllerConfig:
    sampleAggregatePercentile: {value: 90}
    concurrencyLimitParams: {maxConcurrencyLimit: 200, concurrencyUpdateInterval: 50ms}
    minRttCalcParams: {interval: 30s, requestCount: 20, minConcurrency: 5, jitter: {value: 10}, buffer: {value: 50}}
  maxPendingRequests: 0
  maxPendingDuration: 200ms
  minRemainingTime: 5ms
- gradientControllerConfig: {}
- minRemainingTime: 1ms
`))
	if err != nil {
		t.Fatal(err)
	}
	portico := authz.Principal{TrustDomain: "shop.test", Path: "/portico"}
	want := []policy.Overload{{
		Name:    "orders",
		Trusted: []authz.PrincipalPattern{{Principal: portico}},
		Rules: []policy.OverloadRule{
			{
				Who:     authz.Rule{To: []authz.Operation{{Paths: []authz.PathPattern{{Path: "/shop.orders.v1.OrderService/", Prefix: true}}}}},
				Limited: true,
				Limit: adaptive.Config{
					Percentile: 90, MaxLimit: 200, MinLimit: 5, Window: 50 * time.Millisecond, Samples: 20,
					Interval: 30 * time.Second, Jitter: 0.1, Buffer: 0.5, MaxPending: 0, MaxWait: 200 * time.Millisecond,
				},
				Minimum: 5 * time.Millisecond,
				ID:      "orders 0",
			},
			{Limited: true, Limit: adaptive.Default(), ID: "orders 1"},
			{Limit: adaptive.Default(), Minimum: time.Millisecond, ID: "orders 2"},
		},
	}}
	if diff := cmp.Diff(want, p.Overloads); diff != "" {
		t.Error(diff)
	}
	if o := &p.Overloads[0]; !o.Trusts(portico) || o.Trusts(authz.Principal{TrustDomain: "shop.test", Path: "/fleet"}) {
		t.Error("the wrong callers are trusted")
	}
}

func TestOverloadMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Overload\nname: orders\nrules:\n- ", [][2]string{
		{`{}`, `m.yaml:4:3: rule: want "gradientControllerConfig" or "minRemainingTime"`},
		{`maxPendingRequests: 1`, `m.yaml:4:3: rule: calls wait for a "gradientControllerConfig" only`},
		{`gradientControlerConfig: {}`, `did you mean "gradientControllerConfig"?`},
		{`gradientControllerConfig: {enabled: true}`, `m.yaml:4:30: gradientControllerConfig: the mesh does not honour "enabled"`},
		{`gradientControllerConfig: {minRttCalcParams: {fixedValue: 5ms}}`, `minRttCalcParams: the mesh does not honour "fixedValue"`},
		{`gradientControllerConfig: {concurrencyLimitParams: {maxConcurrencyLimit: 2}}`, `minConcurrency is 3, want at most maxConcurrencyLimit, 2`},
		{`gradientControllerConfig: {sampleAggregatePercentile: 50}`, `sampleAggregatePercentile: 50, want a mapping`},
		{`minRemainingTime: 5`, `minRemainingTime: 5, want a positive duration`},
		{"minRemainingTime: 5ms\n---\nkind: Overload\nname: orders\nrules: []", `Overload: a second one for "orders"`},
	})
}

func TestMinimumBeyondTheTimeout(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Route\nhosts: [orders]\nhttp:\n- ", [][2]string{
		{`{timeout: 1s, minRemainingTime: 2s}`, `http: minRemainingTime is 2s, want at most the timeout, 1s`},
		{`timeoutMargin: 0`, `timeoutMargin: 0, want a positive duration`},
	})
}
