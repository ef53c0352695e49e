package web

import (
	"context"
	"fmt"

	"github.com/99designs/gqlgen/graphql"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/portico-bff/portico/schema"
)

// What is remembered is bounded by the length of the texts it was made of, since clients choose them. A parsed document
// takes up to a hundred times its text.
const (
	documentTexts  = 1 << 20
	planTexts      = 1 << 20
	persistedTexts = 8 << 20
	// overhead is what an entry weighs beside its text.
	overhead = 64
)

// memory is a cache keyed by text in gqlgen's form. It is safe for concurrent use and starts no lasting goroutines.
type memory[V any] struct {
	entries *otter.Cache[string, V]
}

var _ graphql.Cache[string] = (*memory[string])(nil)

// newDocuments remembers parsed and validated documents by their text.
func newDocuments() (*memory[*ast.QueryDocument], error) {
	return newMemory(documentTexts, func(text string, _ *ast.QueryDocument) int { return len(text) })
}

// newPersisted remembers the texts of automatic persisted queries by their hash.
func newPersisted() (*memory[string], error) {
	return newMemory(persistedTexts, func(_, text string) int { return len(text) })
}

func newMemory[V any](limit uint64, length func(string, V) int) (*memory[V], error) {
	entries, err := newCache(limit, length)
	return &memory[V]{entries: entries}, err
}

// Get returns what is remembered under a key.
func (m *memory[V]) Get(_ context.Context, key string) (V, bool) { return m.entries.GetIfPresent(key) }

// Add remembers a value, for a while.
func (m *memory[V]) Add(_ context.Context, key string, value V) { m.entries.Set(key, value) }

// newPlans remembers the plans of the operations of remembered documents.
func newPlans() (*otter.Cache[*ast.OperationDefinition, *schema.Operation], error) {
	return newCache(planTexts, func(op *ast.OperationDefinition, _ *schema.Operation) int {
		if op.Position == nil || op.Position.Src == nil {
			return 0
		}
		return len(op.Position.Src.Input)
	})
}

// newCache makes a cache bounded by the lengths of its entries.
func newCache[K comparable, V any](limit uint64, length func(K, V) int) (*otter.Cache[K, V], error) {
	cache, err := otter.New(&otter.Options[K, V]{
		MaximumWeight: limit,
		Weigher:       func(key K, value V) uint32 { return uint32(length(key, value)) + overhead },
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of the GraphQL door: %w", err)
	}
	return cache, nil
}
