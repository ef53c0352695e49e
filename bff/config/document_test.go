package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	const text = `version: 1
upstreams:
  orders:
    target: "dns:///orders:7000"
    services: [a.A, b.B]
  users: &u {target: x, tls: none}
methods:
  "a.A/*": {allow: "true"}
alias: *u
`
	tests := []struct {
		name    string
		mistake mistake.Mistake
		want    Problem
	}{
		{"scalar", mistake.Mistake{Path: []string{"upstreams", "orders", "target"}, What: "w"}, Problem{Line: 4, Col: 13, Text: "w"}},
		{"sequence", mistake.Mistake{Path: []string{"upstreams", "orders", "services", "1"}, What: "w"}, Problem{Line: 5, Col: 21, Text: "w"}},
		{"key", mistake.Mistake{Path: []string{"upstreams", "orders", "target"}, What: "w", Key: true}, Problem{Line: 4, Col: 5, Text: "w"}},
		{"mapping stands at its key", mistake.Mistake{Path: []string{"upstreams", "users"}, What: "w"}, Problem{Line: 6, Col: 3, Text: "w"}},
		{"quoted key", mistake.Mistake{Path: []string{"methods", "a.A/*", "allow"}, What: "w"}, Problem{Line: 8, Col: 20, Text: "w"}},
		{"what is missing is named", mistake.Mistake{Path: []string{"upstreams", "users", "timeout"}, What: "w"}, Problem{Line: 6, Col: 3, Text: "timeout: w"}},
		{"alias", mistake.Mistake{Path: []string{"alias", "target"}, What: "w"}, Problem{Line: 6, Col: 22, Text: "w"}},
		{"nearest", mistake.Mistake{Path: []string{"version"}, What: "w", Expected: "x", Nearest: "y"}, Problem{Line: 1, Col: 10, Text: `w, expected x, did you mean "y"?`}},
	}
	doc, err := parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := doc.locate(&test.mistake)
			test.want.File = "f.yaml"
			test.want.Source = strings.Split(text, "\n")[test.want.Line-1]
			if diff := cmp.Diff(Problems{test.want}, got); diff != "" {
				t.Errorf("locate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLocateManyAndForeign(t *testing.T) {
	t.Parallel()
	doc, err := parse("f.yaml", []byte("a: 1\nb: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := Problems{{File: "other.graphqls", Line: 7, Col: 3, Text: "z"}}
	got := doc.locate(errors.Join(mistake.At("second", "b"), mistake.At("first", "a"), &mistake.Mistake{Err: foreign}))
	var lines []string
	for _, p := range got {
		lines = append(lines, strings.SplitN(p.String(), "\n", 2)[0])
	}
	want := []string{"f.yaml:1:4: first", "f.yaml:2:4: second", "other.graphqls:7:3: z"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("locate (-want +got):\n%s", diff)
	}
}

func TestProblemMarksTheColumn(t *testing.T) {
	t.Parallel()
	p := Problem{File: "f.yaml", Line: 3, Col: 4, Text: "t", Source: "\tab: cd"}
	want := "f.yaml:3:4: t\n     3 | \tab: cd\n       | \t  ^"
	if got := p.String(); got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PORT": "8080", "HOST": "h", "EMPTY": ""}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	tests := []struct {
		name, text string
		want       any
		problem    string
	}{
		{"whole", "v: ${HOST}", "h", ""},
		{"within", "v: http://${HOST}:${PORT}/", "http://h:8080/", ""},
		{"a number without quotes", "v: ${PORT}", uint64(8080), ""},
		{"a text in quotes", `v: "${PORT}"`, "8080", ""},
		{"default", "v: ${NONE:-d}", "d", ""},
		{"default for an empty one", "v: ${EMPTY:-d}", "d", ""},
		{"empty", `v: "${EMPTY}"`, "", ""},
		{"empty default", `v: "${NONE:-}"`, "", ""},
		{"escaped", "v: $${HOST}", "${HOST}", ""},
		{"in a sequence", "v: [a, \"${HOST}\"]", []any{"a", "h"}, ""},
		{"in a literal block", "v: |\n  x ${HOST}\n", "x h\n", ""},
		{"no value stays a template", "v: \"{principal.subject}\"", "{principal.subject}", ""},
		{"missing", "v: ${NONE}", nil, "f.yaml:1:4: environment variable NONE is not set, expected a value or ${NONE:-default}"},
		{"open", "v: ${HOST", nil, "f.yaml:1:4: ${ without }, expected ${VAR}, ${VAR:-default} or $${ for the text ${"},
		{"bad name", "v: ${1A}", nil, `f.yaml:1:4: "1A" is no name of an environment variable`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			doc, err := parse("f.yaml", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			problems := doc.expand(lookup)
			if test.problem != "" {
				if len(problems) != 1 || strings.SplitN(problems[0].String(), "\n", 2)[0] != test.problem {
					t.Fatalf("expand = %v, want %q", problems, test.problem)
				}
				return
			}
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var got map[string]any
			if err := doc.decode(&got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got["v"]); diff != "" {
				t.Errorf("expand (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParse: whatever the bytes, reading a configuration ends with a configuration or with problems that have texts;
// it never panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"version: 1", "a: &x {b: *x}", "- a", "\t", "a: ${A:-b}", "a: ${", "<<: {}", "a: b: c", "version: 1\n---\nversion: 1", "listen: {http: [}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := Parse("f.yaml", text, func(string) (string, bool) { return "", false })
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
