// Package client holds the real clients of end-to-end tests: HTTP, server-sent events, GraphQL over HTTP and over
// graphql-transport-ws, and MQTT devices. What goes wrong fails the test.
package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// timeout bounds every request of a test that has no limit of its own.
const timeout = 30 * time.Second

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON is the body decoded.
func (r *Response) JSON(tb testing.TB) map[string]any {
	tb.Helper()
	var v map[string]any
	if err := json.Unmarshal(r.Body, &v); err != nil {
		tb.Fatalf("the body of a %d is no JSON object: %v\n%s", r.Status, err, r.Body)
	}
	return v
}

// Do sends a request. Headers are name, value pairs; a token becomes the Authorization header unless it is empty.
func Do(tb testing.TB, method, url, token string, body []byte, headers ...string) *Response {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Timeout: timeout}).Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: read the answer: %v", method, url, err)
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: text}
}

// Get is Do with GET.
func Get(tb testing.TB, url, token string, headers ...string) *Response {
	tb.Helper()
	return Do(tb, http.MethodGet, url, token, nil, headers...)
}

// Post sends a JSON body.
func Post(tb testing.TB, url, token, body string) *Response {
	tb.Helper()
	return Do(tb, http.MethodPost, url, token, []byte(body), "Content-Type", "application/json")
}

// GraphQL executes an operation at url and returns the response. Its status must be 200.
func GraphQL(tb testing.TB, url, token, query string, variables map[string]any) map[string]any {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		tb.Fatal(err)
	}
	resp := Post(tb, url, token, string(body))
	if resp.Status != http.StatusOK {
		tb.Fatalf("GraphQL answered %d: %s", resp.Status, resp.Body)
	}
	return resp.JSON(tb)
}

// At follows a path of keys and indices, such as "data.orders.0.id"; nil if it leads nowhere.
func At(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i := 0
			for _, digit := range key {
				i = i*10 + int(digit-'0')
			}
			if i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}
