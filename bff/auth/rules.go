package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream"
)

// Rules decide which principal may call which method. They are immutable and safe for concurrent use.
type Rules struct {
	methods map[*upstream.Method]*expression
}

// NewRules compiles CEL expressions for method patterns; [Match] says what a pattern covers and which one wins. An
// expression that reads request.message is compiled for the request type of every method that it decides about, so a
// field that one of them lacks is found here. The error holds a [mistake.Mistake] for everything that is wrong, with
// the pattern as its path.
func NewRules(patterns map[string]string, d *upstream.Descriptors) (*Rules, error) {
	winners, err := Match(slices.Collect(maps.Keys(patterns)), d)
	var all []error
	if err != nil {
		all = append(all, err)
	}
	c, err := newCompiler(d.Files())
	if err != nil {
		return nil, err
	}
	// The methods of each pattern, in order, so that mistakes are reported in the same order every time.
	methods := map[string][]*upstream.Method{}
	for _, service := range d.Services() {
		for _, m := range d.Methods(service) {
			if p, ok := winners[m]; ok {
				methods[p] = append(methods[p], m)
			}
		}
	}
	r := &Rules{methods: make(map[*upstream.Method]*expression, len(winners))}
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		if err := r.add(c, patterns[pattern], methods[pattern]); err != nil {
			all = append(all, mistake.In(err, pattern))
		}
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	return r, nil
}

// add compiles the rule of a pattern for the methods that it decides about.
func (r *Rules) add(c *compiler, text string, methods []*upstream.Method) error {
	if !c.readsMessage(text) {
		shared, err := c.compile(text, nil)
		if err != nil {
			return err
		}
		for _, m := range methods {
			r.methods[m] = shared
		}
		return nil
	}
	var all []error
	compiled := map[protoreflect.FullName]*expression{}
	for _, m := range methods {
		e, ok := compiled[m.Input.FullName()]
		if !ok {
			var err error
			if e, err = c.compile(text, m.Input); err != nil {
				for _, wrong := range mistake.List(err) {
					said := *wrong
					said.What = fmt.Sprintf("%s (request.message is %s)", said.What, m.Input.FullName())
					all = append(all, &said)
				}
			}
			compiled[m.Input.FullName()] = e
		}
		r.methods[m] = e
	}
	return errors.Join(all...)
}

// ReadsMessage reports whether the rule of m reads the request message. A method without a rule has none that does.
func (r *Rules) ReadsMessage(m *upstream.Method) bool {
	e := r.methods[m]
	return e != nil && e.input != nil
}

// Allow decides whether the principal in ctx may call m with the request msg, which is only read if the rule reads
// it. A method without a rule, and a rule that cannot be decided, deny. The error is a [*fault.Error]:
// Unauthenticated for the anonymous principal, PermissionDenied for all others.
func (r *Rules) Allow(ctx context.Context, m *upstream.Method, msg []byte, now time.Time) error {
	e := r.methods[m]
	if e == nil {
		return deny(ctx, fmt.Errorf("no rule lists %s", m.Name))
	}
	if FromContext(ctx).Pending {
		return deny(ctx, errors.New("the client has not shown its credentials yet"))
	}
	allowed, err := e.allows(ctx, m.Name, msg, now)
	switch {
	case err != nil:
		return deny(ctx, err)
	case !allowed:
		return deny(ctx, fmt.Errorf("the rule %q denies %s", e.text, m.Name))
	default:
		return nil
	}
}

func deny(ctx context.Context, cause error) error {
	if FromContext(ctx).Authenticated {
		return fault.New(codes.PermissionDenied, "you are not allowed to do this", fault.WithCause(cause), fault.WithBlame(fault.Policy))
	}
	return fault.New(codes.Unauthenticated, "authentication is required", fault.WithCause(cause), fault.WithBlame(fault.Policy))
}
