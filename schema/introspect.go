package schema

import (
	"maps"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/portico-bff/portico/upstream/wire"
)

// introspection holds what __schema lists, made once.
type introspection struct {
	ast        *ast.Schema
	types      []any
	directives []any
}

// metaType is a value of __Type: a named type, or a list or non-null type around one.
type metaType struct {
	def *ast.Definition
	typ *ast.Type // of wrapping types; nil for a named one
}

// metaInput is a value of __InputValue.
type metaInput struct {
	name, description string
	typ               *ast.Type
	value             *ast.Value
	directives        ast.DirectiveList
}

// metaRoot is the parent of __schema and __type.
const metaRoot = ""

// metaField is a selected field of introspection.
type metaField struct {
	key    []byte
	parent string
	field  string
	typ    *ast.Type
	args   *arguments
	fields []*metaField
}

func newIntrospection(s *ast.Schema) *introspection {
	in := &introspection{ast: s}
	for _, name := range slices.Sorted(maps.Keys(s.Types)) {
		in.types = append(in.types, metaType{def: s.Types[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Directives)) {
		in.directives = append(in.directives, s.Directives[name])
	}
	return in
}

// maxMetaLists is how deep lists of introspection may nest, as graphql-js has it: each level multiplies the answer.
const maxMetaLists = 3

// metaField plans a field of introspection; lists counts the lists above it.
func (p *planner) metaField(c collected, parent string, lists int) (*metaField, error) {
	node := c.fields[0]
	switch node.Name {
	case "fields", "interfaces", "possibleTypes", "inputFields":
		if lists++; lists >= maxMetaLists {
			return nil, Errors{{Message: "introspection nests too deep", Locations: locate(node.Position)}}
		}
	}
	f := &metaField{
		key: append(wire.AppendJSONString(nil, []byte(c.name)), ':'), parent: parent, field: node.Name,
	}
	if node.Name == "__typename" {
		f.typ = ast.NonNullNamedType("String", nil)
		return f, nil
	}
	owner := p.op.schema.ast.Query
	if parent != metaRoot {
		owner = p.op.schema.ast.Types[parent]
	}
	def := owner.Fields.ForName(node.Name)
	if def == nil {
		return nil, Errors{{Message: "field " + owner.Name + "." + node.Name + " is not known", Locations: locate(node.Position)}}
	}
	f.typ = def.Type
	var err error
	if f.args, err = p.arguments(def, node); err != nil {
		return nil, err
	}
	sets := make([]ast.SelectionSet, 0, len(c.fields))
	for _, n := range c.fields {
		sets = append(sets, n.SelectionSet)
	}
	under := def.Type.Name()
	subs, err := p.collect.collect(under, sets)
	if err != nil {
		return nil, err
	}
	for _, sub := range subs {
		m, err := p.metaField(sub, under, lists)
		if err != nil {
			return nil, err
		}
		f.fields = append(f.fields, m)
	}
	return f, nil
}

// meta writes a root field of introspection.
func (r *renderer) meta(f *metaField) outcome {
	value, err := r.metaResolve(f, nil)
	if err != nil {
		return r.fail(nil, &argumentError{err})
	}
	return r.metaValue(f, value)
}

func (r *renderer) metaValue(f *metaField, value any) outcome {
	switch v := value.(type) {
	case nil:
		return isNull
	case string:
		r.buf = wire.AppendJSONString(r.buf, []byte(v))
	case bool:
		if v {
			r.buf = append(r.buf, "true"...)
		} else {
			r.buf = append(r.buf, "false"...)
		}
	case []any:
		r.buf = append(r.buf, '[')
		for i, item := range v {
			if i > 0 {
				r.buf = append(r.buf, ',')
			}
			if o := r.metaValue(f, item); o != written {
				return o
			}
		}
		r.buf = append(r.buf, ']')
	default:
		r.buf = append(r.buf, '{')
		for i, sub := range f.fields {
			if i > 0 {
				r.buf = append(r.buf, ',')
			}
			r.buf = append(r.buf, sub.key...)
			mark := len(r.buf)
			below, err := r.metaResolve(sub, value)
			if err != nil {
				return r.fail(nil, &argumentError{err})
			}
			if o := r.metaValue(sub, below); o == isNull {
				r.buf = append(r.buf[:mark], "null"...)
			} else if o == failed {
				return failed
			}
		}
		r.buf = append(r.buf, '}')
	}
	return written
}

// metaResolve returns the value of a field of introspection: nil, a string, a bool, a list, or a value of a __ type.
func (r *renderer) metaResolve(f *metaField, value any) (any, error) {
	if f.field == "__typename" {
		return f.parent, nil
	}
	args, err := f.args.of(r.e.vars)
	if err != nil {
		return nil, err
	}
	in := r.e.op.schema.types
	deprecated, _ := args["includeDeprecated"].(bool)
	switch v := value.(type) {
	case nil:
		if f.field == "__schema" {
			return in.ast, nil
		}
		name, _ := args["name"].(string)
		return in.named(name), nil
	case *ast.Schema:
		return in.schemaField(f.field, v), nil
	case metaType:
		return in.typeField(f.field, v, deprecated), nil
	case *ast.FieldDefinition:
		return in.fieldField(f.field, v, deprecated), nil
	case metaInput:
		return in.inputField(f.field, v), nil
	case *ast.EnumValueDefinition:
		return describe(f.field, v.Name, v.Description, v.Directives), nil
	case *ast.DirectiveDefinition:
		return in.directiveField(f.field, v, deprecated), nil
	default:
		return nil, nil //nolint:nilnil // null is a value
	}
}

func (in *introspection) named(name string) any {
	if def := in.ast.Types[name]; def != nil {
		return metaType{def: def}
	}
	return nil
}

func (in *introspection) definition(def *ast.Definition) any {
	if def == nil {
		return nil
	}
	return metaType{def: def}
}

func (in *introspection) of(t *ast.Type) any {
	if t.NonNull || t.Elem != nil {
		return metaType{typ: t}
	}
	return in.named(t.NamedType)
}

func (in *introspection) schemaField(field string, s *ast.Schema) any {
	switch field {
	case "description":
		return text(s.Description)
	case "types":
		return in.types
	case "queryType":
		return in.definition(s.Query)
	case "mutationType":
		return in.definition(s.Mutation)
	case "subscriptionType":
		return in.definition(s.Subscription)
	default:
		return in.directives
	}
}

func (in *introspection) typeField(field string, t metaType, deprecated bool) any {
	if t.typ != nil {
		return in.wrappingField(field, t.typ)
	}
	def := t.def
	switch field {
	case "kind":
		return string(def.Kind)
	case "name":
		return def.Name
	case "description":
		return text(def.Description)
	case "specifiedByURL":
		if url := stringArgument(def.Directives.ForName("specifiedBy"), "url"); url != "" {
			return url
		}
	case "fields":
		if def.Kind == ast.Object || def.Kind == ast.Interface {
			return listed(def.Fields, deprecated, func(f *ast.FieldDefinition) (any, ast.DirectiveList, bool) {
				return f, f.Directives, !isIntrospective(f.Name)
			})
		}
	case "interfaces":
		if def.Kind == ast.Object || def.Kind == ast.Interface {
			return listed(def.Interfaces, true, func(name string) (any, ast.DirectiveList, bool) { return in.named(name), nil, true })
		}
	case "possibleTypes":
		if def.IsAbstractType() {
			return listed(in.ast.PossibleTypes[def.Name], true, func(d *ast.Definition) (any, ast.DirectiveList, bool) {
				return metaType{def: d}, nil, d.Kind == ast.Object
			})
		}
	case "enumValues":
		if def.Kind == ast.Enum {
			return listed(def.EnumValues, deprecated, func(v *ast.EnumValueDefinition) (any, ast.DirectiveList, bool) {
				return v, v.Directives, true
			})
		}
	case "inputFields":
		if def.Kind == ast.InputObject {
			return listed(def.Fields, deprecated, func(f *ast.FieldDefinition) (any, ast.DirectiveList, bool) {
				return metaInput{f.Name, f.Description, f.Type, f.DefaultValue, f.Directives}, f.Directives, true
			})
		}
	case "isOneOf":
		if def.Kind == ast.InputObject {
			return def.Directives.ForName("oneOf") != nil
		}
	}
	return nil
}

func (in *introspection) wrappingField(field string, t *ast.Type) any {
	switch {
	case field == "kind" && t.NonNull:
		return "NON_NULL"
	case field == "kind":
		return "LIST"
	case field == "ofType" && t.NonNull:
		nullable := *t
		nullable.NonNull = false
		return in.of(&nullable)
	case field == "ofType":
		return in.of(t.Elem)
	default:
		return nil
	}
}

func (in *introspection) fieldField(field string, f *ast.FieldDefinition, deprecated bool) any {
	switch field {
	case "args":
		return in.arguments(f.Arguments, deprecated)
	case "type":
		return in.of(f.Type)
	default:
		return describe(field, f.Name, f.Description, f.Directives)
	}
}

func (in *introspection) arguments(args ast.ArgumentDefinitionList, deprecated bool) any {
	return listed(args, deprecated, func(a *ast.ArgumentDefinition) (any, ast.DirectiveList, bool) {
		return metaInput{a.Name, a.Description, a.Type, a.DefaultValue, a.Directives}, a.Directives, true
	})
}

func (in *introspection) inputField(field string, v metaInput) any {
	switch field {
	case "type":
		return in.of(v.typ)
	case "defaultValue":
		if v.value == nil {
			return nil
		}
		return v.value.String()
	default:
		return describe(field, v.name, v.description, v.directives)
	}
}

func (in *introspection) directiveField(field string, d *ast.DirectiveDefinition, deprecated bool) any {
	switch field {
	case "isRepeatable":
		return d.IsRepeatable
	case "locations":
		return listed(d.Locations, true, func(l ast.DirectiveLocation) (any, ast.DirectiveList, bool) { return string(l), nil, true })
	case "args":
		return in.arguments(d.Arguments, deprecated)
	default:
		return describe(field, d.Name, d.Description, d.Directives)
	}
}

// describe answers the fields that nearly every __ type has.
func describe(field, name, description string, directives ast.DirectiveList) any {
	d := directives.ForName("deprecated")
	switch {
	case field == "name":
		return name
	case field == "description":
		return text(description)
	case field == "isDeprecated":
		return d != nil
	case field == "deprecationReason" && d != nil && d.Arguments.ForName("reason") == nil:
		return "No longer supported"
	case field == "deprecationReason" && d != nil:
		return stringArgument(d, "reason")
	default:
		return nil
	}
}

// text is a string, or null if it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// listed makes a list of values, without the deprecated ones unless they are asked for.
func listed[T any](from []T, deprecated bool, value func(T) (any, ast.DirectiveList, bool)) []any {
	out := make([]any, 0, len(from))
	for _, item := range from {
		v, directives, ok := value(item)
		if ok && (deprecated || directives.ForName("deprecated") == nil) {
			out = append(out, v)
		}
	}
	return out
}
