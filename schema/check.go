package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// checker checks SDL as a whole. gqlparser's own validation stops at the first mistake; this one goes on.
type checker struct {
	*mistakes
	doc   *ast.SchemaDocument
	specs map[string]directiveSpec
	types map[string]*ast.Definition
	ast   *ast.Schema
}

// schema merges extensions into their types and makes a schema that may still be wrong, for the checks and bindings to
// work on.
func (c *checker) schema() *ast.Schema {
	s := &ast.Schema{
		Types: map[string]*ast.Definition{}, PossibleTypes: map[string][]*ast.Definition{}, Implements: map[string][]*ast.Definition{},
	}
	c.types, c.ast = s.Types, s
	for _, def := range c.doc.Definitions {
		if first := s.Types[def.Name]; first != nil {
			c.add(def.Position, "type %s is declared twice", def.Name).expect("extend %s, or another name", def.Name)
			continue
		}
		s.Types[def.Name] = def
	}
	for _, ext := range c.doc.Extensions {
		c.extend(ext)
	}
	c.doc.Extensions = nil
	for _, def := range c.doc.Definitions {
		switch def.Kind {
		case ast.Union:
			for _, name := range def.Types {
				if t := s.Types[name]; t != nil {
					s.AddPossibleType(def.Name, t)
					s.AddImplements(name, def)
				}
			}
		case ast.Object, ast.Interface:
			for _, name := range def.Interfaces {
				if t := s.Types[name]; t != nil && def.Kind == ast.Object {
					s.AddPossibleType(name, def)
					s.AddImplements(def.Name, t)
				}
			}
			if def.Kind == ast.Object {
				s.AddPossibleType(def.Name, def)
			}
		default:
		}
	}
	c.roots(s)
	return s
}

func (c *checker) extend(ext *ast.Definition) {
	def := c.types[ext.Name]
	switch {
	case def == nil:
		c.add(ext.Position, "unknown type %q is extended", ext.Name).near(ext.Name, c.typeNames(nil))
		return
	case def.Kind != ext.Kind:
		c.add(ext.Position, "%s is extended as %s, but it is %s", ext.Name, kindName(ext.Kind), kindName(def.Kind))
		return
	}
	def.Directives = append(def.Directives, ext.Directives...)
	def.Interfaces = append(def.Interfaces, ext.Interfaces...)
	def.Fields = append(def.Fields, ext.Fields...)
	def.Types = append(def.Types, ext.Types...)
	def.TypePositions = append(def.TypePositions, ext.TypePositions...)
	def.EnumValues = append(def.EnumValues, ext.EnumValues...)
}

// roots finds the root types.
func (c *checker) roots(s *ast.Schema) {
	explicit := append(slices.Clone(c.doc.Schema), c.doc.SchemaExtension...)
	set := map[ast.Operation]**ast.Definition{ast.Query: &s.Query, ast.Mutation: &s.Mutation, ast.Subscription: &s.Subscription}
	for i, def := range c.doc.Schema {
		if i > 0 {
			c.add(def.Position, "there are two schema definitions").expect("extend schema")
		}
	}
	for _, def := range explicit {
		c.directives(def.Directives, ast.LocationSchema)
		for _, root := range def.OperationTypes {
			t := s.Types[root.Type]
			switch {
			case t == nil:
				c.add(root.Position, "unknown type %q is the root of %s", root.Type, root.Operation).near(root.Type, c.typeNames(isObject))
			case *set[root.Operation] != nil:
				c.add(root.Position, "there are two root types of %s", root.Operation)
			default:
				*set[root.Operation] = t
			}
		}
	}
	if len(c.doc.Schema) == 0 {
		for op, name := range map[ast.Operation]string{ast.Query: "Query", ast.Mutation: "Mutation", ast.Subscription: "Subscription"} {
			if *set[op] == nil {
				*set[op] = s.Types[name]
			}
		}
	}
	if s.Query == nil {
		c.add(nil, "there is no query type").expect("type Query")
	}
	for op, def := range set {
		if *def != nil && (*def).Kind != ast.Object {
			c.add((*def).Position, "the root of %s is %s", op, kindName((*def).Kind)).expect("an object type")
		}
	}
}

func isObject(def *ast.Definition) bool { return def.Kind == ast.Object && !def.BuiltIn }

// typeNames lists the types of a kind, of any kind for a nil want.
func (c *checker) typeNames(want func(*ast.Definition) bool) []string {
	var names []string
	for name, def := range c.types {
		if !isIntrospective(name) && (want == nil || want(def)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// check checks every definition.
func (c *checker) check() {
	for _, def := range c.doc.Directives {
		if _, known := c.specs[def.Name]; !known && (def.Position == nil || def.Position.Src == nil || !def.Position.Src.BuiltIn) {
			c.add(def.Position, "directive @%s is declared, but nothing honours it", def.Name)
		}
	}
	for _, def := range c.doc.Definitions {
		if def.BuiltIn || isBuiltIn(def) {
			continue
		}
		c.definition(def)
	}
}

func isBuiltIn(def *ast.Definition) bool {
	return def.Position != nil && def.Position.Src != nil && def.Position.Src.BuiltIn
}

func (c *checker) definition(def *ast.Definition) {
	c.name(def.Position, "type", def.Name)
	c.directives(def.Directives, definitionLocation(def.Kind))
	switch def.Kind {
	case ast.Scalar:
		if !slices.Contains(scalarNames(), def.Name) {
			c.add(def.Position, "unknown scalar %q", def.Name).expect("one that Portico knows").near(def.Name, scalarNames())
		}
	case ast.Enum:
		c.enumValues(def)
	case ast.Union:
		c.unionMembers(def)
	case ast.InputObject:
		c.fields(def, true)
	default:
		c.fields(def, false)
		c.implements(def)
	}
}

func definitionLocation(k ast.DefinitionKind) ast.DirectiveLocation {
	switch k {
	case ast.Scalar:
		return ast.LocationScalar
	case ast.Object:
		return ast.LocationObject
	case ast.Interface:
		return ast.LocationInterface
	case ast.Union:
		return ast.LocationUnion
	case ast.Enum:
		return ast.LocationEnum
	default:
		return ast.LocationInputObject
	}
}

func (c *checker) name(pos *ast.Position, what, name string) {
	if isIntrospective(name) {
		c.add(pos, "%s %q begins with __, which is GraphQL's own", what, name)
	}
}

func (c *checker) enumValues(def *ast.Definition) {
	seen := map[string]bool{}
	if len(def.EnumValues) == 0 {
		c.add(def.Position, "enum %s has no values", def.Name)
	}
	for _, v := range def.EnumValues {
		c.name(v.Position, "enum value", v.Name)
		if seen[v.Name] {
			c.add(v.Position, "enum value %s.%s is declared twice", def.Name, v.Name)
		}
		if v.Name == "true" || v.Name == "false" || v.Name == "null" {
			c.add(v.Position, "enum value %s.%s is a word of GraphQL", def.Name, v.Name)
		}
		seen[v.Name] = true
		c.directives(v.Directives, ast.LocationEnumValue)
	}
}

func (c *checker) unionMembers(def *ast.Definition) {
	seen := map[string]bool{}
	if len(def.Types) == 0 {
		c.add(def.Position, "union %s has no types", def.Name)
	}
	for i, name := range def.Types {
		pos := def.Position
		if i < len(def.TypePositions) {
			pos = def.TypePositions[i]
		}
		t := c.types[name]
		switch {
		case t == nil:
			c.add(pos, "unknown type %q in union %s", name, def.Name).expect("an object type").near(name, c.typeNames(isObject))
		case t.Kind != ast.Object:
			c.add(pos, "%s in union %s is %s", name, def.Name, kindName(t.Kind)).expect("an object type")
		case seen[name]:
			c.add(pos, "type %s stands twice in union %s", name, def.Name)
		}
		seen[name] = true
	}
}

// fields checks the fields of an object, an interface or an input type.
func (c *checker) fields(def *ast.Definition, input bool) {
	seen := map[string]bool{}
	if len(def.Fields) == 0 {
		c.add(def.Position, "%s %s has no fields", kindName(def.Kind), def.Name)
	}
	for _, f := range def.Fields {
		if isIntrospective(f.Name) && def == c.ast.Query {
			continue
		}
		c.name(f.Position, "field", f.Name)
		if seen[f.Name] {
			c.add(f.Position, "field %s.%s is declared twice", def.Name, f.Name)
		}
		seen[f.Name] = true
		where := "field " + def.Name + "." + f.Name
		c.typeOf(where, f.Type, f.Position, input)
		if input {
			c.directives(f.Directives, ast.LocationInputFieldDefinition)
			c.defaultValue(where, f.Type, f.DefaultValue)
			continue
		}
		if def.Kind == ast.Interface {
			if d := f.Directives.ForName("grpc"); d != nil {
				c.add(d.Position, "@grpc on a field of interface %s", def.Name).expect("it on the types that implement %s", def.Name)
			}
			if d := f.Directives.ForName("proto"); d != nil {
				c.add(d.Position, "@proto on a field of interface %s", def.Name).expect("it on the types that implement %s", def.Name)
			}
		}
		c.directives(f.Directives, ast.LocationFieldDefinition)
		args := map[string]bool{}
		for _, a := range f.Arguments {
			c.name(a.Position, "argument", a.Name)
			if args[a.Name] {
				c.add(a.Position, "argument %s of %s is declared twice", a.Name, where)
			}
			args[a.Name] = true
			c.typeOf("argument "+a.Name+" of "+where, a.Type, a.Position, true)
			c.directives(a.Directives, ast.LocationArgumentDefinition)
			c.defaultValue("argument "+a.Name+" of "+where, a.Type, a.DefaultValue)
		}
	}
}

// typeOf checks that a type exists and is one of input or output.
func (c *checker) typeOf(where string, typ *ast.Type, pos *ast.Position, input bool) {
	def := c.types[typ.Name()]
	suits := func(d *ast.Definition) bool { return input && d.IsInputType() || !input && d.Kind != ast.InputObject }
	if p := innermost(typ).Position; p != nil {
		pos = p
	}
	switch {
	case def == nil && scalarSDL(typ.Name()) == "":
		c.add(pos, "%s has the unknown type %q", where, typ.Name()).near(typ.Name(), c.typeNames(suits))
	case def != nil && !suits(def):
		m := c.add(pos, "%s has the type %s, which is %s", where, typ.Name(), kindName(def.Kind))
		if input {
			m.expect("a scalar, an enum or an input type")
		} else {
			m.expect("a scalar, an enum, an object type, an interface or a union")
		}
	}
}

func innermost(t *ast.Type) *ast.Type {
	for t.Elem != nil {
		t = t.Elem
	}
	return t
}

func (c *checker) defaultValue(where string, typ *ast.Type, v *ast.Value) {
	if v == nil || c.types[typ.Name()] == nil {
		return
	}
	co := coercer{types: c.types}
	if _, err := co.literal(typ, v, nil); err != nil {
		c.add(v.Position, "the default value of %s does not fit %s: %s", where, typ, err.Error())
	}
}

// implements checks that a type has what its interfaces demand.
func (c *checker) implements(def *ast.Definition) {
	seen := map[string]bool{}
	for _, name := range def.Interfaces {
		t := c.types[name]
		switch {
		case t == nil:
			c.add(def.Position, "%s implements the unknown type %q", def.Name, name).
				near(name, c.typeNames(func(d *ast.Definition) bool { return d.Kind == ast.Interface }))
			continue
		case t.Kind != ast.Interface:
			c.add(def.Position, "%s implements %s, which is %s", def.Name, name, kindName(t.Kind)).expect("an interface")
			continue
		case seen[name]:
			c.add(def.Position, "%s implements %s twice", def.Name, name)
			continue
		}
		seen[name] = true
		for _, want := range t.Fields {
			got := def.Fields.ForName(want.Name)
			if got == nil {
				c.add(def.Position, "%s implements %s but lacks its field %s", def.Name, name, want.Name).expect("%s: %s", want.Name, want.Type)
				continue
			}
			if !c.covariant(want.Type, got.Type) {
				c.add(got.Position, "field %s.%s is %s, but interface %s has it as %s", def.Name, got.Name, got.Type, name, want.Type).
					expect("%s", want.Type)
			}
			for _, arg := range want.Arguments {
				if a := got.Arguments.ForName(arg.Name); a == nil || a.Type.String() != arg.Type.String() {
					c.add(got.Position, "field %s.%s lacks argument %s of interface %s", def.Name, got.Name, arg.Name, name).
						expect("%s: %s", arg.Name, arg.Type)
				}
			}
		}
	}
}

// covariant reports whether a field of type got satisfies an interface's field of type want.
func (c *checker) covariant(want, got *ast.Type) bool {
	switch {
	case want.NonNull && !got.NonNull, (want.Elem == nil) != (got.Elem == nil):
		return false
	case want.Elem != nil:
		return c.covariant(want.Elem, got.Elem)
	case want.NamedType == got.NamedType:
		return true
	default:
		return slices.ContainsFunc(c.ast.PossibleTypes[want.NamedType], func(d *ast.Definition) bool { return d.Name == got.NamedType })
	}
}
