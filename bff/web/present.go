package web

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/schema"
)

// maxLogged bounds the log lines of one response: a thousand rows may fail for a thousand reasons.
const maxLogged = 10

// presenter makes errors fit for clients, and logs their causes. It is the only place in this package that does either.
type presenter struct {
	logger *slog.Logger
}

// response takes over the data as they were rendered, and presents the errors.
func (p *presenter) response(ctx context.Context, r *schema.Response) *graphql.Response {
	out := &graphql.Response{Data: r.Data}
	if len(r.Errors) == 0 {
		return out
	}
	out.Errors = make(gqlerror.List, 0, len(r.Errors))
	seen := map[string]bool{}
	for _, e := range r.Errors {
		shown := &gqlerror.Error{Message: e.Message, Path: e.Path, Locations: e.Locations}
		out.Errors = append(out.Errors, shown)
		if e.Cause == nil {
			shown.Extensions = map[string]any{"code": ownCode(r)}
			continue
		}
		f := fault.From(e.Cause)
		shown.Message, shown.Extensions = f.GraphQL()
		if text := e.Cause.Error(); !seen[text] && len(seen) < maxLogged {
			seen[text] = true
			p.log(ctx, f, e.Path)
		}
	}
	return out
}

// ownCode is the code of an error that package schema explains itself: a request that is wrong, or an answer that
// does not fit the schema.
func ownCode(r *schema.Response) string {
	if r.Data == nil {
		return "BAD_USER_INPUT"
	}
	return "INTERNAL_SERVER_ERROR"
}

// any presents an error that is not the schema's: gqlgen's own as they are, any other through package fault.
func (p *presenter) any(ctx context.Context, err error) *gqlerror.Error {
	if own, ok := errors.AsType[*gqlerror.Error](err); ok && own.Unwrap() == nil {
		return own
	}
	f := fault.From(err)
	p.log(ctx, f, nil)
	message, extensions := f.GraphQL()
	return &gqlerror.Error{Message: message, Extensions: extensions}
}

// recovered logs a panic and returns what the client learns of it.
func (p *presenter) recovered(ctx context.Context, cause any) error {
	p.logger.ErrorContext(ctx, "panic in a GraphQL operation", "panic", cause, "stack", string(debug.Stack()),
		"request_id", request.FromContext(ctx).ID)
	// Without a cause: it has been logged.
	return &gqlerror.Error{Message: "internal error", Extensions: map[string]any{"code": "INTERNAL_SERVER_ERROR"}}
}

// log tells why something went wrong: loudly if it is our fault, quietly if it is the client's.
func (p *presenter) log(ctx context.Context, f *fault.Error, path ast.Path) {
	level := slog.LevelWarn
	switch {
	case f.Code == codes.Canceled, f.Blame == fault.Client, f.Blame == fault.Policy:
		level = slog.LevelDebug
	case f.Blame == fault.Config:
		level = slog.LevelError
	}
	if !p.logger.Enabled(ctx, level) {
		return
	}
	name := ""
	if graphql.HasOperationContext(ctx) {
		name = graphql.GetOperationContext(ctx).OperationName
	}
	p.logger.Log(ctx, level, "a GraphQL operation met an error", "cause", f.Error(), "code", fault.Name(f.Code),
		"blame", f.Blame.String(), "path", path.String(), "operation", clip(name, 100), "request_id", request.FromContext(ctx).ID)
}
