package schema

import (
	"iter"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// directiveSpec is a directive that SDL may use: where, and with which arguments.
type directiveSpec struct {
	locations []ast.DirectiveLocation
	arguments map[string]argumentSpec
}

// argumentSpec is an argument of a directive.
type argumentSpec struct {
	kinds    []ast.ValueKind
	required bool
	// fields are those of an object argument; nil if any will do.
	fields map[string]argumentSpec
}

// stringKinds are the kinds of values that are strings.
func stringKinds() []ast.ValueKind { return []ast.ValueKind{ast.StringValue, ast.BlockValue} }

// directiveSpecs lists the directives that are honoured in SDL.
func directiveSpecs() map[string]directiveSpec {
	text := argumentSpec{kinds: stringKinds()}
	required := argumentSpec{kinds: stringKinds(), required: true}
	return map[string]directiveSpec{
		"grpc": {
			locations: []ast.DirectiveLocation{ast.LocationFieldDefinition},
			arguments: map[string]argumentSpec{
				"method": required,
				"input":  {kinds: []ast.ValueKind{ast.ObjectValue}},
				"select": text,
				"batch": {kinds: []ast.ValueKind{ast.ObjectValue}, fields: map[string]argumentSpec{
					"key":     {kinds: append([]ast.ValueKind{ast.ObjectValue}, stringKinds()...), required: true},
					"into":    required,
					"results": required,
					"match":   {kinds: append([]ast.ValueKind{ast.ObjectValue}, stringKinds()...)},
					"max":     {kinds: []ast.ValueKind{ast.IntValue}},
					"get":     text,
				}},
			},
		},
		"proto": {
			locations: []ast.DirectiveLocation{
				ast.LocationFieldDefinition, ast.LocationArgumentDefinition, ast.LocationInputFieldDefinition,
				ast.LocationObject, ast.LocationInputObject, ast.LocationEnumValue,
			},
			arguments: map[string]argumentSpec{
				"field": text, "message": text, "value": text,
				"nullIfEmpty": {kinds: []ast.ValueKind{ast.BooleanValue}},
			},
		},
		"deprecated": {
			locations: []ast.DirectiveLocation{
				ast.LocationFieldDefinition, ast.LocationArgumentDefinition, ast.LocationInputFieldDefinition, ast.LocationEnumValue,
			},
			arguments: map[string]argumentSpec{"reason": text},
		},
		"specifiedBy": {
			locations: []ast.DirectiveLocation{ast.LocationScalar},
			arguments: map[string]argumentSpec{"url": required},
		},
		"oneOf": {locations: []ast.DirectiveLocation{ast.LocationInputObject}},
	}
}

// plannedDirectives are ones that mean something to Portico but that this version does not honour. They are refused
// by name, because a rule that is ignored is worse than none.
func plannedDirectives() []string {
	return []string{"auth", "authenticated", "requiresScopes", "cost", "listSize", "cache"}
}

// directives checks the directives at one place.
func (c *checker) directives(list ast.DirectiveList, at ast.DirectiveLocation) {
	seen := map[string]bool{}
	for _, dir := range list {
		spec, known := c.specs[dir.Name]
		switch {
		case slices.Contains(plannedDirectives(), dir.Name):
			c.add(dir.Position, "directive @%s is not supported by this version", dir.Name)
			continue
		case dir.Name == "rest" || dir.Name == "mqtt":
			c.add(dir.Position, "directive @%s stands in a schema", dir.Name).expect("it on a stored operation")
			continue
		case !known:
			names := make([]string, 0, len(c.specs))
			for name := range c.specs {
				names = append(names, name)
			}
			slices.Sort(names)
			c.add(dir.Position, "unknown directive @%s", dir.Name).near(dir.Name, names)
			continue
		case !slices.Contains(spec.locations, at):
			c.add(dir.Position, "directive @%s cannot stand on %s", dir.Name, locationWord(at))
			continue
		case seen[dir.Name]:
			c.add(dir.Position, "directive @%s stands twice", dir.Name)
			continue
		}
		seen[dir.Name] = true
		c.arguments(dir, spec)
		if dir.Name == "proto" {
			c.protoArguments(dir, at)
		}
	}
}

// protoArguments checks that the arguments of @proto suit the place.
func (c *checker) protoArguments(dir *ast.Directive, at ast.DirectiveLocation) {
	var allowed []string
	switch at {
	case ast.LocationObject, ast.LocationInputObject:
		allowed = []string{"message"}
	case ast.LocationEnumValue:
		allowed = []string{"value"}
	case ast.LocationFieldDefinition:
		allowed = []string{"field", "nullIfEmpty"}
	default:
		allowed = []string{"field"}
	}
	if len(dir.Arguments) == 0 {
		c.add(dir.Position, "@proto without arguments").expect("%s", strings.Join(allowed, " or "))
	}
	for _, arg := range dir.Arguments {
		if _, known := c.specs["proto"].arguments[arg.Name]; known && !slices.Contains(allowed, arg.Name) {
			c.add(arg.Position, "@proto(%s:) on %s", arg.Name, locationWord(at)).expect("%s", strings.Join(allowed, " or "))
		}
	}
}

func (c *checker) arguments(dir *ast.Directive, spec directiveSpec) {
	children := make(ast.ChildValueList, len(dir.Arguments))
	for i, a := range dir.Arguments {
		children[i] = &ast.ChildValue{Name: a.Name, Value: a.Value, Position: a.Position}
	}
	c.object("@"+dir.Name, dir.Position, children, spec.arguments)
}

// object checks the named values of a directive or of an object within it.
func (c *checker) object(where string, pos *ast.Position, children ast.ChildValueList, specs map[string]argumentSpec) {
	names := make([]string, 0, len(specs))
	for name := range specs {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := map[string]bool{}
	for _, child := range children {
		spec, known := specs[child.Name]
		switch {
		case !known:
			c.add(child.Position, "%s has no argument %q", where, child.Name).
				expect("%s", strings.Join(names, ", ")).near(child.Name, names)
		case seen[child.Name]:
			c.add(child.Position, "argument %q of %s stands twice", child.Name, where)
		case !slices.Contains(spec.kinds, child.Value.Kind):
			c.add(child.Value.Position, "argument %q of %s is %s", child.Name, where, child.Value).
				expect("%s", kindsWord(spec.kinds))
		case child.Value.Kind == ast.ObjectValue && spec.fields != nil:
			c.object(where+" "+child.Name, child.Position, child.Value.Children, spec.fields)
		}
		seen[child.Name] = true
	}
	for _, name := range names {
		if specs[name].required && !seen[name] {
			c.add(pos, "%s lacks the argument %q", where, name).expect("%s", kindsWord(specs[name].kinds))
		}
	}
}

func kindsWord(kinds []ast.ValueKind) string {
	switch kinds[len(kinds)-1] {
	case ast.StringValue, ast.BlockValue:
		if kinds[0] == ast.ObjectValue {
			return "a string or an object"
		}
		return "a string"
	case ast.IntValue:
		return "a number"
	case ast.BooleanValue:
		return "true or false"
	default:
		return "an object"
	}
}

// locationWord writes a directive's place in words.
func locationWord(at ast.DirectiveLocation) string {
	word := strings.ToLower(strings.ReplaceAll(string(at), "_", " "))
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}

// stringArgument returns a string argument of a directive; "" if there is none.
func stringArgument(dir *ast.Directive, name string) string {
	if dir == nil {
		return ""
	}
	if arg := dir.Arguments.ForName(name); arg != nil && slices.Contains(stringKinds(), arg.Value.Kind) {
		return arg.Value.Raw
	}
	return ""
}

// protoString returns a string argument of @proto; "" if there is none.
func protoString(list ast.DirectiveList, name string) string {
	return stringArgument(list.ForName("proto"), name)
}

func protoBool(list ast.DirectiveList, name string) bool {
	dir := list.ForName("proto")
	if dir == nil {
		return false
	}
	arg := dir.Arguments.ForName(name)
	return arg != nil && arg.Value.Kind == ast.BooleanValue && arg.Value.Raw == "true"
}

// splitPath splits a path at its dots.
func splitPath(path string) iter.Seq[string] { return strings.SplitSeq(path, ".") }
