package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

func TestParseEgress(t *testing.T) {
	t.Parallel()
	got, err := policy.Parse("m.yaml", []byte(`kind: Egress
name: portico
principals: [spiffe://shop.test/portico]
hosts:
- {host: orders, ports: [7000, 7001], sniHosts: [orders.shop]}
- host: payments:7000
---
kind: Egress
name: nothing
hosts: []
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Egress{
		{
			Name: "portico", Principals: []authz.PrincipalPattern{{Principal: authz.Principal{TrustDomain: "shop.test", Path: "/portico"}}},
			Hosts: []policy.EgressHost{
				{Host: "orders", Ports: []string{"7000", "7001"}, SNI: []string{"orders.shop"}},
				{Host: "payments:7000"},
			},
		},
		{Name: "nothing"},
	}
	if diff := cmp.Diff(want, got.Egresses); diff != "" {
		t.Error(diff)
	}
	if e := got.Egresses[0]; !e.Covers(authz.Principal{TrustDomain: "shop.test", Path: "/portico"}) || e.Covers(authz.Principal{TrustDomain: "shop.test", Path: "/orders"}) {
		t.Error("it is about others")
	}
	if !got.Egresses[1].Covers(authz.Principal{}) {
		t.Error("without principals it is not about all")
	}
}

func TestEgressHosts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		host   policy.EgressHost
		target string
		want   bool
	}{
		{policy.EgressHost{Host: "orders"}, "dns:///orders:7000", true},
		{policy.EgressHost{Host: "orders", Ports: []string{"7000"}}, "dns:///orders:7000", true},
		{policy.EgressHost{Host: "orders", Ports: []string{"7000"}}, "orders:7001", false},
		{policy.EgressHost{Host: "orders", Ports: []string{"7000"}}, "mesh:///orders", false},
		{policy.EgressHost{Host: "orders"}, "mesh:///orders", true},
		{policy.EgressHost{Host: "a:1,b:2", Ports: []string{"1", "2"}}, "static:///a:1,b:2", true},
		{policy.EgressHost{Host: "a:1,b:2", Ports: []string{"1"}}, "static:///a:1,b:2", false},
		{policy.EgressHost{Host: "::1", Ports: []string{"7000"}}, "[::1]:7000", true},
		{policy.EgressHost{Host: "payments"}, "dns:///orders:7000", false},
	}
	for _, test := range tests {
		if got := test.host.Allows(test.target); got != test.want {
			t.Errorf("%+v allows %q: %v", test.host, test.target, got)
		}
	}
}

// The rule that an error tells to add does allow the target.
func TestEgressRuleHelps(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"dns:///orders:7000", "orders:7000", "mesh:///orders", "static:///a:1,b:2", "unix:///run/o.sock", "[::1]:7000", "passthrough:///x:1"} {
		text := "kind: Egress\nname: a\nhosts:\n- " + policy.Rule(target) + "\n"
		p, err := policy.Parse("m.yaml", []byte(text))
		if err != nil || !p.Egresses[0].Hosts[0].Allows(target) {
			t.Errorf("%s: %v does not allow %q", text, err, target)
		}
	}
}

func TestEgressMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Egress\n", [][2]string{
		{"hosts: []", `m.yaml:1:1: Egress: "name" is missing`},
		{"name: a", `Egress: "hosts" is missing`},
		{"name: a\nhosts: [orders]", `m.yaml:3:9: host: "orders", want a mapping`},
		{"name: a\nhosts: [{ports: [1]}]", `host: "host" is missing`},
		{"name: a\nhosts: [{host: b, ports: [x]}]", `m.yaml:3:27: port: "x", want a whole number from 1 to 65535`},
		{"name: a\nhosts: [{host: b, ports: []}]", `ports: want at least one, or leave the word out for any`},
		{"name: a\nhosts: [{host: b, sniHosts: []}]", `sniHosts: want at least one, or leave the word out for any`},
		{"name: a\nhosts: [{host: b, cidr: x}]", `host: the mesh does not honour "cidr", want "host", "ports" or "sniHosts"`},
		{"name: a\nprincipals: []\nhosts: []", `principals: want at least one`},
		{"name: a\nprincipals: [portico]\nhosts: []", `principal: "portico", want a SPIFFE id`},
		{"name: a\nhosts: []\n---\nkind: Egress\nname: a\nhosts: []", `m.yaml:6:7: Egress: a second one for "a"`},
	})
}
