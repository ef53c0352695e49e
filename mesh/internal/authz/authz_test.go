package authz_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

func exact(path string) authz.PrincipalPattern {
	return authz.PrincipalPattern{Principal: authz.Principal{TrustDomain: "shop.test", Path: path}}
}

func prefix(path string) authz.PrincipalPattern {
	p := exact(path)
	p.Prefix = true
	return p
}

func from(patterns ...authz.PrincipalPattern) []authz.Source {
	return []authz.Source{{Principals: patterns}}
}

func to(paths ...string) []authz.Operation {
	var o authz.Operation
	for _, path := range paths {
		p := authz.PathPattern{Path: path}
		if path[len(path)-1] == '*' {
			p = authz.PathPattern{Path: path[:len(path)-1], Prefix: true}
		}
		o.Paths = append(o.Paths, p)
	}
	return []authz.Operation{o}
}

// headers puts metadata into a context, in the form that the tests' matcher reads.
type headers map[string][]string

type headersKey struct{}

func values(ctx context.Context, name string) []string {
	h, _ := ctx.Value(headersKey{}).(headers)
	return h[name]
}

func TestDecide(t *testing.T) {
	t.Parallel()
	policies := []authz.Policy{
		{Name: "reads", Rules: []authz.Rule{
			{From: from(exact("/portico")), To: to("/a.S/Get", "/a.S/List*")},
			{From: from(prefix("/ns/x/")), To: to("/a.S/*")},
		}},
		{Name: "any", Rules: []authz.Rule{{From: from(authz.PrincipalPattern{Any: true}), To: to("/open.S/Ping")}}},
		{Name: "admin", Rules: []authz.Rule{{From: from(exact("/admin"))}}},
		{Name: "others", Rules: []authz.Rule{{
			From: []authz.Source{{Principals: from(prefix("/"))[0].Principals, NotPrincipals: []authz.PrincipalPattern{exact("/fleet")}}},
			To:   []authz.Operation{{Paths: to("/b.*")[0].Paths, NotPaths: to("/b.S/Drop")[0].Paths}},
		}}},
		{Name: "no-drop", Deny: true, Rules: []authz.Rule{{To: to("/a.S/Drop")}}},
		{Name: "marked", Rules: []authz.Rule{{
			From: from(exact("/fleet")), To: to("/a.S/Get"),
			When: []authz.Header{{Name: "x-team", Values: []string{"red"}, Prefixes: []string{"blue-"}, Regexps: []*regexp.Regexp{regexp.MustCompile(`^g\d$`)}}},
		}}},
		{Name: "unmarked", Rules: []authz.Rule{{
			From: from(exact("/probe")), To: to("/a.S/Get"), When: []authz.Header{{Name: "x-team", Present: true, Not: true}},
		}}},
	}
	m := authz.Compile(policies, values)
	tests := []struct {
		domain, path, method string
		team                 []string
		want                 string // the policy that allows; "-x" is denied by x; "" nothing matched
	}{
		{path: "/portico", method: "/a.S/Get", want: "reads"},
		{path: "/portico", method: "/a.S/ListAll", want: "reads"},
		{path: "/portico", method: "/a.S/Other"},
		{path: "/portico", method: "/a.S/get"},
		{path: "/portico2", method: "/a.S/Get"},
		{path: "/Portico", method: "/a.S/Get"},
		{domain: "evil.test", path: "/portico", method: "/a.S/Get"},
		{path: "/ns/x/sa", method: "/a.S/Anything", want: "reads"},
		{path: "/ns/xy", method: "/a.S/Get"},
		{domain: "evil.test", path: "/whoever", method: "/open.S/Ping", want: "any"},
		{path: "/admin", method: "/unheard.Of/It", want: "admin"},
		{path: "/admin", method: "/a.S/Drop", want: "-no-drop"},
		{path: "/ns/x/sa", method: "/a.S/Drop", want: "-no-drop"},
		{path: "/anyone", method: "/b.S/Get", want: "others"},
		{path: "/anyone", method: "/b.sub.S/Get", want: "others"},
		{path: "/anyone", method: "/b.S/Drop"},
		{path: "/fleet", method: "/b.S/Get"},
		{path: "/fleet", method: "/a.S/Get"},
		{path: "/fleet", method: "/a.S/Get", team: []string{"green", "red"}, want: "marked"},
		{path: "/fleet", method: "/a.S/Get", team: []string{"blue-7"}, want: "marked"},
		{path: "/fleet", method: "/a.S/Get", team: []string{"g7"}, want: "marked"},
		{path: "/fleet", method: "/a.S/Get", team: []string{"g77"}},
		{path: "/probe", method: "/a.S/Get", want: "unmarked"},
		{path: "/probe", method: "/a.S/Get", team: []string{"red"}},
		{path: "", method: ""},
		{path: "/portico", method: "no slash"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s%s %s %v", test.domain, test.path, test.method, test.team), func(t *testing.T) {
			t.Parallel()
			ctx := context.WithValue(t.Context(), headersKey{}, headers{"x-team": test.team})
			domain := test.domain
			if domain == "" {
				domain = "shop.test"
			}
			d := m.Decide(ctx, authz.Principal{TrustDomain: domain, Path: test.path}, test.method)
			got := d.Policy
			if !d.Allowed && got != "" {
				got = "-" + got
			}
			if got != test.want || d.Allowed != (test.want != "" && test.want[0] != '-') {
				t.Errorf("decision %+v, want %q", d, test.want)
			}
		})
	}
}

// A policy in dry run decides nothing, and tells where it would.
func TestDryRun(t *testing.T) {
	t.Parallel()
	m := authz.Compile([]authz.Policy{
		{Name: "allow", Rules: []authz.Rule{{To: to("/a.S/*")}}},
		{Name: "dry-deny", Deny: true, DryRun: true, Rules: []authz.Rule{{To: to("/a.S/Drop", "/c.S/*")}}},
		{Name: "dry-allow", DryRun: true, Rules: []authz.Rule{{To: to("/b.S/*", "/a.S/Get", "/c.S/*")}}},
		{Name: "deny", Deny: true, Rules: []authz.Rule{{To: to("/b.S/Never")}}},
	}, values)
	for method, want := range map[string]authz.Decision{
		"/a.S/Get":   {Allowed: true, Policy: "allow"},
		"/a.S/Drop":  {Allowed: true, Policy: "allow", DryRun: "dry-deny"},
		"/b.S/Get":   {Rule: -1, DryRun: "dry-allow"},
		"/b.S/Never": {Policy: "deny"},
		"/c.S/Get":   {Rule: -1}, // both would match: still denied
		"/d.S/Get":   {Rule: -1},
	} {
		if got := m.Decide(t.Context(), authz.Principal{TrustDomain: "shop.test", Path: "/x"}, method); got != want {
			t.Errorf("%s: %+v, want %+v", method, got, want)
		}
	}
}

func TestZeroMatcherDenies(t *testing.T) {
	t.Parallel()
	var m authz.Matcher
	if d := m.Decide(t.Context(), authz.Principal{TrustDomain: "shop.test", Path: "/admin"}, "/a.S/Get"); d.Allowed {
		t.Error("allowed")
	}
}

// The index of methods must not change a decision: it is compared with a walk
// over all rules, over all combinations of a small alphabet of patterns.
func TestIndexAgreesWithAWalk(t *testing.T) {
	t.Parallel()
	patterns := []string{"/a.S/Get", "/a.S/*", "/a.S/G*", "/a.*", "/*", "*", "/b.S/Get"}
	methods := []string{"/a.S/Get", "/a.S/Go", "/a.S/List", "/a.T/Get", "/b.S/Get", "/b.S/List", "/c.S/X", "junk", ""}
	caller := authz.Principal{TrustDomain: "shop.test", Path: "/x"}
	for _, allow := range patterns {
		for _, deny := range patterns {
			m := authz.Compile([]authz.Policy{
				{Name: "allow", Rules: []authz.Rule{{To: to(allow)}}},
				{Name: "deny", Deny: true, Rules: []authz.Rule{{To: to(deny)}}},
			}, values)
			for _, method := range methods {
				want := to(allow)[0].Paths[0].Match(method) && !to(deny)[0].Paths[0].Match(method)
				if got := m.Decide(t.Context(), caller, method).Allowed; got != want {
					t.Errorf("ALLOW %s, DENY %s: %s is %v", allow, deny, method, got)
				}
			}
		}
	}
}

// typical is a policy of 20 services with 5 rules each.
func typical() *authz.Matcher {
	var policies []authz.Policy
	for service := range 20 {
		p := authz.Policy{Name: fmt.Sprint("service-", service)}
		for caller := range 5 {
			p.Rules = append(p.Rules, authz.Rule{
				From: from(exact(fmt.Sprint("/caller-", caller)), exact(fmt.Sprint("/other-", caller))),
				To:   to(fmt.Sprintf("/shop.s%d.v1.Service/*", service)),
			})
		}
		policies = append(policies, p)
	}
	policies = append(policies, authz.Policy{Name: "no", Deny: true, Rules: []authz.Rule{{From: from(exact("/banned"))}}})
	return authz.Compile(policies, values)
}

//nolint:paralleltest // allocations of other tests would be counted
func TestDecideDoesNotAllocate(t *testing.T) {
	m := typical()
	caller := authz.Principal{TrustDomain: "shop.test", Path: "/caller-4"}
	if n := testing.AllocsPerRun(100, func() {
		if !m.Decide(t.Context(), caller, "/shop.s7.v1.Service/Get").Allowed {
			t.Error("denied")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	m := typical()
	caller := authz.Principal{TrustDomain: "shop.test", Path: "/caller-4"}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		m.Decide(ctx, caller, "/shop.s7.v1.Service/Get")
	}
}

// Of a caller who is not known, rules that allow match only if they allow everybody,
// and rules that deny match even if they deny somebody.
func TestUnknownCaller(t *testing.T) {
	t.Parallel()
	some := []authz.Source{{Principals: []authz.PrincipalPattern{{Any: true}}}}
	others := []authz.Source{{NotPrincipals: []authz.PrincipalPattern{{Principal: authz.Principal{TrustDomain: "a", Path: "/b"}}}}}
	for _, test := range []struct {
		name  string
		rules []authz.Policy
		want  bool
	}{
		{"allow all", []authz.Policy{{Rules: []authz.Rule{{To: []authz.Operation{{Paths: []authz.PathPattern{{Prefix: true}}}}}}}}, true},
		{"allow principals", []authz.Policy{{Rules: []authz.Rule{{From: some}}}}, false},
		{"allow others", []authz.Policy{{Rules: []authz.Rule{{From: others}}}}, false},
		{"deny principals", []authz.Policy{{Rules: []authz.Rule{{}}}, {Deny: true, Rules: []authz.Rule{{From: some}}}}, false},
		{"deny others", []authz.Policy{{Rules: []authz.Rule{{}}}, {Deny: true, Rules: []authz.Rule{{From: others}}}}, false},
		{"deny elsewhere", []authz.Policy{{Rules: []authz.Rule{{}}}, {Deny: true, Rules: []authz.Rule{{From: some, To: []authz.Operation{{Paths: []authz.PathPattern{{Path: "/x/Y"}}}}}}}}, true},
	} {
		if got := authz.Compile(test.rules, nil).Decide(t.Context(), authz.Principal{}, "/a.S/Get"); got.Allowed != test.want {
			t.Errorf("%s: allowed = %v", test.name, got.Allowed)
		}
	}
}
