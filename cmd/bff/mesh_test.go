package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ordersPolicy = "../../mesh/testdata/orders.yaml"

func TestMeshExplain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want []string
		not  []string
	}{
		{
			"both sides, and a header",
			[]string{"--identity", "spiffe://shop.test/gateway", "--target", "orders", "--header", "x-canary=true", "shop.orders.v1.OrderService/GetOrder"},
			[]string{
				"/shop.orders.v1.OrderService/GetOrder from spiffe://shop.test/gateway: allowed (Authorization \"orders-callers\", rule 1)",
				`orders: Destination "orders"`, "server: spiffe://shop.test/orders", "LEAST_REQUEST",
				"limits: maxConnections 100, maxRequestsPerConnection 10", "after 5 errors in a row; for 30s to 5m0s, at most 50% at a time",
				`Route "orders", entry 1`, "to: subset v2", "timeout: 10s", "retries: 3", "2s a try",
			},
			nil,
		},
		{
			"without the header",
			[]string{"--target", "orders", "/shop.orders.v1.OrderService/GetOrder"},
			[]string{`Route "orders", entry 2`, "subset v1 (90), subset v2 (10)"},
			[]string{"allowed", "denied"},
		},
		{
			"a method that nobody may call",
			[]string{"--identity", "spiffe://shop.test/gateway", "shop.orders.v1.OrderService/CancelOrder"},
			[]string{"denied (no rule allows it)"},
			[]string{"Destination", "Route"},
		},
		{
			"somebody who may not call",
			[]string{"--identity", "spiffe://elsewhere.test/gateway", "shop.orders.v1.OrderService/GetOrder"},
			[]string{"denied (no rule allows it)"},
			nil,
		},
		{
			"a target that the policy does not name",
			[]string{"--target", "users", "shop.users.v1.UserService/GetUser"},
			[]string{"users: no Destination", "no Route: defaults"},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := command(t, nil, append([]string{"mesh", "explain", "--policy", ordersPolicy}, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("got\n%s\nwithout %q", out, want)
				}
			}
			for _, not := range test.not {
				if strings.Contains(out, not) {
					t.Errorf("got\n%s\nwith %q", out, not)
				}
			}
		})
	}
}

func TestMeshExplainJSON(t *testing.T) {
	t.Parallel()
	out, err := command(t, nil, "mesh", "explain", "--json", "--policy", ordersPolicy, "--identity", "spiffe://shop.test/gateway",
		"--target", "orders", "--header", "X-Canary=true", "--header", "x-many=1", "--header", "x-many=2", "shop.orders.v1.OrderService/GetOrder")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for key, want := range map[string]any{
		"query": map[string]any{
			"caller": "spiffe://shop.test/gateway", "target": "orders", "method": "/shop.orders.v1.OrderService/GetOrder",
			"metadata": map[string]any{"x-canary": []any{"true"}, "x-many": []any{"1", "2"}},
		},
		"allowed": true, "policy": "orders-callers", "rule": 0.0, "destination": "orders", "identities": []any{"spiffe://shop.test/orders"},
		"loadBalancer": "LEAST_REQUEST", "limits": map[string]any{"maxConnections": 100.0, "maxRequestsPerConnection": 10.0},
		"route": "orders", "entry": 0.0, "split": []any{map[string]any{"subset": "v2", "weight": 100.0}},
		"timeout": "10s", "retries": 3.0, "perTryTimeout": "2s", "retryOn": []any{"Unknown", "Internal", "Unavailable", "DataLoss"},
		"rateLimits": []any{},
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", key, diff)
		}
	}
	ejection, _ := got["outlier"].(map[string]any)
	if ejection["consecutive5xxErrors"] != 5.0 || ejection["baseEjection"] != "30s" || ejection["maxEjectionPercent"] != 50.0 {
		t.Errorf("outlier %v", ejection)
	}
}

func TestMeshExplainMistakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"--policy " + ordersPolicy + " a.B/C", "expected --identity, --target or both"},
		{"--policy " + ordersPolicy + " --target x a.B", `method "a.B": expected package.Service/Method`},
		{"--policy " + ordersPolicy + " --target x /a.B/", "expected package.Service/Method"},
		{"--policy " + ordersPolicy + " --target x a.B/C/D", "expected package.Service/Method"},
		{"--policy " + ordersPolicy + " --identity shop.test/a a.B/C", `--identity "shop.test/a"`},
		{"--policy " + ordersPolicy + " --target x --header k a.B/C", `--header "k": expected NAME=VALUE`},
		{"--policy none.yaml --target x a.B/C", "none.yaml"},
		{"--policy mesh_test.go --target x a.B/C", "mesh_test.go:"},
		{"--target x a.B/C", `"policy" not set`},
		{"--policy " + ordersPolicy + " --target x", "accepts 1 arg"},
	} {
		_, err := command(t, nil, append([]string{"mesh", "explain"}, strings.Fields(test.args)...)...)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		}
	}
}
