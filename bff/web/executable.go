package web

import (
	"context"
	"errors"

	"github.com/99designs/gqlgen/graphql"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// executable lets gqlgen's executor run operations of a [schema.Schema]. It keeps the plan of each operation of a
// remembered document: the executor hands out the same *ast.OperationDefinition for the same text.
type executable struct {
	schema  *schema.Schema
	caller  upstream.Caller
	present *presenter
	plans   *otter.Cache[*ast.OperationDefinition, *schema.Operation]
}

var _ graphql.ExecutableSchema = (*executable)(nil)

func newExecutable(s *schema.Schema, caller upstream.Caller, present *presenter) (*executable, error) {
	plans, err := newPlans()
	if err != nil {
		return nil, err
	}
	return &executable{schema: s, caller: caller, present: present, plans: plans}, nil
}

// Schema returns the schema that documents are validated against.
func (e *executable) Schema() *ast.Schema { return e.schema.AST() }

// Complexity has no opinion: the schema's own limits apply when an operation is compiled.
func (e *executable) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

// Exec runs the operation in ctx: once for a query or mutation, and for a subscription until its stream ends. The
// transport must cancel ctx when it is done.
func (e *executable) Exec(ctx context.Context) graphql.ResponseHandler {
	opCtx := graphql.GetOperationContext(ctx)
	if opCtx.DisableIntrospection && introspects(opCtx.Operation.SelectionSet) {
		return graphql.OneShot(&graphql.Response{Errors: gqlerror.List{{
			Message: "introspection is disabled", Extensions: map[string]any{"code": "INTROSPECTION_DISABLED"},
		}}})
	}
	op, err := e.plan(opCtx)
	if err != nil {
		return e.requestError(ctx, err)
	}
	if op.Kind() == ast.Subscription {
		return e.subscribe(ctx, op, opCtx.Variables)
	}
	return graphql.OneShot(e.present.response(ctx, op.Execute(ctx, e.caller, opCtx.Variables)))
}

// plan returns the plan of the operation, from memory if it can.
func (e *executable) plan(opCtx *graphql.OperationContext) (*schema.Operation, error) {
	if op, ok := e.plans.GetIfPresent(opCtx.Operation); ok {
		return op, nil
	}
	op, err := e.schema.Compile(opCtx.Doc, opCtx.Operation)
	if err != nil {
		return nil, err
	}
	e.plans.Set(opCtx.Operation, op)
	return op, nil
}

// subscribe opens the stream and yields a response for each event, until it ends or ctx is cancelled.
func (e *executable) subscribe(ctx context.Context, op *schema.Operation, variables map[string]any) graphql.ResponseHandler {
	sub, err := op.Subscribe(ctx, e.caller, variables)
	if err != nil {
		return e.requestError(ctx, err)
	}
	context.AfterFunc(ctx, sub.Close)
	return func(context.Context) *graphql.Response {
		resp, ok := sub.Next()
		if !ok {
			sub.Close()
			return nil
		}
		return e.present.response(ctx, resp)
	}
}

// requestError answers an operation of which nothing was executed: there is no data member.
func (e *executable) requestError(ctx context.Context, err error) graphql.ResponseHandler {
	list, ok := errors.AsType[schema.Errors](err)
	if !ok {
		list = schema.Errors{{Cause: err}}
	}
	return graphql.OneShot(e.present.response(ctx, &schema.Response{Errors: list}))
}

// introspects reports whether a root selection asks for the schema.
func introspects(set ast.SelectionSet) bool {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if s.Name == "__schema" || s.Name == "__type" {
				return true
			}
		case *ast.InlineFragment:
			if introspects(s.SelectionSet) {
				return true
			}
		case *ast.FragmentSpread:
			if introspects(s.Definition.SelectionSet) {
				return true
			}
		}
	}
	return false
}
