package web

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// appendResponse appends a response as JSON. The data are copied as they are: they were rendered as JSON from the
// wire, and reading them again costs most of what gqlgen's own transports cost.
func appendResponse(dst []byte, resp *graphql.Response) []byte {
	dst = append(dst, '{')
	if resp.Data != nil {
		dst = append(append(dst, `"data":`...), resp.Data...)
	}
	if len(resp.Errors) > 0 {
		if resp.Data != nil {
			dst = append(dst, ',')
		}
		dst = appendErrors(append(dst, `"errors":`...), resp.Errors)
	}
	return append(dst, '}')
}

func appendErrors(dst []byte, errs gqlerror.List) []byte {
	text, err := json.Marshal(errs)
	if err != nil {
		// An extension cannot be encoded; the messages can.
		plain := make(gqlerror.List, len(errs))
		for i, e := range errs {
			plain[i] = &gqlerror.Error{Message: e.Message}
		}
		if text, err = json.Marshal(plain); err != nil {
			text = []byte(`[{"message":"internal error"}]`)
		}
	}
	return append(dst, text...)
}

// statusOf is the HTTP status of a response. A response without data is a request error: 400 in
// application/graphql-response+json, and 200 in application/json, whose clients expect it (GraphQL over HTTP, section
// 6.4). op is nil for a request that could not be prepared.
func statusOf(h http.Header, media string, op *ast.OperationDefinition, resp *graphql.Response) int {
	switch {
	case nothingAllowed(op, resp):
		h.Set("WWW-Authenticate", "Bearer")
		return http.StatusUnauthorized
	case media == mediaResponse && resp.Data == nil:
		return http.StatusBadRequest
	default:
		return http.StatusOK
	}
}

// nothingAllowed reports whether nothing was executed because the client did not say who it is: there are no data,
// and every root field was refused for that reason.
func nothingAllowed(op *ast.OperationDefinition, resp *graphql.Response) bool {
	if op == nil || len(resp.Errors) == 0 || resp.Data != nil && string(resp.Data) != "null" {
		return false
	}
	refused := map[string]bool{}
	for _, e := range resp.Errors {
		if e.Extensions["code"] != "UNAUTHENTICATED" {
			return false
		}
		if len(e.Path) == 1 {
			if name, ok := e.Path[0].(ast.PathName); ok {
				refused[string(name)] = true
			}
		}
	}
	return allRefused(op.SelectionSet, refused)
}

func allRefused(set ast.SelectionSet, refused map[string]bool) bool {
	for _, selection := range set {
		ok := false
		switch s := selection.(type) {
		case *ast.Field:
			ok = refused[s.Alias]
		case *ast.InlineFragment:
			ok = allRefused(s.SelectionSet, refused)
		case *ast.FragmentSpread:
			ok = allRefused(s.Definition.SelectionSet, refused)
		}
		if !ok {
			return false
		}
	}
	return true
}

// refuse answers a request that is no GraphQL request.
func refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	media, _ := negotiate(r)
	write(w, media, status, &graphql.Response{Errors: gqlerror.List{{
		Message: message, Extensions: map[string]any{"code": "BAD_REQUEST"},
	}}})
}

// write writes a response. Answers are the client's own and are not to be kept.
func write(w http.ResponseWriter, media string, status int, resp *graphql.Response) {
	body := appendResponse(make([]byte, 0, len(resp.Data)+512), resp)
	h := w.Header()
	h.Set("Content-Type", media+"; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away needs no answer
}
