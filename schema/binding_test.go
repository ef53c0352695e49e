package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/schema"
)

// TestBindings runs bindings of less usual shapes.
func TestBindings(t *testing.T) {
	t.Parallel()
	const getBook = `@grpc(method: "library.v1.Library/GetBook", input: {book_id: "1"})`
	tests := []struct {
		name, sdl, query string
		vars             map[string]any
		handlers         map[string]handler
		calls            []string
		want             string
	}{
		{
			name: "texts of arguments, parents and constants",
			sdl: `type Query { book(id: ID!, n: Int, x: In): Book @grpc(method: "library.v1.Library/GetBook", input: {book_id: "b-{args.id}-{args.n}-{args.x.title}"}) }
				input In { title: String }
				type Book { owner: Author @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "{parent.author_id}/{parent.shelf_id}", locale: "{parent.title}"}) }
				type Author { name: String! }`,
			query: `{ book(id: 7, n: 3, x: {title: "t"}) { owner { name } } unset: book(id: 7) { owner { name } } }`,
			handlers: map[string]handler{
				"GetBook": answer(`{"author_id": "a", "shelf_id": 5, "title": "de"}`), "GetAuthor": answer(`{"name": "N"}`),
			},
			calls: []string{`GetAuthor {"author_id":"a/5","locale":"de"}`, `GetBook {"book_id":"b-7-3-t"}`, `GetBook {}`},
			want:  `{"book":{"owner":{"name":"N"}},"unset":{"owner":{"name":"N"}}}`,
		},
		{
			name: "an interface by the message's type",
			sdl: `type Query { named: Named ` + getBook + ` }
				interface Named { title: String! } type Book implements Named { title: String! genre: Genre }
				type Album implements Named @proto(message: "library.v1.Chapter") { title: String! }
				enum Genre { NOVEL POETRY ODD }`,
			query:    `{ named { __typename title ... on Book { genre } ... on Album { title } } }`,
			handlers: map[string]handler{"GetBook": answer(`{"title": "T", "genre": "GENRE_ODD"}`)},
			calls:    []string{`GetBook {"book_id":"1"}`},
			want:     `{"named":{"__typename":"Book","title":"T","genre":"ODD"}}`,
		},
		{
			name: "an interface over a oneof, types bound by @proto(message:)",
			sdl: `type Query { hits: [Thing] @grpc(method: "library.v1.Library/Search", select: "hits") }
				interface Thing { name: String! }
				type Volume implements Thing @proto(message: "library.v1.Book") { name: String! @proto(field: "title") }
				type Person implements Thing @proto(message: "library.v1.Author") { name: String! }`,
			query:    `{ hits { __typename name } }`,
			handlers: map[string]handler{"Search": answer(`{"hits": [{"book": {"title": "T"}}, {"shelf": {}}, {"author": {"name": "N"}}]}`)},
			calls:    []string{`Search {}`},
			want:     `{"hits":[{"__typename":"Volume","name":"T"},null,{"__typename":"Person","name":"N"}]}`,
		},
		{
			name: "one scalar of each row",
			sdl: `type Query { books: [Book!]! @grpc(method: "library.v1.Library/ListBooks", select: "books") }
				type Book {
					authorName: String @grpc(method: "library.v1.Library/BatchGetAuthors", select: "name",
						batch: {key: "{parent.author_id}", into: "author_ids", results: "authors", match: "author_id"})
					sequelNames: [String] @grpc(method: "library.v1.Library/BatchGetAuthors", select: "name",
						batch: {key: "{parent.sequel_author_ids}", into: "author_ids", results: "authors", match: "author_id"})
					reviewTexts: [String!] @grpc(method: "library.v1.Library/BatchListReviews", select: "text",
						batch: {key: "{parent.book_id}", into: "book_ids", results: "reviews", match: "book_id"})
				}`,
			query: `{ books { authorName sequelNames reviewTexts } }`,
			handlers: map[string]handler{
				"ListBooks":        books(`{"book_id": "1", "author_id": "a", "sequel_author_ids": ["b", "no"]}`, `{}`),
				"BatchGetAuthors":  authors(),
				"BatchListReviews": answer(`{"reviews": [{"book_id": "1", "text": "x"}, {"book_id": "1", "text": "y"}]}`),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["a","b","no"]}`, `BatchListReviews {"book_ids":["1"]}`, `ListBooks {}`},
			want: `{"books":[{"authorName":"Name of a","sequelNames":["Name of b",null],"reviewTexts":["x","y"]},` +
				`{"authorName":null,"sequelNames":[],"reviewTexts":[]}]}`,
		},
		{
			name: "a list of keys as an argument",
			sdl: `type Query { authors(ids: [ID!]!): [Author] @grpc(method: "library.v1.Library/BatchGetAuthors",
					batch: {key: "{args.ids}", into: "author_ids", results: "authors", match: "author_id", max: 2}) }
				type Author { name: String! }`,
			query:    `query($ids: [ID!]!) { authors(ids: $ids) { name } again: authors(ids: "c") { name } }`,
			vars:     map[string]any{"ids": []any{"a", "no", "b", "a"}},
			handlers: map[string]handler{"BatchGetAuthors": authors()},
			calls:    []string{`BatchGetAuthors {"author_ids":["a","no"]}`, `BatchGetAuthors {"author_ids":["b","c"]}`},
			want:     `{"authors":[{"name":"Name of a"},null,{"name":"Name of b"},{"name":"Name of a"}],"again":[{"name":"Name of c"}]}`,
		},
		{
			name: "arguments and constants besides the keys, on both sides of their field",
			sdl: `type Query { book: Book ` + getBook + ` }
				type Book { author(withAgents: Boolean): Author @grpc(method: "library.v1.Library/BatchGetAuthors", input: {locale: "fr"},
					batch: {key: "{parent.author_id}", into: "author_ids", results: "authors", match: "author_id", get: "library.v1.Library/GetAuthor"}) }
				type Author { name: String! }`,
			query:    `{ book { author(withAgents: true) { name } } }`,
			handlers: map[string]handler{"GetBook": answer(`{"author_id": "a"}`), "BatchGetAuthors": authors()},
			calls:    []string{`BatchGetAuthors {"author_ids":["a"],"locale":"fr","with_agents":true}`, `GetBook {"book_id":"1"}`},
			want:     `{"book":{"author":{"name":"Name of a"}}}`,
		},
		{
			name: "a base that depends on the parent splits the batch",
			sdl: `type Query { books: [Book!]! @grpc(method: "library.v1.Library/ListBooks", select: "books") }
				type Book { author: Author @grpc(method: "library.v1.Library/BatchGetAuthors", input: {locale: "{parent.title}"},
					batch: {key: "{parent.author_id}", into: "author_ids", results: "authors", match: "author_id"}) }
				type Author { id: ID! @proto(field: "author_id") }`,
			query: `{ books { author { id } } }`,
			handlers: map[string]handler{
				"ListBooks":       books(`{"title": "de", "author_id": "a"}`, `{"title": "fr", "author_id": "a"}`, `{"title": "de", "author_id": "b"}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["a","b"],"locale":"de"}`, `BatchGetAuthors {"author_ids":["a"],"locale":"fr"}`, `ListBooks {}`},
			want:  `{"books":[{"author":{"id":"a"}},{"author":{"id":"a"}},{"author":{"id":"b"}}]}`,
		},
		{
			name: "composed text keys",
			sdl: `type Query { books: [Book!]! @grpc(method: "library.v1.Library/ListBooks", select: "books") }
				type Book { author: Author @grpc(method: "library.v1.Library/BatchGetAuthors",
					batch: {key: "x-{parent.shelf_id}", into: "author_ids", results: "authors", match: "author_id"}) }
				type Author { id: ID! @proto(field: "author_id") }`,
			query:    `{ books { author { id } } }`,
			handlers: map[string]handler{"ListBooks": books(`{"shelf_id": 4}`, `{}`), "BatchGetAuthors": authors()},
			calls:    []string{`BatchGetAuthors {"author_ids":["x-4"]}`, `ListBooks {}`},
			want:     `{"books":[{"author":{"id":"x-4"}},{"author":null}]}`,
		},
		{
			name:     "declared scalars and directives of an editor are welcome",
			sdl:      "directive @grpc(method: String!) on FIELD_DEFINITION\nscalar JSON @specifiedBy(url: \"https://json.org\")\ntype Query { book: JSON " + getBook + " }",
			query:    `{ book }`,
			handlers: map[string]handler{"GetBook": answer(`{"title": "T"}`)},
			calls:    []string{`GetBook {"book_id":"1"}`},
			want:     `{"book":{"title":"T"}}`,
		},
		{
			name: "one type of two messages",
			sdl: `type Query { book: Titled ` + getBook + ` }
				type Titled { title: String! chapters: [Short!] }
				type Short { title: String! }
				extend type Titled { first: [Titled2!] @proto(field: "chapters") } type Titled2 { title: String! pages: JSON }`,
			query:    `{ book { title chapters { title } first { title pages } } }`,
			handlers: map[string]handler{"GetBook": answer(`{"title": "T", "chapters": [{"title": "C", "pages": [{"number": 2}]}]}`)},
			calls:    []string{`GetBook {"book_id":"1"}`},
			want:     `{"book":{"title":"T","chapters":[{"title":"C"}],"first":[{"title":"C","pages":[{"number":2}]}]}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := compileSchema(t, tt.sdl, schema.Options{})
			f := newFake(t, tt.handlers)
			if diff := cmp.Diff(tt.want, execute(t, compile(t, s, tt.query), f, tt.vars)); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.calls, f.sorted()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestKeysOfUnsetFields asserts that a field that a service writes although it is empty is no key.
func TestKeysOfUnsetFields(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	got := execute(t, compile(t, s, `{ book(id: "1") { author { id } shelf { label } } }`), raw{reply: []byte("\x1a\x00\x28\x00")}, nil)
	if want := `{"book":{"author":null,"shelf":null}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNullLists(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, `
		type Query { books: [Book!]! @grpc(method: "library.v1.Library/ListBooks", select: "books") }
		type Book {
			some: [Author] @proto(nullIfEmpty: true) @grpc(method: "library.v1.Library/BatchGetAuthors",
				batch: {key: "{parent.sequel_author_ids}", into: "author_ids", results: "authors", match: "author_id"})
			chapters: [Chapter!] @proto(nullIfEmpty: true)
		}
		type Author { name: String! }
		type Chapter { title: String! translator: Author @grpc(method: "library.v1.Library/BatchGetAuthors",
			batch: {key: "{parent.translator_id}", into: "author_ids", results: "authors", match: "author_id"}) }`, schema.Options{})
	f := newFake(t, map[string]handler{
		"ListBooks":       books(`{}`, `{"sequel_author_ids": ["a"], "chapters": [{"title": "C"}]}`),
		"BatchGetAuthors": authors(),
	})
	got := execute(t, compile(t, s, `{ books { some { name } chapters { title } joined: chapters { translator { name } } } }`), f, nil)
	want := `{"books":[{"some":null,"chapters":null,"joined":null},` +
		`{"some":[{"name":"Name of a"}],"chapters":[{"title":"C"}],"joined":[{"translator":null}]}]}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
