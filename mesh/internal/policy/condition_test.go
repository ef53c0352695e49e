package policy_test

import (
	"testing"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// Each form of a condition, against the values of a header.
func TestConditions(t *testing.T) {
	t.Parallel()
	for text, matches := range map[string]map[string]bool{
		`values: [prod]`:                        {"prod": true, "production": false, "": false},
		`values: [prod, "canary-*"]`:            {"prod": true, "canary-1": true, "canary": false},
		`values: ["*"]`:                         {"anything": true, "": false},
		`values: [{regex: "v[0-9]+"}]`:          {"v12": true, "v": false, "xv12": false, "v12x": false, "": false},
		`values: [a, {regex: "b|c"}]`:           {"a": true, "c": true, "bc": false},
		`notValues: [{regex: "v[0-9]+"}]`:       {"v12": false, "v": true, "": true},
		`notValues: ["*"]`:                      {"anything": false, "": true},
		`values: ["v*"], notValues: [v2, "v3"]`: {"v1": true, "v2": false, "v3": false, "": false},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			p, err := policy.Parse("m.yaml", []byte("kind: Authorization\nname: a\naction: ALLOW\nrules: [{when: [{key: \"request.headers[X-Env]\", "+text+"}]}]"))
			if err != nil {
				t.Fatal(err)
			}
			for value, want := range matches {
				var values []string
				if value != "" {
					values = []string{value}
				}
				got := true
				for _, h := range p.Authorizations[0].Rules[0].When {
					got = got && h.Name == "x-env" && h.Match(values)
				}
				if got != want {
					t.Errorf("%q: %v, want %v", value, got, want)
				}
			}
		})
	}
}

func TestConditionMistakes(t *testing.T) {
	t.Parallel()
	mistakes(t, "kind: Authorization\nname: a\naction: ALLOW\nrules:\n- from: [{source: {principals: [\"*\"]}}]\n  when:\n  - {key: \"request.headers[x]\", ", [][2]string{
		{`values: []}`, `m.yaml:7:6: when: want "values" or "notValues" with at least one entry`},
		{`values: [{regex: "("}]}`, `m.yaml:7:50: regex: error parsing regexp`},
		{`values: [{regex: a, prefix: a}]}`, `values: the mesh does not honour "prefix", want "regex"`},
		{`values: [5]}`, `values: 5, want text`},
	})
}
