package translate

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/translate/urlpath"
)

func TestTrieLookup(t *testing.T) {
	t.Parallel()
	routes := []string{
		"GET /", "GET /v1/orders", "POST /v1/orders", "GET /v1/orders/{id}", "GET /v1/orders/{id}:watch",
		"POST /v1/orders/{id}:cancel", "GET /v1/orders/mine", "PUT /v1/orders/{id}", "GET /v1/{name=files/**}",
		"GET /v1/{name=files/**}:download", "GET /v1/{kind}/{id}/parts", "DELETE /v1/*/x", "* /v1/any", "GET /v1/any",
		"GET /v2/{a}/{b}/c", "GET /v2/x/{b}/d", "GET /a:b/c", "HEAD /head", "GET /head", "GET /v3/**", "GET /v3",
		"GET /v3/*",
	}
	tr := buildTrie(t, routes)
	for _, test := range []struct{ request, want string }{
		{"GET /", "GET / []"},
		{"GET /v1/orders", "GET /v1/orders []"},
		{"POST /v1/orders", "POST /v1/orders []"},
		{"PATCH /v1/orders", "none, allowed GET POST"},
		{"GET /v1/orders/", "none, allowed "},
		{"GET /v1//orders", "none, allowed "},
		{"GET /v1/orders/7", "GET /v1/orders/{id} [7]"},
		{"HEAD /v1/orders/7", "GET /v1/orders/{id} [7]"},
		{"HEAD /head", "HEAD /head []"},
		{"GET /v1/orders/mine", "GET /v1/orders/mine []"},
		{"PUT /v1/orders/mine", "PUT /v1/orders/{id} [mine]"},
		{"GET /v1/orders/7:watch", "GET /v1/orders/{id}:watch [7]"},
		{"GET /v1/orders/7%3Awatch", "GET /v1/orders/{id} [7:watch]"},
		{"GET /v1/orders/a:b:watch", "GET /v1/orders/{id}:watch [a:b]"},
		{"GET /v1/orders/7:cancel", "GET /v1/orders/{id} [7:cancel]"},
		{"POST /v1/orders/7:cancel", "POST /v1/orders/{id}:cancel [7]"},
		{"POST /v1/orders/7", "none, allowed GET PUT"},
		{"DELETE /v1/orders/7:cancel", "none, allowed GET POST PUT"},
		{"GET /v1/orders/:watch", "GET /v1/orders/{id} [:watch]"},
		{"GET /v1/orders/a%2Fb", "GET /v1/orders/{id} [a/b]"},
		{"GET /v1/orders%2F7", "none, allowed "},
		{"GET /v1/files", "GET /v1/{name=files/**} [files]"},
		{"GET /v1/files/a/b%2Fc", "GET /v1/{name=files/**} [files/a/b%2Fc]"},
		{"GET /v1/files/a/b:download", "GET /v1/{name=files/**}:download [files/a/b]"},
		{"GET /v1/files:download", "GET /v1/{name=files/**}:download [files]"},
		{"GET /v1/files/x/parts", "GET /v1/{name=files/**} [files/x/parts]"},
		{"GET /v1/boxes/7/parts", "GET /v1/{kind}/{id}/parts [boxes 7]"},
		{"DELETE /v1/orders/x", "DELETE /v1/*/x []"},
		{"BREW /v1/any", "* /v1/any []"},
		{"GET /v1/any", "GET /v1/any []"},
		{"GET /v2/x/1/c", "GET /v2/{a}/{b}/c [x 1]"},
		{"GET /v2/x/1/d", "GET /v2/x/{b}/d [1]"},
		{"GET /v2/y/1/d", "none, allowed "},
		{"GET /a:b/c", "GET /a:b/c []"},
		{"GET /v3", "GET /v3 []"},
		{"GET /v3/x", "GET /v3/* []"},
		{"GET /v3/x/y", "GET /v3/** []"},
		{"GET /V3", "none, allowed "},
	} {
		t.Run(test.request, func(t *testing.T) {
			t.Parallel()
			method, raw, _ := strings.Cut(test.request, " ")
			p := parsePath(t, raw)
			got := describe(tr, method, &p)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTrieEqualRoutes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first, second string
		equal         bool
	}{
		{"GET /v1/{a}", "GET /v1/{b}", true},
		{"GET /v1/{a=x/*}", "GET /v1/x/{b}", true},
		{"GET /v1/{a=**}", "GET /v1/**", true},
		{"GET /v1/a%62", "GET /v1/ab", true},
		{"GET /v1/{a}:x", "GET /v1/*:x", true},
		{"GET /v1/{a}", "POST /v1/{a}", false},
		{"GET /v1/{a}", "GET /v1/{a}:x", false},
		{"GET /v1/*", "GET /v1/**", false},
		{"* /v1/a", "GET /v1/a", false},
	} {
		t.Run(test.first+" "+test.second, func(t *testing.T) {
			t.Parallel()
			var tr trie[string]
			for i, route := range []string{test.first, test.second} {
				method, text, _ := strings.Cut(route, " ")
				tmpl, err := parseTemplate(text)
				if err != nil {
					t.Fatal(err)
				}
				taken := tr.insert(method, tmpl, route)
				if equal := taken != nil; equal != (i == 1 && test.equal) {
					t.Errorf("inserting %s: taken is %v", route, taken)
				}
				if taken != nil && *taken != test.first {
					t.Errorf("taken by %s", *taken)
				}
			}
		})
	}
}

// The property: the trie finds the route that a slow matcher, made of one sentence of the rules after another,
// finds; with the same values of variables.
func FuzzTrie(f *testing.F) {
	f.Add("GET /v1/{a}\nGET /v1/{a}:x\nPOST /v1/**", "GET", "/v1/b:x")
	f.Add("GET /{a=x/**}:y\nGET /x/*\n* /x/*:y", "HEAD", "/x/b%2Fc:y")
	f.Add("GET /{a}/{b}\nGET /x/**:y\nGET /x/y", "GET", "/x/y:y")
	f.Add("GET /a:b\nGET /a:b/*\nGET /**", "GET", "/a:b:c")
	f.Add("GET /a/**:v\nGET /a/*", "GET", "/a:v")
	f.Fuzz(func(t *testing.T, table, method, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || len(table) > 1000 {
			return
		}
		p, err := urlpath.Parse(u, nil)
		if err != nil {
			return
		}
		var tr trie[string]
		ref := reference{}
		for line := range strings.SplitSeq(table, "\n") {
			verb, text, _ := strings.Cut(line, " ")
			tmpl, err := parseTemplate(text)
			if err != nil || verb == "" {
				continue
			}
			name := fmt.Sprintf("%s %s", verb, tmpl)
			if tr.insert(verb, tmpl, name) == nil {
				ref = append(ref, referenceRoute{method: verb, template: tmpl, name: name})
			}
		}
		if got, want := describe(&tr, method, &p), ref.describe(method, &p); got != want {
			t.Errorf("%s %s among %q: trie says %s, reference %s", method, raw, table, got, want)
		}
	})
}

// reference is a slow matcher: it tries all routes, each with and without a verb, and sorts what matches.
type reference []referenceRoute

type referenceRoute struct {
	method   string
	template *template
	name     string
}

type referenceMatch struct {
	route referenceRoute
	rank  []int
}

func (r reference) describe(method string, p *urlpath.Path) string {
	if slices.Contains(p.Segments, "") {
		return "none, allowed "
	}
	var found []referenceMatch
	allowed := map[string]bool{}
	for _, route := range r {
		rank, ok := route.match(p)
		if !ok {
			continue
		}
		allowed[route.method] = true
		switch {
		case route.method == method:
			rank = append(rank, 0)
		case method == "HEAD" && route.method == "GET":
			rank = append(rank, 1)
		case route.method == "*":
			rank = append(rank, 2)
		default:
			continue
		}
		found = append(found, referenceMatch{route, rank})
	}
	if len(found) == 0 {
		return "none, allowed " + strings.Join(slices.Sorted(maps.Keys(allowed)), " ")
	}
	slices.SortStableFunc(found, func(a, b referenceMatch) int { return slices.Compare(a.rank, b.rank) })
	best := found[0].route
	return fmt.Sprintf("%s %v", best.name, best.template.values(nil, p))
}

// match tells how specific a match is: per segment of the path 0 for a literal, 1 for *, 2 for **; then 0 for a
// verb, 1 for none; then 0 for a template as long as the path, 1 for an empty **. A literal of the part before a
// verb goes before one of the whole segment.
func (r referenceRoute) match(p *urlpath.Path) ([]int, bool) {
	segments := slices.Clone(p.Segments)
	var tail []int
	if r.template.verb != "" {
		stem, verb, ok := p.Verb()
		if !ok || verb != r.template.verb {
			return nil, false
		}
		segments[len(segments)-1] = stem
		tail = []int{0}
	} else {
		tail = []int{1}
	}
	var rank []int
	for i, pattern := range r.template.segments {
		if pattern == "**" {
			for range segments[min(i, len(segments)):] {
				rank = append(rank, 2)
			}
			if i > len(segments) {
				return nil, false
			}
			if i == len(segments) {
				return append(append(rank, tail...), 1), true
			}
			return append(append(rank, tail...), 0), true
		}
		switch {
		case i >= len(segments):
			return nil, false
		case pattern == "*":
			rank = append(rank, 1)
		case pattern == segments[i]:
			rank = append(rank, 0)
		default:
			return nil, false
		}
	}
	if len(segments) != len(r.template.segments) {
		return nil, false
	}
	return append(append(rank, tail...), 0), true
}

func TestTrieMatchesReference(t *testing.T) {
	t.Parallel()
	// All templates of up to three segments out of a small alphabet, all paths likewise.
	var templates []string
	parts := []string{"a", "b", "*", "**"}
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		if depth > 0 {
			templates = append(templates, prefix, prefix+":v")
		}
		if depth == 3 || strings.HasSuffix(prefix, "**") {
			return
		}
		for _, part := range parts {
			grow(prefix+"/"+part, depth+1)
		}
	}
	grow("", 0)
	var paths []string
	for _, x := range []string{"a", "b", "c"} {
		for _, tail := range []string{"", ":v", "/a", "/c:v", "/a/b:v", "/c/a", "/b/c", "/a/a/a:v", ":w", "/c:w"} {
			paths = append(paths, "/"+x+tail)
		}
	}
	compared := 0
	for skip := range 40 { // leave out other templates each time, so that less specific ones get their turn
		var tr trie[string]
		ref := reference{}
		for i, text := range templates {
			if (i*7+skip*13)%11 < 7 {
				continue
			}
			tmpl, err := parseTemplate(text)
			if err != nil {
				t.Fatal(err)
			}
			name := "GET " + text
			if tr.insert("GET", tmpl, name) == nil {
				ref = append(ref, referenceRoute{"GET", tmpl, name})
			}
		}
		for _, raw := range paths {
			p := parsePath(t, raw)
			if diff := cmp.Diff(ref.describe("GET", &p), describe(&tr, "GET", &p)); diff != "" {
				t.Errorf("%s (-reference +trie):\n%s", raw, diff)
			}
			compared++
		}
	}
	if compared == 0 {
		t.Error("compared nothing")
	}
}

func BenchmarkTrieLookup(b *testing.B) {
	tr := buildTrie(b, []string{
		"GET /v1/orders", "GET /v1/orders/{id}", "POST /v1/orders/{id}:cancel", "GET /v1/products/{id}", "GET /v1/boxes/{id}/readings",
	})
	u := &url.URL{Path: "/v1/orders/ord-0000007"}
	spare := make([]string, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		p, err := urlpath.Parse(u, spare)
		if err != nil {
			b.Fatal(err)
		}
		if tr.lookup("GET", &p) == nil {
			b.Fatal("no route")
		}
	}
}

func describe(tr *trie[string], method string, p *urlpath.Path) string {
	found := tr.lookup(method, p)
	if found == nil {
		return "none, allowed " + strings.Join(slices.Sorted(maps.Keys(tr.methods(p))), " ")
	}
	return fmt.Sprintf("%s %v", found.route, found.template.values(nil, p))
}

func buildTrie(tb testing.TB, routes []string) *trie[string] {
	tb.Helper()
	var tr trie[string]
	for _, route := range routes {
		method, text, _ := strings.Cut(route, " ")
		tmpl, err := parseTemplate(text)
		if err != nil {
			tb.Fatal(err)
		}
		if taken := tr.insert(method, tmpl, route); taken != nil {
			tb.Fatalf("%s and %s are equal", *taken, route)
		}
	}
	return &tr
}

func parsePath(tb testing.TB, raw string) urlpath.Path {
	tb.Helper()
	u, err := url.ParseRequestURI(raw)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := urlpath.Parse(u, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
