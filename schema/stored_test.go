package schema_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/schema"
)

func TestStored(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	const text = "# Ünïcode before, (parentheses) too\nquery Books($id: ID!) @rest(method: GET,\n  path: \"/v1/books/{id}\") @mqtt(topic: \"d/)\\\"\") {\n  book(id: $id) { ...F }\n}\nfragment F on Book { title }\n"
	stored, err := s.Stored([]schema.Source{{Name: "books.graphql", Text: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	got := stored[0]
	const want = "# Ünïcode before, (parentheses) too\nquery Books($id: ID!) {\n  book(id: $id) { ...F }\n}\nfragment F on Book { title }\n"
	if diff := cmp.Diff(want, got.Text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	sum := sha256.Sum256([]byte(want))
	if got.Hash != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash is %s", got.Hash)
	}
	if diff := cmp.Diff(&schema.REST{Method: "GET", Path: "/v1/books/{id}"}, got.REST); diff != "" {
		t.Errorf("rest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&schema.MQTT{Topic: `d/)"`}, got.MQTT); diff != "" {
		t.Errorf("mqtt (-want +got):\n%s", diff)
	}
	f := newFake(t, map[string]handler{"GetBook": answer(`{"title": "T"}`)})
	if data := execute(t, got.Operation, f, map[string]any{"id": "1"}); data != `{"book":{"title":"T"}}` {
		t.Errorf("it gives %s", data)
	}
	if len(got.Operation.Methods()) != 1 || got.Operation.Name() != "Books" || got.Position.Line != 2 {
		t.Errorf("methods %v, name %s, position %+v", got.Operation.Methods(), got.Operation.Name(), got.Position)
	}
	// The text without the directives is what a client of the web door sends.
	if _, errs := s.Parse("q", got.Text); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestStoredMistakes(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	tests := []struct{ name, text, want string }{
		{"syntax", `query A {`, `o.graphql:1:10: Expected Name, found <EOF>`},
		{"no name", `{ bookCount }`, `o.graphql:1:1: a stored operation has no name, expected query Name { ... }`},
		{"two", `query A { bookCount } query B { bookCount }`, `o.graphql:1:23: the file holds 2 operations, expected one`},
		{"none", `fragment F on Book { id }`, `o.graphql:1:1: the file holds 0 operations, expected one`},
		{"mqtt on a subscription", `subscription A @mqtt(topic: "x") { book(id: "1") { id } }`, `o.graphql:1:16: @mqtt on a subscription, expected a query or a mutation`},
		{"rest on a subscription", `subscription A @rest(method: POST, path: "/x") { book(id: "1") { id } }`, `o.graphql:1:16: @rest on a subscription, expected a query or a mutation`},
		{"GET of a mutation", `mutation A @rest(method: GET, path: "/x") { touch(id: "1") }`, `o.graphql:1:26: GET for a mutation, expected POST, PUT, PATCH or DELETE`},
		{"unknown method", `query A @rest(method: GTE, path: "/x") { bookCount }`, `o.graphql:1:23: unknown HTTP method GTE, expected GET, POST, PUT, PATCH, DELETE, did you mean "GET"?`},
		{"no path", `query A @rest(method: GET) { bookCount }`, `o.graphql:1:9: @rest lacks the argument "path"`},
		{"capture of no variable", `query A($idx: ID!) @rest(method: GET, path: "/x/{id}") { book(id: $idx) { id } }`, `path "/x/{id}" captures "id", which is no variable, expected $id among the variables, did you mean "idx"?`},
		{"wildcard", `query A @mqtt(topic: "x/#") { bookCount }`, `o.graphql:1:22: the topic is "x/#", expected a topic without wildcards`},
		{"unknown argument", `query A @rest(method: GET, path: "/x", pth: "") { bookCount }`, `o.graphql:1:40: @rest has no argument "pth", expected method, path, did you mean "path"?`},
		{"unknown field", `query A { bookCoun }`, `o.graphql:1:11: Cannot query field "bookCoun" on type "Query". Did you mean "bookCount", "book", or "books"?`},
		{"literal", `query A { books(filter: {since: "x"}) { total } }`, `o.graphql:1:11: argument filter.since: "x" is no DateTime`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Stored([]schema.Source{{Name: "o.graphql", Text: []byte(tt.text)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	a := schema.Source{Name: "a.graphql", Text: []byte(`query A @rest(method: GET, path: "/x") { bookCount }`)}
	b := schema.Source{Name: "b.graphql", Text: []byte(`query A @rest(method: GET, path: "/x") { bookCount }`)}
	_, err := s.Stored([]schema.Source{a, b})
	want := "b.graphql:1:1: the name \"A\" is taken by a.graphql:1\nb.graphql:1:1: the route \"GET /x\" is taken by a.graphql:1"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
