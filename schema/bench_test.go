package schema_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// canned answers each method with the same bytes.
type canned struct {
	upstream.Caller
	answers map[string][]byte
}

func (c *canned) Invoke(_ context.Context, m *upstream.Method, _ []byte) (upstream.Reply, error) {
	return upstream.Reply{Message: c.answers[m.Name]}, nil
}

func workload(b *testing.B) (*schema.Schema, *canned) {
	b.Helper()
	d := library(b)
	s := compileSchema(b, strings.ReplaceAll(librarySDL, "max: 3", "max: 100"), schema.Options{})
	var books, authors []string
	for i := range 100 {
		books = append(books, fmt.Sprintf(`{"book_id": "book-%04d", "title": "The title of book number %d, as long as titles are", "author_id": "author-%04d"}`, i, i, i))
		authors = append(authors, fmt.Sprintf(`{"author_id": "author-%04d", "name": "Author Number %d"}`, i, i))
	}
	c := &canned{answers: map[string][]byte{}}
	for name, text := range map[string]string{
		"library.v1.Library/ListBooks":       `{"books": [` + strings.Join(books, ",") + `]}`,
		"library.v1.Library/BatchGetAuthors": `{"authors": [` + strings.Join(authors, ",") + `]}`,
	} {
		m, _ := d.Method(name)
		c.answers[name] = encode(b, m, text)
	}
	return s, c
}

const workloadQuery = `{ books { books { id title owner: author { name } } } }`

// BenchmarkJoin is a list of a hundred books joined with a hundred authors, in one call.
func BenchmarkJoin(b *testing.B) {
	s, c := workload(b)
	op := compile(b, s, workloadQuery)
	b.ReportAllocs()
	for b.Loop() {
		if r := op.Execute(b.Context(), c, nil); len(r.Errors) > 0 {
			b.Fatal(r.Errors)
		}
	}
}

// BenchmarkEach is a list of a hundred books whose owners are asked for one by one, all of them different.
func BenchmarkEach(b *testing.B) {
	s, c := workload(b)
	m, _ := library(b).Method("library.v1.Library/GetAuthor")
	c.answers[m.Name] = encode(b, m, `{"author_id": "author-0001", "name": "Author"}`)
	op := compile(b, s, `{ books { books { owner { name } } } }`)
	b.ReportAllocs()
	for b.Loop() {
		if r := op.Execute(b.Context(), c, nil); len(r.Errors) > 0 {
			b.Fatal(r.Errors)
		}
	}
}

// BenchmarkList is the same list without the join.
func BenchmarkList(b *testing.B) {
	s, c := workload(b)
	op := compile(b, s, `{ books { books { id title } } }`)
	b.ReportAllocs()
	for b.Loop() {
		if r := op.Execute(b.Context(), c, nil); len(r.Errors) > 0 {
			b.Fatal(r.Errors)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	s, _ := workload(b)
	doc, errs := s.Parse("q", workloadQuery)
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Compile(doc, doc.Operations[0]); err != nil {
			b.Fatal(err)
		}
	}
}
