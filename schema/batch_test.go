package schema_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// librarySDL binds the library with batches of every shape.
//
//go:embed testdata/library.graphqls
var librarySDL string

func books(list ...string) handler {
	return answer(`{"books": [` + strings.Join(list, ",") + `]}`)
}

// TestCalls asserts which calls queries of different shapes make.
func TestCalls(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	tests := []struct {
		name, query string
		vars        map[string]any
		handlers    map[string]handler
		calls       []string
		want        string
	}{
		{
			name:  "a batch for a list, keys deduplicated, a miss is null, no key is null",
			query: `{ books { books { id author { name } } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"book_id": "1", "author_id": "a"}`, `{"book_id": "2", "author_id": "b"}`,
					`{"book_id": "3", "author_id": "a"}`, `{"book_id": "4", "author_id": "nobody"}`, `{"book_id": "5"}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["a","b","nobody"]}`, `ListBooks {}`},
			want: `{"books":{"books":[{"id":"1","author":{"name":"Name of a"}},{"id":"2","author":{"name":"Name of b"}},` +
				`{"id":"3","author":{"name":"Name of a"}},{"id":"4","author":null},{"id":"5","author":null}]}}`,
		},
		{
			name:  "chunks of max",
			query: `{ allBooks { author { id } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"author_id": "a"}`, `{"author_id": "b"}`, `{"author_id": "c"}`, `{"author_id": "d"}`,
					`{"author_id": "e"}`, `{"author_id": "f"}`, `{"author_id": "g"}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{
				`BatchGetAuthors {"author_ids":["a","b","c"]}`, `BatchGetAuthors {"author_ids":["d","e","f"]}`,
				`BatchGetAuthors {"author_ids":["g"]}`, `ListBooks {}`,
			},
			want: `{"allBooks":[{"author":{"id":"a"}},{"author":{"id":"b"}},{"author":{"id":"c"}},{"author":{"id":"d"}},` +
				`{"author":{"id":"e"}},{"author":{"id":"f"}},{"author":{"id":"g"}}]}`,
		},
		{
			name:  "aliases and equal bindings share a call",
			query: `{ book(id: "1") { a: author { name } b: author { id } editor { id } } }`,
			handlers: map[string]handler{
				"GetBook":         answer(`{"book_id": "1", "author_id": "x", "editor_id": "y"}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["x","y"]}`, `GetBook {"book_id":"1"}`},
			want:  `{"book":{"a":{"name":"Name of x"},"b":{"id":"x"},"editor":{"id":"y"}}}`,
		},
		{
			name:  "different arguments do not share a call",
			query: `{ book(id: "1") { a: author(locale: "de") { id } b: author(locale: "fr") { id } } }`,
			handlers: map[string]handler{
				"GetBook": answer(`{"author_id": "x"}`), "BatchGetAuthors": authors(),
			},
			calls: []string{
				`BatchGetAuthors {"author_ids":["x"],"locale":"de"}`, `BatchGetAuthors {"author_ids":["x"],"locale":"fr"}`,
				`GetBook {"book_id":"1"}`,
			},
			want: `{"book":{"a":{"id":"x"},"b":{"id":"x"}}}`,
		},
		{
			name:  "equal root calls share a call, and their joins do",
			query: `{ a: book(id: "1") { author { id } } b: book(id: "1") { author { name } } c: book(id: "2") { id author { id } } }`,
			handlers: map[string]handler{
				"GetBook": answer(`{"book_id": "?", "author_id": "x"}`), "BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["x"]}`, `GetBook {"book_id":"1"}`, `GetBook {"book_id":"2"}`},
			want:  `{"a":{"author":{"id":"x"}},"b":{"author":{"name":"Name of x"}},"c":{"id":"?","author":{"id":"x"}}}`,
		},
		{
			name:  "nested lists are one batch, and each depth is",
			query: `{ allBooks { author { agent { id } } chapters { translator { id } pages { illustrator { id } } } } }`,
			handlers: map[string]handler{
				"ListBooks": books(
					`{"author_id": "a", "chapters": [{"translator_id": "t", "pages": [{"illustrator_id": "i"}, {}]}, {}]}`,
					`{"author_id": "a", "chapters": [{"translator_id": "a"}]}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{
				`BatchGetAuthors {"author_ids":["a","t","i"]}`, `BatchGetAuthors {"author_ids":["agent-a"]}`, `ListBooks {}`,
			},
			want: `{"allBooks":[{"author":{"agent":{"id":"agent-a"}},"chapters":[` +
				`{"translator":{"id":"t"},"pages":[{"illustrator":{"id":"i"}},{"illustrator":null}]},{"translator":null,"pages":[]}]},` +
				`{"author":{"agent":{"id":"agent-a"}},"chapters":[{"translator":{"id":"a"},"pages":[]}]}]}`,
		},
		{
			name:  "many rows for a key",
			query: `{ allBooks { reviews { text author { id } } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"book_id": "1"}`, `{"book_id": "2"}`),
				"BatchListReviews": answer(`{"reviews": [{"book_id": "1", "text": "good", "author_id": "r"},
					{"book_id": "9", "text": "unasked"}, {"book_id": "1", "text": "bad", "author_id": "s"}]}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["r","s"]}`, `BatchListReviews {"book_ids":["1","2"]}`, `ListBooks {}`},
			want: `{"allBooks":[{"reviews":[{"text":"good","author":{"id":"r"}},{"text":"bad","author":{"id":"s"}}]},` +
				`{"reviews":[]}]}`,
		},
		{
			name:  "many keys of a parent",
			query: `{ allBooks { sequelAuthors { id } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"sequel_author_ids": ["a", "none", "a"]}`, `{}`), "BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["a","none"]}`, `ListBooks {}`},
			want:  `{"allBooks":[{"sequelAuthors":[{"id":"a"},null,{"id":"a"}]},{"sequelAuthors":[]}]}`,
		},
		{
			name:  "rows in a map, numeric keys",
			query: `{ allBooks { shelf { label } } }`,
			handlers: map[string]handler{
				"ListBooks":       books(`{"shelf_id": "7"}`, `{"shelf_id": "300"}`, `{}`),
				"BatchGetShelves": answer(`{"shelves": {"7": {"label": "seven"}, "8": {}}}`),
			},
			calls: []string{`BatchGetShelves {"shelf_ids":["7","300"]}`, `ListBooks {}`},
			want:  `{"allBooks":[{"shelf":{"label":"seven"}},{"shelf":null},{"shelf":null}]}`,
		},
		{
			name:  "message keys, rows by position and by match",
			query: `{ allBooks { copy { state } sameCopy { state } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"copy": {"branch": "a", "number": 1}}`, `{"copy": {"branch": "b"}}`, `{}`),
				"BatchGetCopies": func(_ context.Context, req map[string]any) (string, error) {
					keys, _ := req["keys"].([]any)
					var out []string
					for _, k := range keys {
						text, err := json.Marshal(k)
						if err != nil {
							return "", err
						}
						row := strings.TrimSuffix(string(text), "}") + `, "state": "copy of ` + strings.ReplaceAll(string(text), `"`, "'") + `"}`
						out = append(out, row)
					}
					return `{"copies": [` + strings.Join(out, ",") + `]}`, nil
				},
			},
			calls: []string{
				`BatchGetCopies {"keys":[{"branch":"a","number":1},{"branch":"b"}]}`, `BatchGetCopies {"keys":[{"branch":"a","number":1}]}`,
				`ListBooks {}`,
			},
			want: `{"allBooks":[{"copy":{"state":"copy of {'branch':'a','number':1}"},"sameCopy":{"state":"copy of {'branch':'a','number':1}"}},` +
				`{"copy":null,"sameCopy":null},{"copy":null,"sameCopy":null}]}`,
		},
		{
			name:  "single rows fan out, deduplicated",
			query: `{ allBooks { owner { id } again: owner { name } } }`,
			handlers: map[string]handler{
				"ListBooks": books(`{"author_id": "a"}`, `{"author_id": "b"}`, `{"author_id": "a"}`),
				"GetAuthor": func(_ context.Context, req map[string]any) (string, error) {
					return fmt.Sprintf(`{"author_id": %q, "name": "N"}`, req["author_id"]), nil
				},
			},
			calls: []string{`GetAuthor {"author_id":"a","locale":"en"}`, `GetAuthor {"author_id":"b","locale":"en"}`, `ListBooks {}`},
			want: `{"allBooks":[{"owner":{"id":"a"},"again":{"name":"N"}},{"owner":{"id":"b"},"again":{"name":"N"}},` +
				`{"owner":{"id":"a"},"again":{"name":"N"}}]}`,
		},
		{
			name:     "a batch for root fields",
			query:    `query($x: ID!) { a: author(id: "a") { id } b: author(id: $x) { name } c: author(id: "a") { name } }`,
			vars:     map[string]any{"x": "b"},
			handlers: map[string]handler{"BatchGetAuthors": authors()},
			calls:    []string{`BatchGetAuthors {"author_ids":["a","b"]}`},
			want:     `{"a":{"id":"a"},"b":{"name":"Name of b"},"c":{"name":"Name of a"}}`,
		},
		{
			name:  "unions: only matching types give keys",
			query: `{ search(query: "x") { __typename ... on Book { author { id } } ... on Author { name agent { id } } ... on Shelf { label } } }`,
			handlers: map[string]handler{
				"Search":          answer(`{"hits": [{"book": {"author_id": "a"}}, {"author": {"name": "N", "agent_id": "g"}}, {}, {"shelf": {"label": "L"}}]}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["a","g"]}`, `Search {"query":"x"}`},
			want: `{"search":[{"__typename":"Book","author":{"id":"a"}},{"__typename":"Author","name":"N","agent":{"id":"g"}},null,` +
				`{"__typename":"Shelf","label":"L"}]}`,
		},
		{
			name:  "nothing to ask for, nothing asked",
			query: `{ allBooks { author { agent { agent { id } } } reviews { author { id } } } }`,
			handlers: map[string]handler{
				"ListBooks": books(),
			},
			calls: []string{`ListBooks {}`},
			want:  `{"allBooks":[]}`,
		},
		{
			name:  "skipped joins are not fetched",
			query: `query($yes: Boolean!, $no: Boolean!) { book(id: "1") { id author @skip(if: $yes) { id } editor @include(if: $no) { id } ...F @include(if: $yes) } } fragment F on Book { title }`,
			vars:  map[string]any{"yes": true, "no": false},
			handlers: map[string]handler{
				"GetBook": answer(`{"book_id": "1", "title": "T", "author_id": "x"}`),
			},
			calls: []string{`GetBook {"book_id":"1"}`},
			want:  `{"book":{"id":"1","title":"T"}}`,
		},
		{
			name:  "recursion through messages",
			query: `{ book(id: "1") { next { next { author { id } } author { id } } } }`,
			handlers: map[string]handler{
				"GetBook":         answer(`{"next": {"author_id": "a", "next": {"author_id": "b"}}}`),
				"BatchGetAuthors": authors(),
			},
			calls: []string{`BatchGetAuthors {"author_ids":["b","a"]}`, `GetBook {"book_id":"1"}`},
			want:  `{"book":{"next":{"next":{"author":{"id":"b"}},"author":{"id":"a"}}}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tt.handlers)
			got := execute(t, compile(t, s, tt.query), f, tt.vars)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.calls, f.sorted()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBranchesDoNotWait holds back one branch until the join of another has been called.
func TestBranchesDoNotWait(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	joined := make(chan struct{})
	f := newFake(t, map[string]handler{
		"GetBook": func(ctx context.Context, _ map[string]any) (string, error) {
			select {
			case <-joined:
				return `{"book_id": "slow"}`, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		},
		"ListBooks": books(`{"author_id": "a"}`),
		"BatchGetAuthors": func(ctx context.Context, req map[string]any) (string, error) {
			close(joined)
			return authors()(ctx, req)
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := show(t, compile(t, s, `{ book(id: "1") { id } allBooks { author { id } } }`).Execute(ctx, f, nil))
	if want := `{"book":{"id":"slow"},"allBooks":[{"author":{"id":"a"}}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestConcurrencyIsBounded fans out to many single rows and watches how many calls are under way.
func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{Concurrency: 3})
	var (
		mu        sync.Mutex
		now, most int
	)
	var list []string
	for i := range 40 {
		list = append(list, fmt.Sprintf(`{"author_id": "a%d"}`, i))
	}
	f := newFake(t, map[string]handler{
		"ListBooks": books(list...),
		"GetAuthor": func(context.Context, map[string]any) (string, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return `{}`, nil
		},
	})
	r := compile(t, s, `{ allBooks { owner { id } } }`).Execute(t.Context(), f, nil)
	if len(r.Errors) > 0 || most > 3 || most < 2 {
		t.Errorf("%d calls at once, want 2 or 3; errors %v", most, r.Errors)
	}
}

// rowFake keeps rows, as a cache does.
type rowFake struct {
	*fake
	kept   map[string][]byte
	stored []string
	refuse error
}

func (f *rowFake) LookupRows(_ context.Context, r *upstream.Rows, base []byte, keys [][]byte) ([][]byte, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	out := make([][]byte, len(keys))
	for i, key := range keys {
		out[i] = f.kept[string(r.Into.Name())+string(base)+string(key)]
	}
	return out, nil
}

func (f *rowFake) StoreRows(_ context.Context, r *upstream.Rows, base []byte, keys, rows [][]byte) {
	for i, key := range keys {
		if rows[i] == nil {
			f.stored = append(f.stored, string(key)+" miss")
			continue
		}
		f.stored = append(f.stored, string(key))
		f.kept[string(r.Into.Name())+string(base)+string(key)] = rows[i]
	}
}

// TestRowsOfOtherResults asserts that rows of one method from two places of its answer never meet in the cache.
func TestRowsOfOtherResults(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, `
		type Query { book: Book @grpc(method: "library.v1.Library/GetBook") }
		type Book {
			author: Author @grpc(method: "library.v1.Library/BatchGetAuthors",
				batch: {key: "{parent.author_id}", into: "author_ids", results: "authors"})
			agent: Author @grpc(method: "library.v1.Library/BatchGetAuthors",
				batch: {key: "{parent.author_id}", into: "author_ids", results: "agents"})
		}
		type Author { id: ID! @proto(field: "author_id") }`, schema.Options{})
	f := &rowFake{fake: newFake(t, map[string]handler{
		"GetBook":         answer(`{"author_id": "a"}`),
		"BatchGetAuthors": answer(`{"authors": [{"author_id": "a"}], "agents": [{"author_id": "g"}]}`),
	}), kept: map[string][]byte{}}
	for range 2 {
		if got := execute(t, compile(t, s, `{ book { author { id } agent { id } } }`), f, nil); got != `{"book":{"author":{"id":"a"},"agent":{"id":"g"}}}` {
			t.Errorf("got %s", got)
		}
	}
}

func TestRowCache(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	f := &rowFake{fake: newFake(t, map[string]handler{
		"ListBooks":       books(`{"author_id": "a"}`, `{"author_id": "b"}`, `{"author_id": "nobody"}`),
		"BatchGetAuthors": authors(),
	}), kept: map[string][]byte{}}
	f.kept["author_ids"+"b"] = []byte("\x0a\x01b") // author_id: "b"
	op := compile(t, s, `{ allBooks { author { id } } }`)
	for range 2 {
		got := execute(t, op, f, nil)
		if want := `{"allBooks":[{"author":{"id":"a"}},{"author":{"id":"b"}},{"author":null}]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want := []string{
		`BatchGetAuthors {"author_ids":["a","nobody"]}`, `BatchGetAuthors {"author_ids":["nobody"]}`, `ListBooks {}`, `ListBooks {}`,
	}
	if diff := cmp.Diff(want, f.sorted()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "nobody miss", "nobody miss"}, f.stored); diff != "" {
		t.Errorf("stored rows (-want +got):\n%s", diff)
	}
	f.refuse = statusError(codes.PermissionDenied)
	got := execute(t, compile(t, s, `{ allBooks { author { id } } }`), f, nil)
	if !strings.Contains(got, "allBooks[0].author: the service answered with PermissionDenied (1:14) [PermissionDenied]") {
		t.Errorf("a refused lookup gives %s", got)
	}
}
