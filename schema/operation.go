package schema

import (
	"context"
	"slices"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/portico-bff/portico/upstream"
)

// Operation is a compiled operation. It is immutable as far as callers can tell, and safe for concurrent use: compile
// once, execute often.
type Operation struct {
	schema  *Schema
	doc     *ast.QueryDocument
	def     *ast.OperationDefinition
	root    *object
	methods []*upstream.Method
	// conditions are the variables that @skip and @include ask for; their values choose a variant of the plan.
	conditions []string
	// whole is the plan in which nothing is left out; it is the plan if there are no conditions.
	whole *plan

	// mu guards variants.
	mu       sync.Mutex
	variants map[string]*plan
}

// maxVariants bounds the plans that an Operation keeps for values of its conditions; more are made anew each time.
const maxVariants = 32

// Compile plans an operation of a document that has been validated against [Schema.AST]. What exceeds the limits, or
// cannot be planned, is an error of type [Errors].
func (s *Schema) Compile(doc *ast.QueryDocument, op *ast.OperationDefinition) (*Operation, error) {
	root := s.roots[op.Operation]
	if root == nil {
		return nil, Errors{{Message: "the schema has no " + string(op.Operation) + " operations", Locations: locate(op.Position)}}
	}
	o := &Operation{schema: s, doc: doc, def: op, root: root, variants: map[string]*plan{}}
	o.conditions = conditions(doc, op)
	whole, err := newPlanner(o, nil).plan()
	if err != nil {
		return nil, err
	}
	o.whole = whole
	for _, g := range whole.groups {
		if !slices.Contains(o.methods, g.call.method) {
			o.methods = append(o.methods, g.call.method)
		}
	}
	return o, nil
}

// Kind says whether the operation is a query, a mutation or a subscription.
func (o *Operation) Kind() ast.Operation { return o.def.Operation }

// Name is the operation's name; empty if it has none.
func (o *Operation) Name() string { return o.def.Name }

// Methods lists the methods that the operation may call, each once. It must not be changed.
func (o *Operation) Methods() []*upstream.Method { return o.methods }

// Definition is the operation as it was parsed. It must not be changed.
func (o *Operation) Definition() *ast.OperationDefinition { return o.def }

// Execute runs a query or a mutation. Variables are as decoded from JSON (json.Number allowed) or already coerced;
// they are checked and coerced here. It never returns nil: what goes wrong is in the response.
func (o *Operation) Execute(ctx context.Context, caller upstream.Caller, variables map[string]any) *Response {
	if o.def.Operation == ast.Subscription {
		return requestError(&Error{Message: "a subscription must be subscribed to", Locations: locate(o.def.Position)})
	}
	vars, errs := o.coerce(variables)
	if len(errs) > 0 {
		return requestError(errs...)
	}
	p, err := o.variant(vars)
	if err != nil {
		return requestError(asErrors(err)...)
	}
	return newExecution(ctx, o, p, caller, vars).run()
}

// variant returns the plan for the given values of the conditions.
func (o *Operation) variant(vars map[string]any) (*plan, error) {
	if len(o.conditions) == 0 {
		return o.whole, nil
	}
	key := make([]byte, len(o.conditions))
	for i, name := range o.conditions {
		if on, _ := vars[name].(bool); on {
			key[i] = 1
		}
	}
	o.mu.Lock()
	p := o.variants[string(key)]
	o.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := newPlanner(o, func(variable string) bool {
		i, _ := slices.BinarySearch(o.conditions, variable)
		return key[i] == 1
	}).plan()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.variants) < maxVariants {
		o.variants[string(key)] = p
	}
	return p, nil
}
