package mobile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// Operation is a stored operation at a REST route.
//
// Its variables come from the path, from query parameters and, unless the method is GET or DELETE, from the members of
// a JSON object in the body. A variable that comes from two of them, and a name that is none of its variables, is an
// error. Texts of path and query become what the variable's type wants: numbers, booleans, or strings; a list takes a
// query parameter once for each element.
//
// The answer is the data object alone, or what "fields" selects of it as for methods; names that it does not have select
// nothing: {"me": ..., "products": ...}. If some of it failed, the status is still 200,
// the fields that failed are null, and a last member "@errors" lists why: for each the JSON pointer of the field and the
// problem document. No field can have that name. If all of it failed, the answer is a problem document with the status
// of the first error.
type Operation struct {
	// Name is the operation's name.
	Name string
	// At is where it is written, as file:line:col; empty if that is not known.
	At string
	// Method and Path are the HTTP method and the path template.
	Method, Path string
	// Variables are the variables that the operation declares.
	Variables []Variable
	// Execute runs the operation. The variables are strings, json.Number, booleans, lists of them, or what a body holds.
	Execute func(ctx context.Context, variables map[string]any) Answer
}

// Variable is a variable of an [Operation].
type Variable struct {
	// Name is its name, without the dollar sign.
	Name string
	// Kind says what texts in path and query become.
	Kind Kind
	// List tells that it holds any number of values.
	List bool
}

// Kind says what a variable's text becomes.
type Kind int

// The kinds of variables.
const (
	// Text stays a string: strings, ids, enum values, custom scalars.
	Text Kind = iota
	// Number becomes a number.
	Number
	// Boolean becomes true or false.
	Boolean
	// Object cannot come from path or query: input objects.
	Object
)

// Answer is what an [Operation] answers.
type Answer struct {
	// Data is the data object as JSON; nil if nothing was executed, "null" if an error took all of it.
	Data []byte
	// Errors is what went wrong.
	Errors []FieldError
}

// FieldError is what went wrong in one place of an answer.
type FieldError struct {
	// Path leads to the place in the data: strings and ints. It is empty for errors about the request.
	Path []any
	// Err is what went wrong.
	Err error
}

// endpoint makes the route of the operation.
func (o *Operation) endpoint(maxBody int64) translate.Endpoint {
	return translate.Endpoint{
		Name: "operation " + o.Name, At: o.At, Method: o.Method, Path: o.Path,
		Serve: func(w http.ResponseWriter, r *http.Request, vars []translate.Var) { o.serve(w, r, vars, maxBody) },
	}
}

// check returns a [mistake.Mistake] for each variable of the path that the operation does not declare.
func (o *Operation) check() error {
	names, err := translate.Variables(o.Path)
	if err != nil {
		return nil //nolint:nilerr // reported by who compiles the route
	}
	var errs []error
	for _, name := range names {
		if o.variable(name) == nil {
			errs = append(errs, &mistake.Mistake{
				What:    fmt.Sprintf("operation %s: the path %s has a variable that the operation does not declare: %q", o.Name, o.Path, name),
				Nearest: mistake.Nearest(name, o.names()),
			})
		}
	}
	return errors.Join(errs...)
}

func (o *Operation) serve(w http.ResponseWriter, r *http.Request, vars []translate.Var, maxBody int64) {
	body, err := translate.ReadJSON(w, r, maxBody)
	if err == nil && len(body) > 0 && (o.Method == http.MethodGet || o.Method == http.MethodDelete) {
		err = fault.New(codes.InvalidArgument, "this operation takes no body")
	}
	if err != nil {
		translate.Refuse(w, r, err)
		return
	}
	query, wanted, err := o.query(r)
	if err != nil {
		translate.Refuse(w, r, err)
		return
	}
	variables, err := o.variables(vars, query, body)
	if err != nil {
		translate.Refuse(w, r, err)
		return
	}
	answer := o.Execute(r.Context(), variables)
	if len(answer.Errors) > 0 && !someData(answer.Data) {
		translate.Refuse(w, r, answer.Errors[0].Err)
		return
	}
	if wanted != nil {
		if answer.Data, err = wanted.project(answer.Data); err != nil {
			translate.Refuse(w, r, err)
			return
		}
	}
	if len(answer.Errors) == 0 {
		translate.WriteJSON(w, r, answer.Data, upstream.Freshness{})
		return
	}
	o.answerErrors(w, r, answer)
}

// query takes the query apart: variables, and the fields of the answer that are wanted; nil for all. "fields" is a
// variable if the operation has one of that name; "$fields" never is.
func (o *Operation) query(r *http.Request) (url.Values, *selection, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, fault.New(codes.InvalidArgument, "the query is malformed", fault.WithCause(err))
	}
	texts := r.Header["X-Goog-Fieldmask"]
	for _, name := range []string{"$fields", "fields"} {
		if given, ok := query[name]; ok && (name == "$fields" || o.variable(name) == nil) {
			texts = given
			delete(query, name)
			break
		}
	}
	switch len(texts) {
	case 0:
		return query, nil, nil
	case 1:
		wanted, err := parseSelection(texts[0])
		if err != nil {
			return nil, nil, fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
		}
		return query, wanted, nil
	default:
		return nil, nil, fault.New(codes.InvalidArgument, "fields: given more than once")
	}
}

// variables collects the variables out of path, query and body.
func (o *Operation) variables(vars []translate.Var, query url.Values, body []byte) (map[string]any, error) {
	out := map[string]any{}
	for _, v := range vars {
		declared := o.variable(v.Name)
		if declared == nil {
			return nil, unknown("path variable", v.Name, o.names())
		}
		value, err := declared.value("path variable", v.Value)
		if err != nil {
			return nil, err
		}
		out[v.Name] = value
	}
	var err error
	for name, texts := range query {
		declared := o.variable(name)
		if declared == nil {
			return nil, unknown("query parameter", name, o.names())
		}
		if _, taken := out[name]; taken {
			return nil, invalid(name, fmt.Sprintf("query parameter %q: the path already gives it", name))
		}
		if out[name], err = declared.values(texts); err != nil {
			return nil, err
		}
	}
	return out, o.bodyVariables(out, body)
}

// bodyVariables adds the members of the body.
func (o *Operation) bodyVariables(out map[string]any, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	err := decoder.Decode(&members)
	if err == nil && members == nil {
		err = errors.New("it is null")
	}
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		return fault.New(codes.InvalidArgument, "the body is malformed: expected one JSON object", fault.WithCause(err),
			fault.WithViolation("", "expected one JSON object"))
	}
	for name, value := range members {
		if o.variable(name) == nil {
			return unknown("member", name, o.names())
		}
		if _, taken := out[name]; taken {
			return invalid(name, fmt.Sprintf("member %q: path or query already give it", name))
		}
		out[name] = value
	}
	return nil
}

func (o *Operation) variable(name string) *Variable {
	for i := range o.Variables {
		if o.Variables[i].Name == name {
			return &o.Variables[i]
		}
	}
	return nil
}

func (o *Operation) names() []string {
	names := make([]string, len(o.Variables))
	for i, v := range o.Variables {
		names[i] = v.Name
	}
	return names
}

// values turns the texts of a query parameter into the variable's value.
func (v *Variable) values(texts []string) (any, error) {
	if !v.List {
		if len(texts) > 1 {
			return nil, invalid(v.Name, fmt.Sprintf("query parameter %q: given more than once", v.Name))
		}
		return v.value("query parameter", texts[0])
	}
	list := make([]any, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = v.value("query parameter", text); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// value turns one text into a value.
func (v *Variable) value(what, text string) (any, error) {
	switch v.Kind {
	case Number:
		if !json.Valid([]byte(text)) || text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
			return nil, invalid(v.Name, fmt.Sprintf("%s %q: %q, expected a number", what, v.Name, text))
		}
		return json.Number(text), nil
	case Boolean:
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, invalid(v.Name, fmt.Sprintf("%s %q: %q, expected true or false", what, v.Name, text))
	case Object:
		return nil, invalid(v.Name, fmt.Sprintf("%s %q: only a body can hold an object", what, v.Name))
	case Text:
	}
	return text, nil
}

func unknown(what, name string, known []string) error {
	text := fmt.Sprintf("unknown %s %q", what, name)
	if near := mistake.Nearest(name, known); near != "" {
		text += fmt.Sprintf(", did you mean %q?", near)
	}
	return fault.New(codes.InvalidArgument, text)
}

func invalid(variable, text string) error {
	return fault.New(codes.InvalidArgument, text, fault.WithViolation("/"+variable, text))
}

// answerErrors answers with data that has errors.
func (o *Operation) answerErrors(w http.ResponseWriter, r *http.Request, answer Answer) {
	rec := record.FromContext(r.Context())
	data := bytes.TrimSpace(answer.Data)
	body := bytes.Clone(data[:len(data)-1])
	if len(body) > 1 {
		body = append(body, ',')
	}
	body = append(body, `"@errors":`...)
	list := make([]partial, len(answer.Errors))
	for i, e := range answer.Errors {
		problem := fault.From(e.Err)
		if i == 0 {
			rec.Code, rec.Err = problem.Code, problem
		}
		list[i] = partial{Pointer: pointer(e.Path), Problem: problem.Problem("")}
	}
	encoded, err := json.Marshal(list)
	if err != nil {
		translate.Refuse(w, r, fmt.Errorf("encoding the errors of an answer: %w", err))
		return
	}
	body = append(append(body, encoded...), '}')
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a client that has left is nobody's error
}

// partial is an entry of "@errors".
type partial struct {
	Pointer string `json:"pointer"`
	fault.Problem
}

// someData reports whether any field at the top of a data object is not null.
func someData(data []byte) bool {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return false
	}
	for _, value := range members {
		if string(value) != "null" {
			return true
		}
	}
	return false
}

// pointer writes a path as a JSON pointer (RFC 6901).
func pointer(path []any) string {
	var b bytes.Buffer
	for _, step := range path {
		fmt.Fprintf(&b, "/%v", step)
	}
	return b.String()
}
