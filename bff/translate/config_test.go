package translate_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/translate"
)

func TestRules(t *testing.T) {
	t.Parallel()
	d := library(t)
	cfg := translate.Config{Rules: []translate.Rule{
		{Selector: libraryService + ".Hidden", Binding: translate.Binding{Get: "/v9/old/{name}"}},
		{
			Selector: libraryService + ".Hidden", Binding: translate.Binding{Get: "/v9/hidden/{name}"},
			AdditionalBindings: []translate.Binding{{Custom: &translate.Custom{Kind: "FIND", Path: "/v9/hidden"}}},
		},
		{Selector: libraryService + ".CreateBook", Binding: translate.Binding{Put: "/v9/books", Body: "*", ResponseBody: "title"}},
	}}
	rules, err := cfg.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := translate.New(d.Methods(libraryService), translate.Options{Caller: echo(), Resolver: d.Types(), Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	for line, status := range map[string]int{
		"GET /v9/hidden/x": 200, "FIND /v9/hidden?name=x": 200, "GET /v9/old/x": 404, "POST /v1/books": 405,
	} {
		if r := do(t, rt, line, ""); r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", line, r.StatusCode, status)
		}
	}
	r := do(t, rt, "PUT /v9/books", `{"title":"A"}`)
	if body := text(t, r); r.StatusCode != http.StatusOK || body != `"A"` {
		t.Errorf("status %d, body %s", r.StatusCode, body)
	}
}

func TestRulesMistakes(t *testing.T) {
	t.Parallel()
	get := func(path string) translate.Rule {
		return translate.Rule{Selector: libraryService + ".GetBook", Binding: translate.Binding{Get: path}}
	}
	cfg := translate.Config{Rules: []translate.Rule{
		{Selector: libraryService + ".GetBok", Binding: translate.Binding{Get: "/x"}},
		{Selector: libraryService + ".GetBook"},
		{Selector: libraryService + ".GetBook", Binding: translate.Binding{Get: "/x", Put: "/y"}},
		get("/x/{"),
		get("/x/{nme}"),
		{Selector: libraryService + ".GetBook", Binding: translate.Binding{Post: "/x", Body: "nme"}},
		{Selector: libraryService + ".GetBook", Binding: translate.Binding{Get: "/x", ResponseBody: "titel"}},
		{Selector: libraryService + ".Echo", Binding: translate.Binding{Get: "/{strings}/{labels}/{book}/{a_int32}/{aInt32}"}},
		{
			Selector: libraryService + ".GetBook", Binding: translate.Binding{Get: "/x"},
			AdditionalBindings: []translate.Binding{{Get: "x"}, {Custom: &translate.Custom{Kind: "A B", Path: "/x"}}},
		},
	}}
	_, err := cfg.Compile(library(t))
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	want := []string{
		`rules.0.selector: unknown method "test.library.v1.Library.GetBok", did you mean "test.library.v1.Library.GetBook"?`,
		`rules.1: no HTTP method, expected exactly one of get, put, post, delete, patch and custom`,
		`rules.2: get and put exclude each other, expected exactly one of get, put, post, delete, patch and custom`,
		`rules.3.get: path template "/x/{": column 5: a variable is not closed`,
		`rules.4.get: field path "nme": test.library.v1.GetBookRequest has no field "nme", did you mean "name"?`,
		`rules.5.post: body: field path "nme": test.library.v1.GetBookRequest has no field "nme", did you mean "name"?`,
		`rules.6.get: response_body: test.library.v1.Book has no field "titel", did you mean "title"?`,
		`rules.7.get: field "strings" is repeated or a map, which a path cannot hold`,
		`rules.7.get: field "labels" is repeated or a map, which a path cannot hold`,
		`rules.7.get: field "book" is a test.library.v1.Book, which a path cannot hold`,
		`rules.7.get: the variables "a_int32" and "a_int32" bind the same field`,
		`rules.8.additional_bindings.0.get: path template "x": column 1: expected a slash`,
		`rules.8.additional_bindings.1.custom: custom kind "A B" is no HTTP method`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
