package schema

import (
	"errors"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// New compiles SDL against descriptors. The error joins every [*Mistake] that was found, in order of their places.
func New(sources []Source, d *upstream.Descriptors, o Options) (*Schema, error) {
	ms := &mistakes{}
	if d == nil {
		ms.add(nil, "there are no descriptors to bind to")
		return nil, ms.err()
	}
	doc := parseSources(sources, ms)
	if err := ms.err(); err != nil {
		return nil, err // types in files that do not parse would be missed everywhere
	}
	c := &checker{mistakes: ms, doc: doc, specs: directiveSpecs()}
	lenient := c.schema()
	c.check()
	b := &binder{
		mistakes: ms, ast: lenient, descriptors: d,
		render:  wire.RenderOptions{Resolver: d.Types()},
		parse:   wire.ParseOptions{Resolver: d.Types()},
		objects: map[objectKey]*object{}, inputs: map[objectKey]*inputObject{}, enums: map[objectKey]bool{},
		results: map[string]string{},
	}
	roots := map[ast.Operation]*object{}
	for op, def := range map[ast.Operation]*ast.Definition{
		ast.Query: lenient.Query, ast.Mutation: lenient.Mutation, ast.Subscription: lenient.Subscription,
	} {
		if def != nil && def.Kind == ast.Object {
			roots[op] = b.root(op, def)
		}
	}
	for _, def := range doc.Definitions {
		if def.Kind == ast.Object && !def.BuiltIn && !b.bound(def.Name) {
			b.warn(def.Position, "type %s is the type of no field that can be reached", def.Name)
		}
	}
	if err := ms.err(); err != nil {
		return nil, err
	}
	final, err := finish(doc)
	if err != nil {
		return nil, gqlMistake(err)
	}
	s := &Schema{ast: final, options: o.withDefaults(), roots: roots, warnings: b.warnings}
	s.types = newIntrospection(final)
	return s, nil
}

// parseSources parses each source by itself, so that one syntax error a file is reported, and adds what GraphQL and
// Portico declare.
func parseSources(sources []Source, ms *mistakes) *ast.SchemaDocument {
	doc := validator.PreludeDocument()
	for _, source := range sources {
		one, err := parser.ParseSchema(&ast.Source{Name: source.Name, Input: string(source.Text)})
		if err != nil {
			ms.list = append(ms.list, syntaxMistake(source.Name, err))
			continue
		}
		doc.Merge(one)
	}
	declared := map[string]bool{}
	for _, def := range doc.Definitions {
		declared[def.Name] = true
	}
	for _, name := range scalarNames() {
		sdl := scalarSDL(name)
		if sdl == "" || declared[name] || !refersTo(doc, name) {
			continue
		}
		if one, err := parser.ParseSchema(&ast.Source{Name: "portico.graphqls", Input: sdl}); err == nil {
			doc.Merge(one)
		}
	}
	return doc
}

// refersTo reports whether any field or argument is of the named type.
func refersTo(doc *ast.SchemaDocument, name string) bool {
	uses := func(def *ast.Definition) bool {
		return slices.ContainsFunc(def.Fields, func(f *ast.FieldDefinition) bool {
			return f.Type.Name() == name || slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool {
				return a.Type.Name() == name
			})
		})
	}
	return slices.ContainsFunc(doc.Definitions, uses) || slices.ContainsFunc(doc.Extensions, uses)
}

// finish makes the schema that clients see: without the directives that bind it, and without @defer, which is not
// executed.
func finish(doc *ast.SchemaDocument) (*ast.Schema, error) {
	strip := func(list ast.DirectiveList) ast.DirectiveList {
		return slices.DeleteFunc(list, func(d *ast.Directive) bool { return d.Name == "grpc" || d.Name == "proto" })
	}
	for _, def := range doc.Definitions {
		def.Directives = strip(def.Directives)
		for _, f := range def.Fields {
			f.Directives = strip(f.Directives)
			for _, a := range f.Arguments {
				a.Directives = strip(a.Directives)
			}
		}
		for _, v := range def.EnumValues {
			v.Directives = strip(v.Directives)
		}
	}
	doc.Directives = slices.DeleteFunc(doc.Directives, func(d *ast.DirectiveDefinition) bool {
		return d.Name == "defer" || d.Position == nil || d.Position.Src == nil || !d.Position.Src.BuiltIn
	})
	return validator.ValidateSchemaDocument(doc)
}

// syntaxMistake turns gqlparser's syntax error into a Mistake.
func syntaxMistake(name string, err error) *Mistake {
	m := &Mistake{File: name, What: err.Error()}
	if gql, ok := errors.AsType[*gqlerror.Error](err); ok {
		m.What = gql.Message
		if len(gql.Locations) > 0 {
			m.Line, m.Column = gql.Locations[0].Line, gql.Locations[0].Column
		}
	}
	return m
}

// gqlMistake turns what gqlparser finds beyond our own checks into a Mistake.
func gqlMistake(err error) *Mistake {
	name := ""
	if gql, ok := errors.AsType[*gqlerror.Error](err); ok {
		name, _ = gql.Extensions["file"].(string)
	}
	return syntaxMistake(name, err)
}
