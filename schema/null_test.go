package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/schema"
)

// nullSDL has each field nullable and not, synchronous (read from the message) and asynchronous (joined), as graphql-js's
// tests of non-null have.
const nullSDL = `
type Query {
  nest: Nest @grpc(method: "library.v1.Library/GetKitchenSink")
  nestBang: Nest! @grpc(method: "library.v1.Library/GetKitchenSink")
}
type Nest {
  sync: String @proto(field: "maybe_s")
  syncBang: String! @proto(field: "maybe_s")
  name: String! @proto(field: "s")
  nest: Inner @proto(field: "nested")
  nestBang: Inner! @proto(field: "nested")
  joined: Author @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "x"})
  joinedBang: Author! @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "x"})
  genres: [Genre] genresItem: [Genre!] @proto(field: "genres") genresBang: [Genre]! @proto(field: "genres")
  genresBoth: [Genre!]! @proto(field: "genres")
}
type Inner {
  sync: String @proto(field: "name")
  inner: Inner
  innerBang: Inner! @proto(field: "inner")
}
type Author { id: ID! @proto(field: "author_id") pen: String! @proto(field: "pen_name") }
enum Genre { NOVEL POETRY }
`

// TestNullPropagation asserts how far up a null travels: to the nearest field that may be null, and no further; and
// that every null that must not be is one error at its own path.
func TestNullPropagation(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, nullSDL, schema.Options{})
	tests := []struct {
		name, query, sink string
		author            handler
		want              []string
	}{
		{name: "a nullable null is null", query: `{ nest { sync } }`, sink: `{}`, want: []string{`{"nest":{"sync":null}}`}},
		{
			name: "a null that must not be takes its parent", query: `{ nest { name syncBang sync } }`, sink: `{"s": "x"}`,
			want: []string{`{"nest":null}`, `nest.syncBang: Nest.syncBang must not be null, but there is no value (1:15) [Internal]`},
		},
		{
			name: "through parents that must not be null", query: `{ nestBang { name nestBang { innerBang { sync } } } }`, sink: `{"nested": {}}`,
			want: []string{`null`, `nestBang.nestBang.innerBang: Inner.innerBang must not be null, but there is no value (1:30) [Internal]`},
		},
		{
			name: "to the nearest that may", query: `{ nestBang { name nest { sync innerBang { innerBang { sync } } } } }`, sink: `{"s": "kept", "nested": {"inner": {}}}`,
			want: []string{
				`{"nestBang":{"name":"kept","nest":null}}`,
				`nestBang.nest.innerBang.innerBang: Inner.innerBang must not be null, but there is no value (1:43) [Internal]`,
			},
		},
		{
			name: "two places, two errors", query: `{ a: nest { nest { innerBang { sync } } } b: nest { syncBang } }`, sink: `{"nested": {}}`,
			want: []string{
				`{"a":{"nest":null},"b":null}`,
				`a.nest.innerBang: Inner.innerBang must not be null, but there is no value (1:20) [Internal]`,
				`b.syncBang: Nest.syncBang must not be null, but there is no value (1:53) [Internal]`,
			},
		},
		{
			name: "a failed call is null where it may be", query: `{ nest { name joined { id } } }`, sink: `{"s": "kept"}`,
			author: refuse(codes.Unavailable, "gone"),
			want: []string{
				`{"nest":{"name":"kept","joined":null}}`,
				`nest.joined: the service answered with Unavailable (1:15) [Unavailable]`,
			},
		},
		{
			name: "a failed call takes its parent where it may not", query: `{ nest { name joinedBang { id } } }`, sink: `{"s": "kept"}`,
			author: refuse(codes.NotFound, "gone"),
			want: []string{
				`{"nest":null}`, `nest.joinedBang: the service answered with NotFound (1:15) [NotFound]`,
			},
		},
		{
			name: "a null within a joined object", query: `{ nest { joined { id pen } } }`, sink: `{}`, author: answer(`{"author_id": "x"}`),
			want: []string{
				`{"nest":{"joined":null}}`, `nest.joined.pen: Author.pen must not be null, but there is no value (1:22) [Internal]`,
			},
		},
		{
			name: "null elements", query: `{ nest { genres genresBang } }`, sink: `{"genres": ["GENRE_NOVEL", "GENRE_UNSPECIFIED"]}`,
			want: []string{`{"nest":{"genres":["NOVEL",null],"genresBang":["NOVEL",null]}}`},
		},
		{
			name: "an element that must not be null takes its list", query: `{ nest { genresItem } }`, sink: `{"genres": ["GENRE_NOVEL", "GENRE_UNSPECIFIED"]}`,
			want: []string{
				`{"nest":{"genresItem":null}}`,
				`nest.genresItem[1]: Nest.genresItem must not be null, but there is no value (1:10) [Internal]`,
			},
		},
		{
			name: "and the list its parent", query: `{ nest { genresBoth name } }`, sink: `{"genres": ["GENRE_UNSPECIFIED", "GENRE_UNSPECIFIED"]}`,
			want: []string{
				`{"nest":null}`,
				`nest.genresBoth[0]: Nest.genresBoth must not be null, but there is no value (1:10) [Internal]`,
			},
		},
		{
			name: "an enum value without a name is an error, and null", query: `{ nest { name genres } }`, sink: `{"s": "kept", "genres": ["GENRE_ODD"]}`,
			want: []string{
				`{"nest":{"name":"kept","genres":[null]}}`,
				`nest.genres[0]: the value does not fit Genre (1:15) [Internal]`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]handler{"GetKitchenSink": answer(tt.sink), "GetAuthor": tt.author})
			got := strings.Split(execute(t, compile(t, s, tt.query), f, nil), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPartialFailure asserts that what does not depend on a failure is there.
func TestPartialFailure(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	f := newFake(t, map[string]handler{
		"ListBooks":       books(`{"book_id": "1", "author_id": "a", "shelf_id": "7"}`, `{"book_id": "2", "author_id": "b", "shelf_id": "8"}`),
		"BatchGetAuthors": refuse(codes.DeadlineExceeded, "slow"),
		"BatchGetShelves": answer(`{"shelves": {"7": {"label": "seven"}}}`),
		"BatchGetCopies":  answer(`{"copies": [{}, {}]}`),
	})
	got := execute(t, compile(t, s, `{ allBooks { id author { id agent { id } } shelf { label } } book(id: "9") { id } }`), f, nil)
	want := strings.Join([]string{
		`{"allBooks":[{"id":"1","author":null,"shelf":{"label":"seven"}},{"id":"2","author":null,"shelf":null}],"book":null}`,
		`allBooks[0].author: the service answered with DeadlineExceeded (1:17) [DeadlineExceeded]`,
		`allBooks[1].author: the service answered with DeadlineExceeded (1:17) [DeadlineExceeded]`,
		`book: the service answered with Unimplemented (1:62) [Unimplemented]`,
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
}

// TestRowsByPosition asserts that an answer with another number of rows than keys is an error, not a mix-up.
func TestRowsByPosition(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	f := newFake(t, map[string]handler{
		"ListBooks":      books(`{"copy": {"branch": "a", "number": 1}}`),
		"BatchGetCopies": answer(`{"copies": [{}, {}]}`),
	})
	got := execute(t, compile(t, s, `{ allBooks { copy { state } } }`), f, nil)
	want := `{"allBooks":[{"copy":null}]}` + "\n" + `allBooks[0].copy: the answer of a service is malformed (1:14) [Internal]`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
