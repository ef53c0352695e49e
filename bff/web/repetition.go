package web

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
)

// maxPairs bounds the pairs of selections that validation may have to compare. A hundred aliased fields with nine
// fields each, all alike, stay below it.
const maxPairs = 50_000

// repetition refuses documents whose validation would take long. The rule that fields of the same response name can
// be merged compares each with each other: ten thousand times __typename, a body of 110 KB, keep a processor busy for a
// quarter of a minute. So names are counted before. Documents that are remembered have passed.
type repetition struct {
	documents *memory[*ast.QueryDocument]
	tokens    int
}

var _ interface {
	graphql.OperationParameterMutator
	graphql.HandlerExtension
} = repetition{}

// ExtensionName names the extension.
func (repetition) ExtensionName() string { return "Repetition" }

// Validate has nothing to find.
func (repetition) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters returns an error for a document that repeats its fields too often. A document that cannot
// be parsed is left to the executor, which tells why.
func (r repetition) MutateOperationParameters(ctx context.Context, params *graphql.RawParams) *gqlerror.Error {
	if _, ok := r.documents.Get(ctx, params.Query); ok {
		return nil
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: params.Query}, r.tokens)
	if err != nil {
		return nil //nolint:nilerr // the executor parses it again and reports it
	}
	if pairs(doc) > maxPairs {
		return &gqlerror.Error{
			Message: "the document repeats its fields too often", Extensions: map[string]any{"code": "GRAPHQL_VALIDATION_FAILED"},
		}
	}
	return nil
}

// pairs is an upper bound for the pairs of selections of the same response name, wherever they stand. All fragment
// spreads count as one name.
func pairs(doc *ast.QueryDocument) int {
	counts := map[string]int{}
	for _, op := range doc.Operations {
		count(op.SelectionSet, counts)
	}
	for _, fragment := range doc.Fragments {
		count(fragment.SelectionSet, counts)
	}
	sum := 0
	for _, n := range counts {
		sum += n * (n - 1) / 2
	}
	return sum
}

func count(set ast.SelectionSet, counts map[string]int) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			counts[s.Alias]++
			count(s.SelectionSet, counts)
		case *ast.InlineFragment:
			count(s.SelectionSet, counts)
		case *ast.FragmentSpread:
			counts["..."]++
		}
	}
}
