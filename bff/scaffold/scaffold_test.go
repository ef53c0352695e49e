package scaffold

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ words, camel, enum string }{
		"GetHTTPRoute":  {"Get HTTP Route", "getHTTPRoute", "GET_HTTP_ROUTE_"},
		"get_big_thing": {"get big thing", "getBigThing", "GET_BIG_THING_"},
		"getThing":      {"get Thing", "getThing", "GET_THING_"},
		"HTTP":          {"HTTP", "http", "HTTP_"},
		"OAuth2Token":   {"O Auth2 Token", "oAuth2Token", "O_AUTH2_TOKEN_"},
		"__x_":          {"x", "x", "X_"},
		"_":             {"_", "_", "__"},
	} {
		w := words(name)
		got := struct{ words, camel, enum string }{strings.Join(w, " "), lowerCamel(w), enumPrefix(name)}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	for one, many := range map[string]string{"Box": "Boxes", "Category": "Categories", "Day": "Days", "OrderItem": "OrderItems", "Branch": "Branches", "Y": "Ys"} {
		if got := strings.Join(plural(words(one)), ""); got != many {
			t.Errorf("the plural of %s is %s, want %s", one, got, many)
		}
	}
}

func TestAssign(t *testing.T) {
	t.Parallel()
	taken := func(name string) bool { return name == "no" }
	for _, c := range []struct {
		candidates [][]string
		want       []string
	}{
		{[][]string{{"a"}, {"b"}}, []string{"a", "b"}},
		{[][]string{{"a", "xa"}, {"a", "ya"}, {"b"}}, []string{"xa", "ya", "b"}},
		{[][]string{{"a", "b"}, {"a", "c"}, {"b", "d"}}, []string{"b", "c", "d"}}, // b moves on when it is wanted twice
		{[][]string{{"a"}, {"a"}, {"a2"}}, []string{"a", "a2", "a22"}},
		{[][]string{{"no"}, {"no", "yes"}}, []string{"no2", "yes"}},
	} {
		if diff := cmp.Diff(c.want, assign(c.candidates, taken)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.candidates, diff)
		}
	}
}

func TestShapeOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/{name=shelves/*/books/**}:read": "/v1/shelves/*/books/**:read", "/v1/a/{b.c}/{d}": "/v1/a/*/*", "/v1/a": "/v1/a",
	} {
		if got := shapeOf(path); got != want {
			t.Errorf("%s has the shape %s, want %s", path, got, want)
		}
	}
}

// TestShop writes a configuration for the demo. That it checks is tested where files are.
func TestShop(t *testing.T) {
	t.Parallel()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		t.Fatal(err)
	}
	const catalog = "shop.catalog.v1.CatalogService/"
	o := Options{Descriptors: d, Origin: "two\nlines", Target: "dns:///x:1", TLS: "none", Public: []string{catalog + "*"}}
	out, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{catalog + "GetProduct", catalog + "ListProducts", catalog + "BatchGetProducts"}
	if diff := cmp.Diff(want, out.Open); diff != "" {
		t.Errorf("open methods (-want +got):\n%s", diff)
	}
	for _, name := range want {
		if !strings.Contains(string(out.Config), `"`+name+`": {allow: "true"} # OPEN`) {
			t.Errorf("%s is open and does not say so", name)
		}
	}
	if n := strings.Count(string(out.Config), "{allow: \"true\"}"); n != len(want) {
		t.Errorf("%d methods are open in the configuration", n)
	}
	s, err := schema.New([]schema.Source{{Name: SchemaFile, Text: out.Schema}}, d, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("the schema warns: %v", w)
	}
	again, err := New(o)
	if err != nil || !slices.Equal(out.Config, again.Config) || !slices.Equal(out.Schema, again.Schema) || !slices.Equal(out.Set, again.Set) {
		t.Error("the same services give another configuration")
	}
	o.Public = []string{"shop.catalog.v1.*", "nope", "shop.catalog.v1.Cat*"}
	if _, err := New(o); err == nil || strings.Count(err.Error(), "no method fits") != 2 {
		t.Errorf("got %v", err)
	}
}
