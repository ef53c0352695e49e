package auth

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/request"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream"
)

const getOrder = "shop.orders.v1.OrderService/GetOrder"

func newRules(tb testing.TB, patterns map[string]string) (*Rules, *upstream.Descriptors) {
	tb.Helper()
	d := shopDescriptors(tb)
	r, err := NewRules(patterns, d)
	if err != nil {
		tb.Fatal(err)
	}
	return r, d
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func TestRules(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	info := &request.Info{
		Door: request.Mobile, Method: "GET", Path: "/v1/orders/ord-1",
		Header: http.Header{"X-Tenant": {"north"}, "Accept": {"a", "b"}},
	}
	customer := &Principal{
		Subject: "usr-0003", Kind: User, Authenticated: true, Roles: []string{"customer"}, Scopes: []string{"read"},
		Claims: map[string]any{"tenant": "north", "level": 3.0, "nested": map[string]any{"list": []any{"x"}}},
	}
	msg := marshal(t, &ordersv1.GetOrderRequest{OrderId: "ord-1"})
	tests := []struct {
		rule     string
		customer bool
		nobody   bool
	}{
		{"true", true, true},
		{"false", false, false},
		{" principal.authenticated ", true, false},
		{"!principal.authenticated", false, true},
		{`"customer" in principal.roles`, true, false},
		{`principal.scopes.exists(s, s == "read")`, true, false},
		{`principal.kind == "user" && principal.subject.startsWith("usr-")`, true, false},
		{`principal.kind == "anonymous"`, false, true},
		{`principal.claims.tenant == request.headers["x-tenant"]`, true, false},
		{`principal.claims.level >= 3`, true, false},
		{`has(principal.claims.nested) && "x" in principal.claims.nested.list`, true, false},
		{`request.door == "mobile" && request.http_method == "GET" && request.path.startsWith("/v1/")`, true, true},
		{`request.headers.accept == "a, b"`, true, true},
		{`request.rpc == "` + getOrder + `"`, true, true},
		{`request.message.order_id == "ord-1"`, true, true},
		{`request.message.order_id != "ord-1"`, false, false},
		{`now < timestamp("2027-01-01T00:00:00Z") && now.getFullYear() == 2026`, true, true},
		// What cannot be decided is denied.
		{`principal.claims.none == "x"`, false, false},
		{`request.headers["none"] == "x"`, false, false},
		{`principal.claims.tenant < 3`, false, false},
		{`1 / int(size(principal.claims) * 0) == 1`, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			r, d := newRules(t, map[string]string{getOrder: tt.rule})
			m := shopMethod(t, d, getOrder)
			ctx := request.NewContext(t.Context(), info)
			want := map[bool]codes.Code{true: codes.OK, false: codes.PermissionDenied}[tt.customer]
			if err := r.Allow(NewContext(ctx, customer), m, msg, now); codeOf(err) != want {
				t.Errorf("customer: %v, want %s", err, want)
			}
			want = map[bool]codes.Code{true: codes.OK, false: codes.Unauthenticated}[tt.nobody]
			if err := r.Allow(ctx, m, msg, now); codeOf(err) != want {
				t.Errorf("nobody: %v, want %s", err, want)
			}
			if got := strings.Contains(tt.rule, "request.message"); r.ReadsMessage(m) != got {
				t.Errorf("ReadsMessage = %v", !got)
			}
		})
	}
}

func TestUnlistedIsDenied(t *testing.T) {
	t.Parallel()
	r, d := newRules(t, map[string]string{getOrder: "true"})
	m := shopMethod(t, d, "shop.orders.v1.OrderService/CancelOrder")
	if err := r.Allow(t.Context(), m, nil, time.Now()); codeOf(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	ctx := NewContext(t.Context(), &Principal{Authenticated: true})
	if err := r.Allow(ctx, m, nil, time.Now()); codeOf(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if err := r.Allow(ctx, shopMethod(t, shopDescriptors(t), getOrder), nil, time.Now()); codeOf(err) != codes.PermissionDenied {
		t.Errorf("a method of other descriptors: %v", err)
	}
}

func TestMostSpecificPatternWins(t *testing.T) {
	t.Parallel()
	d := shopDescriptors(t)
	got, err := Match([]string{"shop.*", "shop.orders.*", "shop.orders.v1.OrderService/*", getOrder, "shop.orders.v1.*"}, d)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		getOrder:                                   getOrder,
		"shop.orders.v1.OrderService/ListOrders":   "shop.orders.v1.OrderService/*",
		"shop.users.v1.UserService/GetUser":        "shop.*",
		"shop.fleet.v1.FleetService/WatchReadings": "shop.*",
	} {
		if p := got[shopMethod(t, d, name)]; p != want {
			t.Errorf("%s: %s, want %s", name, p, want)
		}
	}
	got, err = Match([]string{"shop.orders.v1.*", "shop.orders.*"}, d)
	if p := got[shopMethod(t, d, getOrder)]; err != nil || p != "shop.orders.v1.*" {
		t.Errorf("the longer package: %s, %v", p, err)
	}
}

func TestRuleMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pattern, rule string
		want                []string // parts of each mistake's text
	}{
		{"unknown method", "shop.orders.v1.OrderService/GetOrdr", "true", []string{`no method GetOrdr|did you mean "` + getOrder}},
		{"unknown service", "shop.orders.v1.OrdersService/*", "true", []string{`unknown service|did you mean "shop.orders.v1.OrderService/*"`}},
		{"unknown package", "shop.order.v1.*", "true", []string{`covers no method|did you mean "shop.orders.v1.*"`}},
		{"everything", "*", "true", []string{"covers no method"}},
		{"empty rule", getOrder, " ", []string{"the rule is empty"}},
		{"syntax", getOrder, "principal.authenticated &&", []string{"at column 27"}},
		{"unknown name", getOrder, `true || principle.authenticated`, []string{`at column 9|did you mean "principal.authenticated"`}},
		{"unknown part", getOrder, `principal.rolls == []`, []string{`at column 1|did you mean "principal.roles"`}},
		{"wrong type", getOrder, `principal.subject == 3`, []string{"at column 19|no matching overload"}},
		{"no truth value", getOrder, `principal.subject`, []string{"the rule gives string"}},
		{"unknown field", getOrder, `request.message.ordr_id == "x"`, []string{"at column 16|ordr_id|shop.orders.v1.GetOrderRequest"}},
		{"field that one of the methods lacks", "shop.orders.v1.OrderService/*", `request.message.items.size() > 0`, []string{
			"GetOrderRequest", "ListOrdersRequest", "BatchGetOrdersRequest", "CancelOrderRequest", "WatchOrderRequest",
		}},
		{"several lines", getOrder, "true &&\n  nothing", []string{"at line 2, column 3"}},
		{
			"cost", getOrder,
			`principal.roles.all(a, principal.roles.all(b, principal.roles.all(c, principal.roles.all(d, a + b + c != d))))`,
			[]string{"cost too much"},
		},
		{"long", getOrder, strings.Repeat("true && ", 1000) + "true", []string{"size exceeds limit"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewRules(map[string]string{tt.pattern: tt.rule}, shopDescriptors(t))
			list := mistake.List(err)
			if len(list) != len(tt.want) {
				t.Fatalf("%d mistakes, want %d: %v", len(list), len(tt.want), err)
			}
			for i, m := range list {
				if diff := cmp.Diff([]string{tt.pattern}, m.Path); diff != "" {
					t.Error(diff)
				}
				for want := range strings.SplitSeq(tt.want[i], "|") {
					if !strings.Contains(m.Text(), want) {
						t.Errorf("%q lacks %q", m.Text(), want)
					}
				}
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := NewRules(map[string]string{"nobody/Knows": "true", getOrder: "prncpl", "shop.users.v1.UserService/*": ""}, shopDescriptors(t))
	if got := len(mistake.List(err)); got != 3 {
		t.Errorf("%d mistakes, want 3: %v", got, err)
	}
}

// TestCostIsBoundAtRunTime: a request that is larger than a rule expects is denied, not worked on.
func TestCostIsBoundAtRunTime(t *testing.T) {
	t.Parallel()
	r, d := newRules(t, map[string]string{getOrder: `principal.roles.all(a, principal.roles.all(b, a != b + "x"))`})
	p := &Principal{Authenticated: true}
	for range 3000 {
		p.Roles = append(p.Roles, "role")
	}
	start := time.Now()
	if err := r.Allow(NewContext(t.Context(), p), shopMethod(t, d, getOrder), nil, time.Now()); codeOf(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestGarbageMessageIsDenied(t *testing.T) {
	t.Parallel()
	r, d := newRules(t, map[string]string{getOrder: `request.message.order_id != "x"`})
	if err := r.Allow(t.Context(), shopMethod(t, d, getOrder), []byte{0xff}, time.Now()); codeOf(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func BenchmarkAllow(b *testing.B) {
	ctx := NewContext(context.Background(), &Principal{Authenticated: true, Roles: []string{"customer"}})
	for name, rule := range map[string]string{
		"constant": "true", "authenticated": "principal.authenticated", "role": `"customer" in principal.roles`,
		"message": `request.message.order_id != ""`,
	} {
		b.Run(name, func(b *testing.B) {
			r, d := newRules(b, map[string]string{getOrder: rule}) //nolint:contextcheck // descriptors come from a file
			m, msg, now := shopMethod(b, d, getOrder), marshal(b, &ordersv1.GetOrderRequest{OrderId: "ord-1"}), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Allow(ctx, m, msg, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Rules run unwatched only if no request can make them cost much.
func TestWhichRulesAreWatched(t *testing.T) {
	t.Parallel()
	c, err := newCompiler(shopDescriptors(t).Files())
	if err != nil {
		t.Fatal(err)
	}
	for rule, cheap := range map[string]bool{
		"principal.authenticated && 'customer' in principal.roles":            true,
		"principal.subject == 'ada' || principal.claims.tenant == 'n'":        true,
		"request.path == '/v1/orders'":                                        true,
		"request.door == 'mobile' && now < timestamp('2030-01-01T00:00:00Z')": true,
		"principal.roles.exists(r, r == 'a')":                                 true,
		"principal.roles.all(r, r in principal.scopes)":                       false,
		"request.path.startsWith('/v1')":                                      true,
		"request.path.contains('admin')":                                      false,
		"request.path.matches('^(a+)+$')":                                     false,
		"request.headers.exists(h, h == 'x')":                                 false,
		"request.headers['x'] == request.path":                                false,
	} {
		e, err := c.compile(rule, nil)
		if err != nil {
			t.Errorf("%s: %v", rule, err)
		} else if e.cheap != cheap {
			t.Errorf("%s: runs unwatched: %t", rule, e.cheap)
		}
	}
}
