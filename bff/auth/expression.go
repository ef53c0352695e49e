package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/request"
)

// Bounds of a rule's cost, in CEL's units of about one simple operation.
const (
	maxCost        = 100_000   // that one evaluation may have; a few milliseconds
	maxEstimate    = 1_000_000 // that a rule may have at worst, by what is assumed of requests
	maxExpression  = 4096
	assumedLength  = 1024 // of a text in a request, when a rule's cost is estimated at load
	assumedEntries = 64   // of a list or map in a request
)

// expression is a compiled rule. It is immutable.
type expression struct {
	text string
	// eval is set for rules that need no CEL.
	eval func(*Principal) bool
	// program is the CEL program of all others.
	program cel.Program
	// cheap tells that the program cannot cost much, whatever the request: it runs unwatched.
	cheap bool
	// input is set if the rule reads request.message.
	input protoreflect.MessageDescriptor
}

// compiler compiles rules. It holds the environment that all share, and one for each message type.
type compiler struct {
	base   *cel.Env
	files  *protoregistry.Files
	inputs map[protoreflect.FullName]*cel.Env
}

func newCompiler(files *protoregistry.Files) (*compiler, error) {
	base, err := cel.NewEnv(
		cel.Variable("request.door", cel.StringType),
		cel.Variable("request.http_method", cel.StringType),
		cel.Variable("request.path", cel.StringType),
		cel.Variable("request.headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("request.rpc", cel.StringType),
		cel.Variable("principal.subject", cel.StringType),
		cel.Variable("principal.kind", cel.StringType),
		cel.Variable("principal.roles", cel.ListType(cel.StringType)),
		cel.Variable("principal.scopes", cel.ListType(cel.StringType)),
		cel.Variable("principal.claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("principal.authenticated", cel.BoolType),
		cel.Variable("now", cel.TimestampType),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.CrossTypeNumericComparisons(true),
	)
	if err != nil {
		return nil, fmt.Errorf("making the rules' environment: %w", err)
	}
	return &compiler{base: base, files: files, inputs: map[protoreflect.FullName]*cel.Env{}}, nil
}

// readsMessage reports whether a rule reads request.message, so that it must be compiled for each input type. A rule
// that cannot be parsed does not.
func (c *compiler) readsMessage(text string) bool {
	parsed, issues := c.base.Parse(text)
	if issues.Err() != nil {
		return false
	}
	found := false
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind || e.AsSelect().FieldName() != "message" {
			return
		}
		if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind && of.AsIdent() == "request" {
			found = true
		}
	}))
	return found
}

// compile compiles a rule; input is the type of request.message, or nil if the rule does not read it.
func (c *compiler) compile(text string, input protoreflect.MessageDescriptor) (*expression, error) {
	e := &expression{text: text, input: input}
	switch strings.TrimSpace(text) {
	case "":
		return nil, &mistake.Mistake{What: "the rule is empty", Expected: `a CEL expression such as "principal.authenticated"`}
	case "true":
		e.eval = func(*Principal) bool { return true }
		return e, nil
	case "false":
		e.eval = func(*Principal) bool { return false }
		return e, nil
	case "principal.authenticated":
		e.eval = func(p *Principal) bool { return p.Authenticated }
		return e, nil
	}
	env, err := c.env(input)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, ruleMistakes(text, issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, &mistake.Mistake{What: fmt.Sprintf("the rule gives %s", checked.OutputType()), Expected: "true or false"}
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, mistake.At("the rule's cost cannot be estimated: " + err.Error())
	}
	if estimate.Max > maxEstimate {
		return nil, &mistake.Mistake{
			What:     fmt.Sprintf("the rule may cost too much (%s units)", costText(estimate.Max)),
			Expected: fmt.Sprintf("at most %d units: fewer nested comprehensions", maxEstimate),
		}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if worst, err := env.EstimateCost(checked, bounds{}); err == nil && worst.Max <= maxCost {
		e.cheap = true
	} else {
		options = append(options, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(1000))
	}
	e.program, err = env.Program(checked, options...)
	if err != nil {
		return nil, mistake.At("the rule cannot be compiled: " + err.Error())
	}
	return e, nil
}

// env returns the environment in which request.message is an input message; without input, the shared one.
func (c *compiler) env(input protoreflect.MessageDescriptor) (*cel.Env, error) {
	if input == nil {
		return c.base, nil
	}
	if env, ok := c.inputs[input.FullName()]; ok {
		return env, nil
	}
	env, err := c.base.Extend(cel.TypeDescs(c.files), cel.Variable("request.message", cel.ObjectType(string(input.FullName()))))
	if err != nil {
		return nil, fmt.Errorf("making the rules' environment for %s: %w", input.FullName(), err)
	}
	c.inputs[input.FullName()] = env
	return env, nil
}

// allows evaluates the rule. An error means that it could not be decided.
func (e *expression) allows(ctx context.Context, rpc string, msg []byte, now time.Time) (bool, error) {
	p := FromContext(ctx)
	if e.eval != nil {
		return e.eval(p), nil
	}
	vars := &activation{info: request.FromContext(ctx), principal: p, rpc: rpc, now: now}
	if e.input != nil {
		message := dynamicpb.NewMessage(e.input)
		if err := proto.Unmarshal(msg, message); err != nil {
			return false, fmt.Errorf("reading the request for its rule: %w", err)
		}
		vars.message = message
	}
	out, err := e.evaluate(ctx, vars)
	if err != nil {
		return false, fmt.Errorf("evaluating the rule %q: %w", e.text, err)
	}
	allowed, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the rule %q gave %v", e.text, out)
	}
	return allowed, nil
}

// evaluate runs the program, watching its cost if need be.
func (e *expression) evaluate(ctx context.Context, vars *activation) (out ref.Val, err error) {
	if e.cheap {
		out, _, err = e.program.Eval(vars)
	} else {
		out, _, err = e.program.ContextEval(ctx, vars)
	}
	return out, err
}

// ruleMistakes reports what CEL finds wrong, each with its place in the expression.
func ruleMistakes(text string, issues *cel.Issues) error {
	var all []error
	for _, e := range issues.Errors() {
		column := e.Location.Column() + 1
		name, unknown := strings.CutPrefix(e.Message, "undeclared reference to '")
		if unknown {
			name, _, _ = strings.Cut(name, "'")
			column -= max(0, strings.LastIndexByte(name, '.')) // CEL points at the last dot
		}
		at := fmt.Sprintf("at column %d", column)
		if strings.Contains(text, "\n") {
			at = fmt.Sprintf("at line %d, column %d", e.Location.Line(), column)
		}
		m := mistake.At("the rule is wrong " + at + ": " + e.Message)
		if unknown {
			m = mistake.At("the rule is wrong " + at + ": unknown name " + name)
			m.Nearest = mistake.Nearest(name, variableNames())
			m.Expected = "one of " + strings.Join(variableNames(), ", ")
		}
		all = append(all, m)
	}
	return errors.Join(all...)
}

// variableNames are the names that rules may use.
func variableNames() []string {
	return []string{
		"request.door", "request.http_method", "request.path", "request.headers", "request.rpc", "request.message",
		"principal.subject", "principal.kind", "principal.roles", "principal.scopes", "principal.claims",
		"principal.authenticated", "now",
	}
}

func costText(units uint64) string {
	if units == math.MaxUint64 {
		return "no bound on the"
	}
	return strconv.FormatUint(units, 10)
}

// sizes estimates the sizes of what requests bring, so that a rule's cost has a bound at load. Requests that bring
// more may run into the same bound when the rule is evaluated; they are denied.
type sizes struct{}

// EstimateSize assumes modest texts, lists and maps.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	s := cost.SizeEstimate{Max: assumedEntries}
	if t := node.Type(); t.IsExactType(cel.StringType) || t.IsExactType(cel.BytesType) || t.IsExactType(cel.DynType) {
		s.Max = assumedLength
	}
	return &s
}

// bounds are sizes that nothing can exceed: a principal is no larger than the token that it comes from. What else a
// request brings has no bound.
type bounds struct{ sizes }

// EstimateSize knows principals.
func (bounds) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if path := node.Path(); len(path) > 0 && strings.HasPrefix(path[0], "principal.") {
		return &cost.SizeEstimate{Max: maxToken}
	}
	return &cost.SizeEstimate{Max: math.MaxUint64}
}

// EstimateCallCost leaves the cost of functions to CEL.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
