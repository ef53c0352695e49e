package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/rate"
)

func TestParseRateLimit(t *testing.T) {
	t.Parallel()
	got, err := policy.Parse("m.yaml", []byte(`kind: RateLimit
name: orders
rules:
- from: [{source: {principals: [spiffe://shop.test/portico]}}]
  to: [{operation: {paths: [/shop.orders.v1.OrderService/*]}}]
  tokenBucket: {maxTokens: 100, tokensPerFill: 50, fillInterval: 1s}
- tokenBucket: {maxTokens: 1, fillInterval: 1m}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.RateLimit{{Name: "orders", Rules: []policy.RateRule{
		{
			Who: authz.Rule{
				From: []authz.Source{{Principals: []authz.PrincipalPattern{{Principal: authz.Principal{TrustDomain: "shop.test", Path: "/portico"}}}}},
				To:   []authz.Operation{{Paths: []authz.PathPattern{{Path: "/shop.orders.v1.OrderService/", Prefix: true}}}},
			},
			Limit: rate.Limit{Burst: 100, Every: 20 * time.Millisecond}, ID: "orders 0",
		},
		{Limit: rate.Limit{Burst: 1, Every: time.Minute}, ID: "orders 1"},
	}}}
	if diff := cmp.Diff(want, got.RateLimits); diff != "" {
		t.Error(diff)
	}
}

func TestRateLimitMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: RateLimit\nname: a\nrules:\n- ", [][2]string{
		{"from: [{source: {principals: [\"*\"]}}]", `m.yaml:4:3: rule: "tokenBucket" is missing`},
		{"tokenBucket: {maxTokens: 5}", `"fillInterval" is missing`},
		{"tokenBucket: {maxTokens: 0, fillInterval: 1s}", `m.yaml:4:28: maxTokens: 0, want a whole number from 1`},
		{"tokenBucket: {maxTokens: 5, fillInterval: 1}", `fillInterval: 1, want a positive duration`},
		{"tokenBucket: {maxTokens: 5, fillInterval: 2h}", `want a fillInterval of at most 1h`},
		{"tokenBucket: {maxTokens: 5, tokensPerFill: 1000000, fillInterval: 1ms}", `at most a token every 10ns`},
		{"tokenBucket: {maxTokens: 5, fillInterval: 1s}\n  when: []", `rule: the mesh does not honour "when", want "from", "to" or "tokenBucket"`},
	})
}
