package schema_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// anything is a Caller that answers every method with a message of its type.
type anything struct {
	tb      testing.TB
	answers map[string]string
	raw     []byte
}

func (a *anything) Invoke(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	if err := (protojson.UnmarshalOptions{}).Unmarshal([]byte(`{}`), dynamicpb.NewMessage(m.Input)); err != nil {
		return upstream.Reply{}, err
	}
	if a.raw != nil {
		return upstream.Reply{Message: a.raw}, nil
	}
	text, ok := a.answers[m.Name]
	if !ok {
		text = `{}`
	}
	return upstream.Reply{Message: encode(a.tb, m, text)}, nil
}

func (a *anything) Open(context.Context, *upstream.Method) (upstream.Stream, error) {
	return nil, context.Canceled
}

// FuzzExecute executes arbitrary documents with arbitrary variables.
//
// Properties: nothing panics; what parses, validates and compiles gives data that is JSON and, without errors, an object
// with a key for each root field; no execution hangs.
func FuzzExecute(f *testing.F) {
	for _, query := range []string{
		`{ books { books { id author { name agent { id } } } } }`,
		`query($x: ID!, $y: Boolean = true) { book(id: $x) { ...F @include(if: $y) } } fragment F on Book { title next { title } }`,
		`{ search(query: "x") { __typename ... on Book { author { id } } ... on Shelf { label } } }`,
		`mutation { touch(id: "1") touchBook(id: "x") { author { name } } }`,
		`{ __schema { types { name fields { name args { defaultValue } } } } }`,
		`{ books(filter: {title: "x", since: "2026-01-01T00:00:00Z"}, tags: ["a", null]) { total } }`,
		`{ a: book(id: 1) { b: reviews { author { id } } c: shelf { label } copy { state } sameCopy { number } sequelAuthors { id } } }`,
	} {
		f.Add(query, `{"x": "1", "y": false}`)
	}
	s := compileSchema(f, librarySDL, schema.Options{})
	const book = `{"book_id": "1", "author_id": "a", "editor_id": "b", "shelf_id": 3, "sequel_author_ids": ["a", "q"], "copy": {"branch": "z"},
		"genre": 9, "chapters": [{"translator_id": "a"}], "next": {"title": "N"}}`
	caller := &anything{tb: f, answers: map[string]string{
		"library.v1.Library/GetBook":          book,
		"library.v1.Library/ListBooks":        `{"books": [` + book + `,{}]}`,
		"library.v1.Library/BatchGetAuthors":  `{"authors": [{"author_id": "a", "agent_id": "b"}, {"author_id": "b"}]}`,
		"library.v1.Library/BatchListReviews": `{"reviews": [{"book_id": "1", "author_id": "a"}, {"book_id": "1", "author_id": "none"}]}`,
		"library.v1.Library/BatchGetShelves":  `{"shelves": {"3": {}}}`,
		"library.v1.Library/Search":           `{"hits": [{"book": {}}, {"shelf": {}}, {}]}`,
	}}
	f.Fuzz(func(t *testing.T, query, variables string) {
		doc, errs := s.Parse("fuzz", query)
		if len(errs) > 0 {
			return
		}
		var vars map[string]any
		if json.Unmarshal([]byte(variables), &vars) != nil {
			vars = nil
		}
		for _, def := range doc.Operations {
			op, err := s.Compile(doc, def)
			if err != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			r := op.Execute(ctx, caller, vars)
			cancel()
			if r.Data == nil && len(r.Errors) == 0 {
				t.Error("neither data nor errors")
			}
			if r.Data != nil && !json.Valid(r.Data) {
				t.Errorf("data is no JSON: %s", r.Data)
			}
		}
	})
}

// FuzzAnswers executes queries over arbitrary answers.
//
// Properties: nothing panics, and data is JSON.
func FuzzAnswers(f *testing.F) {
	s := compileSchema(f, librarySDL+"\nextend type Query { s: Sink @grpc(method: \"library.v1.Library/GetKitchenSink\") }\n"+
		"type Sink { b: Boolean! i32: Int! i64: Int64! u32: Int f: Float d: Float s: String! raw: Base64! genre: Genre at: DateTime meta: JSON any: JSON numbers: [Int!]! counts: JSON maybeI64: Int64 }", schema.Options{})
	op := compile(f, s, `{ books { next books { id genre author { name agent { id } } chapters { title pages { number illustrator { name } } }
		reviews { text } shelf { label } copy { state } sameCopy { state } sequelAuthors { id } } } s { b i32 i64 u32 f d s raw genre at meta any numbers counts maybeI64 }
		search(query: "x") { ... on Book { title author { id } } ... on Author { name } } }`)
	f.Add([]byte("\x0a\x05\x0a\x01a\x1a\x00"))
	f.Add([]byte("\x0a\x0c\x0a\x01a\x1a\x01b\x3a\x04\x0a\x00\x12\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := op.Execute(t.Context(), &anything{tb: t, raw: raw}, nil)
		if !json.Valid(r.Data) {
			t.Errorf("data is no JSON: %s", r.Data)
		}
	})
}
