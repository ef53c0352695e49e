// Package shop is the GraphQL schema of the demo grocer: SDL that binds every service of protos/shop, and the
// operations that are stored with it. It is an example to copy from, and what cmd/demo serves.
package shop

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/portico-bff/portico/schema"
)

//go:embed *.graphqls operations/*.graphql
var files embed.FS

// SDL returns the schema's sources, in order of their names.
func SDL() ([]schema.Source, error) { return sources("*.graphqls") }

// Operations returns the stored operations, in order of their names.
func Operations() ([]schema.Source, error) { return sources("operations/*.graphql") }

func sources(pattern string) ([]schema.Source, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", pattern, err)
	}
	out := make([]schema.Source, len(names))
	for i, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out[i] = schema.Source{Name: name, Text: text}
	}
	return out, nil
}
