package translate

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
)

// Refuse answers with an error, and notes it for the access log.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	note(r, err)
	fault.WriteProblem(w, r, err)
}

// note keeps an error for the access log. A nil error is none.
func note(r *http.Request, err error) {
	e := fault.From(err)
	if e == nil {
		return
	}
	rec := record.FromContext(r.Context())
	rec.Code, rec.Err = e.Code, e
}

func tooLarge(limit int64) error {
	return fault.New(codes.InvalidArgument, fmt.Sprintf("the body is larger than %d bytes", limit),
		fault.WithHTTPStatus(http.StatusRequestEntityTooLarge))
}

func unsupported(what, value string) error {
	return fault.New(codes.InvalidArgument, fmt.Sprintf("the %s %q is not supported", what, value),
		fault.WithHTTPStatus(http.StatusUnsupportedMediaType))
}

// unsupportedType tells what would do: curl, for one, calls every body a form unless told otherwise.
func unsupportedType(contentType, expected string) error {
	return fault.New(codes.InvalidArgument, fmt.Sprintf("the content type %q is not supported, expected %s", contentType, expected),
		fault.WithHTTPStatus(http.StatusUnsupportedMediaType))
}

func noRoute() error { return fault.New(codes.NotFound, "no such path") }

// wrongMethod answers a request whose path has routes, but none for its method.
func wrongMethod(w http.ResponseWriter, r *http.Request, methods map[string]bool) {
	allow := allowed(methods)
	w.Header().Set("Allow", allow)
	Refuse(w, r, fault.New(codes.Unimplemented, fmt.Sprintf("this path allows %s, not %s", allow, r.Method),
		fault.WithHTTPStatus(http.StatusMethodNotAllowed), fault.WithBlame(fault.Client)))
}

// options answers OPTIONS where no route does.
func options(w http.ResponseWriter, methods map[string]bool) {
	w.Header().Set("Allow", allowed(methods))
	w.WriteHeader(http.StatusNoContent)
}

// allowed lists methods as the field Allow does, with those that we serve ourselves.
func allowed(methods map[string]bool) string {
	all := maps.Clone(methods)
	delete(all, anyMethod)
	if all[http.MethodGet] {
		all[http.MethodHead] = true
	}
	all[http.MethodOptions] = true
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}
