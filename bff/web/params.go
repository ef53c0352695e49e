package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
)

// maxGetParameter bounds each parameter of a GET.
const maxGetParameter = 16 << 10

// decodeBody reads the parameters of a request out of a JSON object. Members that the specification does not know are
// ignored, as it wants.
func decodeBody(body []byte) (*graphql.RawParams, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("the body is no JSON object")
	}
	var in struct {
		Query         string         `json:"query"`
		OperationName string         `json:"operationName"`
		Variables     map[string]any `json:"variables"`
		Extensions    map[string]any `json:"extensions"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return nil, err
	}
	params := &graphql.RawParams{Query: in.Query, OperationName: in.OperationName, Variables: in.Variables, Extensions: in.Extensions}
	return params, checkParams(params)
}

// decodeURL reads the parameters of a request out of a URL's query.
func decodeURL(query string) (*graphql.RawParams, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("the query of the URL is malformed")
	}
	params := &graphql.RawParams{}
	for name, list := range values {
		switch name {
		case "query", "operationName", "variables", "extensions":
		default:
			continue
		}
		text := list[0]
		switch {
		case len(list) > 1:
			err = fmt.Errorf("the parameter %s is repeated", name)
		case len(text) > maxGetParameter:
			err = fmt.Errorf("the parameter %s is over %d bytes", name, maxGetParameter)
		case name == "query":
			params.Query = text
		case name == "operationName":
			params.OperationName = text
		case name == "variables":
			err = decodeJSON([]byte(text), &params.Variables)
		case name == "extensions":
			err = decodeJSON([]byte(text), &params.Extensions)
		}
		if err == nil && !utf8.ValidString(text) {
			err = errNotUTF8
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return params, checkParams(params)
}

var errNotUTF8 = errors.New("invalid UTF-8")

// checkParams reports parameters that ask for nothing.
func checkParams(params *graphql.RawParams) error {
	if params.Query == "" && params.Extensions["persistedQuery"] == nil {
		return errors.New("the request has no query")
	}
	return nil
}

// decodeJSON decodes exactly one JSON value, keeping numbers as they are written. An empty text decodes to nothing.
func decodeJSON(text []byte, v any) error {
	if len(text) == 0 {
		return nil
	}
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return wrongType(wrong)
		}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
		}
		return errors.New("invalid JSON: it ends too early")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("invalid JSON: something follows the value")
	}
	return nil
}

// wrongType says what was found where, in JSON's words.
func wrongType(err *json.UnmarshalTypeError) error {
	expected := "an object"
	if err.Type.Kind().String() == "string" {
		expected = "a string"
	}
	if err.Field == "" {
		return fmt.Errorf("found %s, expected %s", err.Value, expected)
	}
	return fmt.Errorf("%s: found %s, expected %s", err.Field, err.Value, expected)
}
