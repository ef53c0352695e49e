package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// collected is one response key of a selection, with all the fields that share it.
type collected struct {
	name   string
	fields []*ast.Field
}

// collector collects fields as the specification's CollectFields does.
type collector struct {
	doc *ast.QueryDocument
	ast *ast.Schema
	// value gives the value of a variable of @skip or @include; nil leaves nothing out.
	value func(variable string) bool
	count func(f *ast.Field) error
}

// collect merges the selections made on an object type, in the order in which response keys first occur.
func (c *collector) collect(object string, sets []ast.SelectionSet) ([]collected, error) {
	var (
		out   []collected
		index = map[string]int{}
		seen  map[string]bool
		walk  func(set ast.SelectionSet) error
	)
	walk = func(set ast.SelectionSet) error {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if !c.included(s.Directives) {
					continue
				}
				if err := c.count(s); err != nil {
					return err
				}
				i, ok := index[s.Alias]
				if !ok {
					i = len(out)
					index[s.Alias] = i
					out = append(out, collected{name: s.Alias})
				}
				out[i].fields = append(out[i].fields, s)
			case *ast.InlineFragment:
				if !c.included(s.Directives) || !c.applies(s.TypeCondition, object) {
					continue
				}
				if err := walk(s.SelectionSet); err != nil {
					return err
				}
			case *ast.FragmentSpread:
				def := c.doc.Fragments.ForName(s.Name)
				if seen[s.Name] || def == nil || !c.included(s.Directives) {
					continue
				}
				if seen == nil {
					seen = map[string]bool{}
				}
				seen[s.Name] = true
				if !c.applies(def.TypeCondition, object) {
					continue
				}
				if err := walk(def.SelectionSet); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, set := range sets {
		if err := walk(set); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// applies reports whether a fragment with a type condition applies to an object type.
func (c *collector) applies(condition, object string) bool {
	return condition == "" || condition == object ||
		slices.ContainsFunc(c.ast.PossibleTypes[condition], func(d *ast.Definition) bool { return d.Name == object })
}

// included evaluates @skip and @include.
func (c *collector) included(list ast.DirectiveList) bool {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		arg := d.Arguments.ForName("if")
		if arg == nil {
			continue
		}
		var on bool
		switch {
		case arg.Value.Kind != ast.Variable:
			on = arg.Value.Raw == "true"
		case c.value == nil:
			continue
		default:
			on = c.value(arg.Value.Raw)
		}
		if on == (d.Name == "skip") {
			return false
		}
	}
	return true
}

// conditions lists the variables that @skip and @include of a document ask for, sorted.
func conditions(doc *ast.QueryDocument, op *ast.OperationDefinition) []string {
	var (
		out  []string
		seen = map[string]bool{}
		walk func(set ast.SelectionSet)
	)
	note := func(list ast.DirectiveList) {
		for _, d := range list {
			if arg := d.Arguments.ForName("if"); arg != nil && arg.Value.Kind == ast.Variable && !slices.Contains(out, arg.Value.Raw) {
				out = append(out, arg.Value.Raw)
			}
		}
	}
	walk = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				note(s.Directives)
				walk(s.SelectionSet)
			case *ast.InlineFragment:
				note(s.Directives)
				walk(s.SelectionSet)
			case *ast.FragmentSpread:
				note(s.Directives)
				if def := doc.Fragments.ForName(s.Name); def != nil && !seen[s.Name] {
					seen[s.Name] = true
					walk(def.SelectionSet)
				}
			}
		}
	}
	walk(op.SelectionSet)
	slices.Sort(out)
	return out
}
