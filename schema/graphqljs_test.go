package schema_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"strings"
	"testing"

	"github.com/portico-bff/portico/schema"
)

// recorded is what graphql-js answers to random queries; testdata/graphqljs/record.js makes it.
//
//go:embed testdata/graphqljs/recorded.json
var recorded []byte

// TestAsGraphQLJS asserts that data are those of graphql-js to the byte, the order of keys included, and that there are
// errors where it has errors.
func TestAsGraphQLJS(t *testing.T) {
	t.Parallel()
	strict := strings.NewReplacer(
		"agent: Author @", "agent: Author! @", "shelf: Shelf @", "shelf: Shelf! @", "illustrator: Author @", "illustrator: Author! @",
		"sequelAuthors: [Author]", "sequelAuthors: [Author!]", "penName: String", "penName: String!",
	)
	s := compileSchema(t, strict.Replace(librarySDL), schema.Options{})
	const book = `{"book_id": "1", "title": "T1", "author_id": "a", "editor_id": "none", "shelf_id": 3, "sequel_author_ids": ["a", "q"],
		"copy": {"branch": "z", "number": 4}, "genre": 1, "next": {"title": "N", "author_id": "b"},
		"chapters": [{"title": "c1", "translator_id": "a", "pages": [{"number": 1, "illustrator_id": "b"}, {"number": 2}]}, {}]}`
	caller := &anything{tb: t, answers: map[string]string{
		"library.v1.Library/GetBook":   book,
		"library.v1.Library/ListBooks": `{"books": [` + book + `,{"book_id": "2"}], "total": 2}`,
		"library.v1.Library/GetAuthor": `{"author_id": "a", "name": "A", "agent_id": "b"}`,
		"library.v1.Library/BatchGetAuthors": `{"authors": [{"author_id": "a", "name": "A", "agent_id": "b"},
			{"author_id": "b", "pen_name": "P"}]}`,
		"library.v1.Library/BatchListReviews": `{"reviews": [{"book_id": "1", "text": "r1", "author_id": "a"},
			{"book_id": "2", "text": "r2", "author_id": "none"}]}`,
		"library.v1.Library/BatchGetShelves": `{"shelves": {"3": {"label": "L"}}}`,
		"library.v1.Library/BatchGetCopies":  `{"copies": [{"branch": "z", "number": 4, "state": "s"}]}`,
		"library.v1.Library/Search": `{"hits": [{"book": ` + book + `}, {"shelf": {"label": "L2"}}, {},
			{"author": {"author_id": "z", "agent_id": "a"}}]}`,
	}}
	var cases []struct {
		Query     string
		Variables map[string]any
		Data      json.RawMessage
		Failed    bool
	}
	if err := json.Unmarshal(recorded, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		r := compile(t, s, c.Query).Execute(t.Context(), caller, c.Variables)
		if !bytes.Equal(r.Data, c.Data) || c.Failed != (len(r.Errors) > 0) {
			t.Errorf("%s\nvariables %v\ngot  %s (%v)\nwant %s (failed: %v)", c.Query, c.Variables, r.Data, r.Errors, c.Data, c.Failed)
		}
	}
}
