package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
)

// maxMistakes bounds how many mistakes a document is told of.
const maxMistakes = 50

// servePost answers an operation in a JSON body.
func (d *Door) servePost(w http.ResponseWriter, r *http.Request) {
	if !isJSON(r.Header.Get("Content-Type")) {
		refuse(w, r, http.StatusUnsupportedMediaType, "expected the content type application/json, in UTF-8")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		status, message := bodyError(err)
		refuse(w, r, status, message)
		return
	}
	params, err := decodeBody(body)
	d.serve(w, r, params, err)
}

// bodyError says why a body could not be read: it is too large, or, in the words of the middleware, late.
func bodyError(err error) (status int, message string) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over %d bytes", tooLarge.Limit)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		message, _ := f.GraphQL()
		return f.HTTPStatus(), message
	}
	return http.StatusBadRequest, "the body could not be read"
}

// serveGet answers a query in the URL; a mutation needs a POST.
func (d *Door) serveGet(w http.ResponseWriter, r *http.Request) {
	params, err := decodeURL(r.URL.RawQuery)
	d.serve(w, r, params, err)
}

// serve executes a request and writes its only response.
func (d *Door) serve(w http.ResponseWriter, r *http.Request, params *graphql.RawParams, malformed error) {
	media, ok := negotiate(r)
	if !ok {
		refuse(w, r, http.StatusNotAcceptable, "answers are "+mediaResponse+" or "+mediaJSON)
		return
	}
	if malformed != nil {
		refuse(w, r, http.StatusBadRequest, malformed.Error())
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's own way to abort, which we must not swallow
			}
			write(w, media, http.StatusInternalServerError, d.crashed(ctx, cause))
		}
	}()
	op, run := d.prepare(ctx, params)
	if op != nil {
		record.FromContext(ctx).Operation = strings.TrimSpace(string(op.Operation) + " " + clip(op.Name, 64))
	}
	switch {
	case op == nil: // what run yields says why
	case op.Operation == ast.Subscription:
		refuse(w, r, http.StatusBadRequest, "a subscription needs a WebSocket connection ("+subprotocol+")")
		return
	case op.Operation == ast.Mutation && r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, r, http.StatusMethodNotAllowed, "a mutation needs a POST")
		return
	}
	resp := run()
	if resp == nil {
		d.writeEnded(w, media, r.Context().Err())
		return
	}
	if len(resp.Errors) > 0 {
		record.FromContext(ctx).Err = resp.Errors[0]
	}
	write(w, media, statusOf(w.Header(), media, op, resp), resp)
}

// prepare parses and validates. What it returns runs the operation, and yields one response after the other, nil at the
// end. The operation is nil if the request is wrong; then the only response says why.
func (d *Door) prepare(ctx context.Context, params *graphql.RawParams) (*ast.OperationDefinition, func() *graphql.Response) {
	now := graphql.Now()
	params.ReadTime = graphql.TraceTiming{Start: now, End: now}
	ctx = graphql.StartOperationTrace(ctx)
	opCtx, errs := d.exec.CreateOperationContext(ctx, params)
	if len(errs) > 0 {
		errs = errs[:min(len(errs), maxMistakes)]
		handler := graphql.OneShot(d.exec.DispatchError(graphql.WithOperationContext(ctx, opCtx), errs))
		return nil, func() *graphql.Response { return handler(ctx) }
	}
	var next graphql.ResponseHandler
	return opCtx.Operation, func() *graphql.Response {
		if next == nil {
			next, ctx = d.exec.DispatchOperation(ctx, opCtx)
		}
		return next(ctx)
	}
}

// crashed is the response of an operation that panicked.
func (d *Door) crashed(ctx context.Context, cause any) *graphql.Response {
	return &graphql.Response{Errors: gqlerror.List{graphql.DefaultErrorPresenter(ctx, d.present.recovered(ctx, cause))}}
}

// writeEnded answers a request whose context ended before there was a response: its time has run out, or the client
// went away, who gets no body.
func (d *Door) writeEnded(w http.ResponseWriter, media string, err error) {
	f := fault.From(err)
	if f == nil {
		f = fault.New(codes.Internal, "")
	}
	if f.Code == codes.Canceled {
		w.WriteHeader(fault.StatusClientClosed)
		return
	}
	message, extensions := f.GraphQL()
	write(w, media, f.HTTPStatus(), &graphql.Response{Errors: gqlerror.List{{Message: message, Extensions: extensions}}})
}
