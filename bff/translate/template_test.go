package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want template
		str  string // if it differs from text
	}{
		{text: "/", want: template{}},
		{text: "/v1", want: template{segments: []string{"v1"}}},
		{text: "/v1/*/x/**", want: template{segments: []string{"v1", "*", "x", "**"}}},
		{text: "/v1/a%20b", want: template{segments: []string{"v1", "a b"}}, str: "/v1/a b"},
		{text: "/v1/{id}", want: template{
			segments: []string{"v1", "*"},
			vars:     []variable{{field: "id", start: 1, end: 2, single: true}},
		}},
		{text: "/v1/{a.b.c=*}", want: template{
			segments: []string{"v1", "*"},
			vars:     []variable{{field: "a.b.c", start: 1, end: 2, single: true}},
		}, str: "/v1/{a.b.c}"},
		{text: "/v1/{name=shelves/*/books/*}/{x}:read", want: template{
			segments: []string{"v1", "shelves", "*", "books", "*", "*"},
			vars: []variable{
				{field: "name", start: 1, end: 5},
				{field: "x", start: 5, end: 6, single: true},
			},
			verb: "read",
		}},
		{text: "/v1/{name=a/**}:get", want: template{
			segments: []string{"v1", "a", "**"},
			vars:     []variable{{field: "name", start: 1, end: -1}},
			verb:     "get",
		}},
		{text: "/{name=**}", want: template{
			segments: []string{"**"},
			vars:     []variable{{field: "name", start: 0, end: -1}},
		}},
		{text: "/{x=y}", want: template{
			segments: []string{"y"},
			vars:     []variable{{field: "x", start: 0, end: 1, single: true}},
		}},
		{text: "/v1/orders:cancel", want: template{segments: []string{"v1", "orders"}, verb: "cancel"}},
		{text: "/v1/a:b:c", want: template{segments: []string{"v1", "a:b"}, verb: "c"}},
		{text: "/v1/a:b/c", want: template{segments: []string{"v1", "a:b", "c"}}},
		{text: "/v1/{a=b:c}", want: template{
			segments: []string{"v1", "b:c"},
			vars:     []variable{{field: "a", start: 1, end: 2, single: true}},
		}},
		{text: "/v1/*:x", want: template{segments: []string{"v1", "*"}, verb: "x"}},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseTemplate(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got, cmp.AllowUnexported(template{}, variable{})); diff != "" {
				t.Errorf("template (-want +got):\n%s", diff)
			}
			if test.str == "" {
				test.str = test.text
			}
			if got.String() != test.str {
				t.Errorf("written anew: %q, want %q", got, test.str)
			}
		})
	}
}

func TestParseTemplateErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                "column 1: expected a slash",
		"v1":              "column 1: expected a slash",
		"//":              "column 2: expected a segment",
		"/v1/":            "column 5: expected a segment",
		"/v1//x":          "column 5: expected a segment",
		"/**/x":           "column 5: ** must be the last segment",
		"/{a=**}/x":       "column 9: ** must be the last segment",
		"/{a=**/x}":       "column 8: ** must be the last segment",
		"/***":            "unexpected '*' behind a wildcard",
		"/*x":             "unexpected 'x' behind a wildcard",
		"/x*":             "unexpected '*'",
		"/{":              "a variable is not closed",
		"/{a":             "a variable is not closed",
		"/{a=x":           "a variable is not closed",
		"/{a=x/{b}}":      "a variable cannot hold another one",
		"/{}":             `"" is no field path`,
		"/{1a}":           `"1a" is no field path`,
		"/{a.}":           `"a." is no field path`,
		"/{a..b}":         `"a..b" is no field path`,
		"/{a-b}":          `"a-b" is no field path`,
		"/{a}b":           "unexpected 'b' behind a variable",
		"/x{a}":           "unexpected '{'",
		"/{a}/{a}":        `field "a" is bound twice`,
		"/{a=}":           "expected a segment",
		"/v1:":            "expected a segment",
		"/{a}:":           "expected a segment",
		"/{a}:b/c":        `unexpected '/' in a literal`,
		"/a b":            `unexpected ' ' in a literal`,
		"/a?b":            `unexpected '?' in a literal`,
		"/a%2":            `malformed percent-encoding`,
		"/%2A":            `a literal cannot be "*"`,
		"/a/../b":         "a dot segment can never match",
		"/a/%2e":          "a dot segment can never match",
		"/{a=b}}":         "unexpected '}' behind a variable",
		"/}":              "expected a segment",
		"/{a=*:c}":        "a variable is not closed",
		"/{a=b/c=d}":      "a variable is not closed",
		"/" + "{a.b=c==}": "a variable is not closed",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := parseTemplate(text)
			if err == nil {
				t.Fatalf("parsed as %v", got)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not contain %q", err, want)
			}
		})
	}
}

// The property: what is parsed is written anew as a template that means the same.
func FuzzParseTemplate(f *testing.F) {
	for _, seed := range []string{"/", "/v1/{a=b/*/**}:c", "/v1/a%20b/{x.y}", "/a:b:c/{d}", "/**"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := parseTemplate(text)
		if err != nil || strings.Contains(text, "%") {
			return // decoded literals cannot be parsed again
		}
		second, err := parseTemplate(first.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, first, err)
		}
		if diff := cmp.Diff(*first, *second, cmp.AllowUnexported(template{}, variable{})); diff != "" {
			t.Errorf("%q was written as %q (-first +second):\n%s", text, first, diff)
		}
	})
}
