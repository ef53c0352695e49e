package schema

import (
	"errors"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// arguments are the arguments of one selected field.
type arguments struct {
	coercer coercer
	// values are the arguments of a field without variables; otherwise nodes are evaluated for each execution.
	values map[string]any
	def    *ast.FieldDefinition
	nodes  ast.ArgumentList
}

// arguments plans the arguments of a field. Without variables they are coerced here, once.
func (p *planner) arguments(def *ast.FieldDefinition, node *ast.Field) (*arguments, error) {
	a := &arguments{coercer: coercer{types: p.op.schema.ast.Types}, def: def, nodes: node.Arguments}
	for _, arg := range node.Arguments {
		if hasVariable(arg.Value) {
			return a, nil
		}
	}
	values, err := a.evaluate(nil)
	if err != nil {
		return nil, Errors{{Message: err.Error(), Locations: locate(node.Position)}}
	}
	a.values = values
	return a, nil
}

func hasVariable(v *ast.Value) bool {
	if v.Kind == ast.Variable {
		return true
	}
	for _, child := range v.Children {
		if hasVariable(child.Value) {
			return true
		}
	}
	return false
}

// of returns the arguments' values; the map must not be changed.
func (a *arguments) of(vars map[string]any) (map[string]any, error) {
	if a.values != nil {
		return a.values, nil
	}
	return a.evaluate(vars)
}

// evaluate is the specification's CoerceArgumentValues.
func (a *arguments) evaluate(vars map[string]any) (map[string]any, error) {
	values := make(map[string]any, len(a.def.Arguments))
	for _, def := range a.def.Arguments {
		var (
			value any
			err   = errUnset
		)
		if node := a.nodes.ForName(def.Name); node != nil {
			value, err = a.coercer.literal(def.Type, node.Value, vars)
		}
		if errors.Is(err, errUnset) {
			switch {
			case def.DefaultValue != nil:
				value, err = a.coercer.literal(def.Type, def.DefaultValue, nil)
			case def.Type.NonNull:
				err = wrong("is missing, and it is %s", def.Type)
			default:
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("argument %w", under(err, ast.PathName(def.Name)))
		}
		values[def.Name] = value
	}
	return values, nil
}

// coerce coerces an operation's variables. Every one that is wrong is an error.
func (o *Operation) coerce(variables map[string]any) (map[string]any, Errors) {
	c := coercer{types: o.schema.ast.Types}
	out := make(map[string]any, len(o.def.VariableDefinitions))
	var errs Errors
	for _, def := range o.def.VariableDefinitions {
		value, has := variables[def.Variable]
		var err error
		switch {
		case has:
			value, err = c.value(def.Type, value)
		case def.DefaultValue != nil:
			value, err = c.literal(def.Type, def.DefaultValue, nil)
		case def.Type.NonNull:
			err = wrong("is missing, and it is %s", def.Type)
		default:
			continue
		}
		if err != nil {
			errs = append(errs, &Error{
				Message:   fmt.Sprintf("variable $%s", under(err, ast.PathName(def.Variable))),
				Locations: locate(def.Position),
			})
			continue
		}
		out[def.Variable] = value
	}
	return out, errs
}
