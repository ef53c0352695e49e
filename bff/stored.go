package bff

import (
	"context"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// restOperations gives the mobile door the stored operations with @rest.
func restOperations(stored []*schema.Stored, s *schema.Schema, caller upstream.Caller) []mobile.Operation {
	var out []mobile.Operation
	for _, one := range stored {
		if one.REST == nil {
			continue
		}
		at := fmt.Sprintf("%s:%d:%d", one.Position.Src.Name, one.Position.Line, one.Position.Column)
		op := mobile.Operation{Name: one.Name, At: at, Method: one.REST.Method, Path: one.REST.Path}
		for _, v := range one.Operation.Definition().VariableDefinitions {
			op.Variables = append(op.Variables, variable(v, s.AST()))
		}
		op.Execute = func(ctx context.Context, variables map[string]any) mobile.Answer {
			return answer(one.Operation.Execute(ctx, caller, variables))
		}
		out = append(out, op)
	}
	return out
}

// variable says what texts in a URL become for a variable.
func variable(v *ast.VariableDefinition, s *ast.Schema) mobile.Variable {
	out := mobile.Variable{Name: v.Variable, List: v.Type.Elem != nil}
	switch name := v.Type.Name(); {
	case name == "Int" || name == "Float":
		out.Kind = mobile.Number
	case name == "Boolean":
		out.Kind = mobile.Boolean
	case s.Types[name] != nil && s.Types[name].Kind == ast.InputObject:
		out.Kind = mobile.Object
	default:
		out.Kind = mobile.Text
	}
	return out
}

// answer passes on data and errors. An error with neither cause nor path is about the
// request itself.
func answer(r *schema.Response) mobile.Answer {
	out := mobile.Answer{Data: r.Data}
	for _, e := range r.Errors {
		err := e.Cause
		switch {
		case err == nil && len(e.Path) == 0:
			err = fault.New(codes.InvalidArgument, e.Message)
		case err == nil:
			err = fault.New(codes.Internal, e.Message)
		}
		path := make([]any, len(e.Path))
		for i, step := range e.Path {
			switch step := step.(type) {
			case ast.PathName:
				path[i] = string(step)
			case ast.PathIndex:
				path[i] = int(step)
			}
		}
		out.Errors = append(out.Errors, mobile.FieldError{Path: path, Err: err})
	}
	return out
}
