package schema

import (
	"context"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Source is one file of SDL or of stored operations.
type Source struct {
	// Name is the file's name, for messages.
	Name string
	// Text is its content.
	Text []byte
}

// Options set up a [Schema]. The zero value works.
type Options struct {
	// Lookup gives the value of a template reference that stands for the request rather than for the data, such as
	// "principal.subject" or "request.id". Without a value the request field stays unset. A nil Lookup has no values.
	Lookup func(ctx context.Context, path string) (string, bool)
	// Limits bound what one operation may ask for.
	Limits Limits
	// Concurrency bounds the calls that one execution has under way at once; 16 if zero.
	Concurrency int
}

// Limits bound an operation before anything is called. Zero fields take the defaults.
type Limits struct {
	// Depth is how deep fields may nest; 15 if zero. Introspection is bounded apart from it.
	Depth int
	// Fields is how many fields an operation may select, fragments written out; 1000 if zero.
	Fields int
	// Aliases is how many of them may be aliased; 100 if zero.
	Aliases int
}

func (o Options) withDefaults() Options {
	o.Limits.Depth = positive(o.Limits.Depth, 15)
	o.Limits.Fields = positive(o.Limits.Fields, 1000)
	o.Limits.Aliases = positive(o.Limits.Aliases, 100)
	o.Concurrency = positive(o.Concurrency, 16)
	if o.Lookup == nil {
		o.Lookup = func(context.Context, string) (string, bool) { return "", false }
	}
	return o
}

func positive(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// Schema is a GraphQL schema whose fields are bound to methods and messages. It is immutable and safe for concurrent
// use.
type Schema struct {
	ast      *ast.Schema
	options  Options
	roots    map[ast.Operation]*object
	types    *introspection
	warnings []Warning
}

// AST is the schema as clients see it: without the binding directives. It must not be changed.
func (s *Schema) AST() *ast.Schema { return s.ast }

// Warnings lists what works but costs, such as a joined field whose method answers for one row only.
func (s *Schema) Warnings() []Warning { return s.warnings }

// Parse parses and validates a document. Doors that parse for themselves, with rules of their own, need not use it.
func (s *Schema) Parse(name, text string) (*ast.QueryDocument, gqlerror.List) {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Name: name, Input: text}, maxTokens)
	if err != nil {
		return nil, gqlerror.List{gqlerror.WrapIfUnwrapped(err)}
	}
	if len(doc.Operations) == 0 {
		return nil, gqlerror.List{gqlerror.Errorf("the document holds no operation")}
	}
	if errs := validator.ValidateWithRules(s.ast, doc, rules.NewDefaultRules()); len(errs) > 0 {
		return nil, errs
	}
	return doc, nil
}

// maxTokens bounds the documents that Parse accepts.
const maxTokens = 20_000
