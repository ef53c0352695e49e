package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/split"
)

const subsets = `kind: Destination
host: orders
identities: [spiffe://shop.test/orders]
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2, zone: a}}
---
`

func TestParseSplit(t *testing.T) {
	t.Parallel()
	// The route stands before the destination that it names.
	got, err := policy.Parse("m.yaml", []byte(`kind: Route
hosts: [orders]
http:
- match: [{headers: {x-canary: {exact: "true"}}}]
  route: [{destination: {host: orders, subset: v2}}]
- route:
  - {destination: {host: orders, subset: v1}, weight: 90}
  - {destination: {host: orders}, weight: 10}
  splitBy: {httpHeaderName: X-User}
---
`+subsets))
	if err != nil {
		t.Fatal(err)
	}
	v1 := &policy.Subset{Name: "v1", Labels: map[string]string{"version": "v1"}}
	v2 := &policy.Subset{Name: "v2", Labels: map[string]string{"version": "v2", "zone": "a"}}
	if diff := cmp.Diff([]*policy.Subset{v1, v2}, got.Destinations[0].Subsets); diff != "" {
		t.Error(diff)
	}
	want := []policy.Split{
		{To: []policy.Share{{Subset: v2, Weight: 100}}, Shares: split.Shares{1}},
		{To: []policy.Share{{Subset: v1, Weight: 90}, {Weight: 10}}, Shares: split.Shares{0.9, 1}, By: "x-user"},
	}
	for i, rule := range got.Routes[0].Rules {
		if diff := cmp.Diff(want[i], rule.Split); diff != "" {
			t.Errorf("entry %d: %s", i, diff)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	s := policy.Subset{Labels: map[string]string{"version": "v2", "zone": "a"}}
	for _, test := range []struct {
		labels map[string]string
		want   bool
	}{
		{map[string]string{"version": "v2", "zone": "a", "more": "x"}, true},
		{map[string]string{"version": "v2"}, false},
		{nil, false},
	} {
		if got := s.Covers(test.labels); got != test.want {
			t.Errorf("%v: %v", test.labels, got)
		}
	}
}

// mistakes are refused with these words, at their place.
func mistakes(t *testing.T, before string, tests [][2]string) {
	t.Helper()
	for _, test := range tests {
		p, err := policy.Parse("m.yaml", []byte(before+test[0]))
		if err == nil {
			t.Errorf("%s\ntaken: %+v", test[0], p)
			continue
		}
		if !strings.Contains(err.Error(), test[1]) || strings.Count(err.Error(), "m.yaml:") != 1 {
			t.Errorf("%s\ngot  %v\nwant %s and no more", test[0], err, test[1])
		}
	}
}

func TestSubsetMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Destination\nhost: a\nidentities: [spiffe://x.test/a]\nsubsets:\n", [][2]string{
		{`- {labels: {a: b}}`, `m.yaml:5:4: subset: "name" is missing`},
		{`- {name: v1}`, `m.yaml:5:4: subset: "labels" is missing`},
		{`- {name: v1, labels: {}}`, `m.yaml:5:22: labels: want at least one`},
		{`- {name: v1, labels: {version: 1}}`, `m.yaml:5:32: label version: 1, want text`},
		{"- {name: v1, labels: {a: b}}\n- {name: v1, labels: {a: c}}", `m.yaml:6:10: subset: a second one for "v1"`},
		{`- {name: v1, labels: {a: b}, trafficPolicy: {}}`, `m.yaml:5:30: subset: the mesh does not honour "trafficPolicy"`},
	})
}

func TestSplitMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, subsets+"kind: Route\nhosts: [orders]\nhttp:\n- ", [][2]string{
		{`route: []`, `m.yaml:11:10: route: want at least one destination with a weight above 0`},
		{`route: [{destination: {host: orders}, weight: 0}]`, `want at least one destination with a weight above 0`},
		{`route: [{destination: {host: orders}}, {destination: {host: orders}, weight: 1}]`, `m.yaml:11:12: route: "weight" is missing`},
		{`route: [{destination: {host: orders}, weight: -1}]`, `weight: -1, want a whole number from 0`},
		{`route: [{destination: {host: payments, subset: v1}}]`, `m.yaml:11:32: host: "payments", want one of the route's own hosts ("orders")`},
		{`route: [{destination: {host: orders, subset: v3}}]`, `m.yaml:11:48: subset: the Destination "orders" has no subset "v3"; did you mean "v1"?`},
		{`route: [{destination: {host: orders, port: {number: 1}}}]`, `m.yaml:11:40: destination: the mesh does not honour "port", want "host" or "subset"`},
		{`route: [{destination: {subset: v1}}]`, `destination: "host" is missing`},
		{`splitBy: {httpHeaderName: x-user}`, `"splitBy" without a "route" of several destinations`},
		{"route: [{destination: {host: orders}, weight: 1}, {destination: {host: orders, subset: v1}, weight: 1}]\n  splitBy: {httpHeaderName: x, httpCookie: {}}", `splitBy: the mesh does not honour "httpCookie", want "httpHeaderName"`},
	})
}
