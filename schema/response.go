package schema

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Response is the answer of one execution of an [Operation], or one event of a [Subscription].
type Response struct {
	// Data is the rendered "data" value, "null" included. It is nil if nothing was executed because the request was
	// wrong, for which the specification wants no "data" entry at all.
	Data []byte
	// Errors lists what went wrong, in no promised order; empty if nothing did.
	Errors []*Error
}

// Error is a GraphQL error: a request error, or the error of one field.
type Error struct {
	// Message is meant for clients. For a failed call it names the gRPC code alone: doors that present Cause replace it.
	Message string
	// Path leads to the field in the response; empty for request errors.
	Path ast.Path
	// Locations are places in the operation's document.
	Locations []gqlerror.Location
	// Cause is what the Caller returned, or an error of package fault that says why a request could not be made or an
	// answer not be rendered; nil for request errors. Doors present it through package fault.
	Cause error
}

// Error says the path, if there is one, the message and the cause.
func (e *Error) Error() string {
	text := e.Message
	if len(e.Path) > 0 {
		text = e.Path.String() + ": " + text
	}
	if e.Cause != nil {
		text = fmt.Sprintf("%s: %v", text, e.Cause)
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errors are request errors: nothing was executed. It is never empty.
type Errors []*Error

// Error joins the messages.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors one by one.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, err := range e {
		out[i] = err
	}
	return out
}

// asErrors returns the request errors in err.
func asErrors(err error) Errors {
	if list, ok := errors.AsType[Errors](err); ok {
		return list
	}
	return Errors{{Message: "the operation cannot be planned", Cause: err}}
}

// requestError makes the response to a request that cannot be executed.
func requestError(errs ...*Error) *Response { return &Response{Errors: errs} }

// locate turns a position of gqlparser into a location of an error.
func locate(p *ast.Position) []gqlerror.Location {
	if p == nil {
		return nil
	}
	return []gqlerror.Location{{Line: p.Line, Column: p.Column}}
}
