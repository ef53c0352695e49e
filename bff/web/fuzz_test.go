package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	"github.com/portico-bff/portico/upstream"
)

// answers is a stub that always answers.
func answers() *stub {
	return &stub{invoke: func(context.Context, *upstream.Method, []byte) (proto.Message, error) {
		return &catalogv1.Product{}, nil
	}}
}

func newDoor(tb testing.TB, c Core) *Door {
	tb.Helper()
	s, err := testSchema()
	if err != nil {
		tb.Fatal(err)
	}
	d, err := New(Config{Schema: []string{"x"}, Introspection: true}, Options{Schema: s, Core: c, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// checkAnswer checks the properties that hold for every answer: it is one JSON object with data or errors, and
// it never blames the server for what the client sent.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("no JSON object: %v\n%s", err, w.Body)
	}
	if got["data"] == nil && got["errors"] == nil {
		t.Fatalf("neither data nor errors: %s", w.Body)
	}
	if w.Code >= 500 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if w.Code >= 400 && got["errors"] == nil {
		t.Fatalf("status %d without errors: %s", w.Code, w.Body)
	}
}

// FuzzPost: whatever the body, the answer has the properties of checkAnswer.
func FuzzPost(f *testing.F) {
	for _, body := range []string{
		``, `{`, `null`, `{"query":1}`, `{"query":"{"}`, `{"query":"{ __typename }","variables":[]}`,
		`{"query":"query ($id: ID!) { product(id: $id) { id title } }","variables":{"id":1e400}}`,
		`{"query":"{ products(first: 3) { products { id } } }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}`,
		`{"query":"{ ...F } fragment F on Query { ...F }"}`, `{"query":"{ __schema { types { name fields { name } } } }"}`,
		`{"query":"subscription { boxReadings(boxId: \"b\") { celsius } }"}`, "{\"query\":\"\xff\"}",
		`{"query":"mutation M { cancelOrder(id: \"o\") { note } } query Q { __typename }","operationName":"M"}`,
		`{"query":"query ($n: Int = 1) { products(first: $n) { products { id @include(if: false) } } }","variables":{"n":null}}`,
	} {
		f.Add(body, "application/json")
	}
	f.Add(`{"query":"{ __typename }"}`, "application/graphql-response+json;q=0.3,*/*")
	door := newDoor(f, answers())
	f.Fuzz(func(t *testing.T, body, accept string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header["Content-Type"] = []string{"application/json"}
		r.Header["Accept"] = []string{accept}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		checkAnswer(t, w)
	})
}

// FuzzGet: whatever the query of the URL, the answer has the properties of checkAnswer, and no mutation is executed.
func FuzzGet(f *testing.F) {
	for _, query := range []string{
		"", "query={__typename}", "query=%7B+product(id:1)+%7B+id+%7D+%7D&variables=%7B%7D", "query=%zz", "query=%ff", "query=a&query=b",
		"query=mutation{cancelOrder(id:1){note}}", "extensions={%22persistedQuery%22:{%22version%22:1,%22sha256Hash%22:%22a%22}}",
		"query={__typename}&variables=[]", "query={__typename};x", "operationName=A&query=query+A{__typename}",
	} {
		f.Add(query)
	}
	c := answers()
	invoke := c.invoke
	c.invoke = func(ctx context.Context, m *upstream.Method, req []byte) (proto.Message, error) {
		if m.Desc.Name() == "CancelOrder" {
			f.Error("a GET cancelled an order")
		}
		return invoke(ctx, m, req)
	}
	door := newDoor(f, c)
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/graphql", nil)
		r.URL = &url.URL{Path: "/graphql", RawQuery: query}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		checkAnswer(t, w)
	})
}

// FuzzInitAuthorization: whatever a WebSocket client introduces itself with, reading it does not panic, and a token is only
// found in JSON.
func FuzzInitAuthorization(f *testing.F) {
	for _, payload := range []string{
		``, `null`, `{}`, `{"authorization":"Bearer x"}`, `{"headers":{"Authorization":"Bearer x"}}`, `{"headers":null}`,
		`{"headers":[1]}`, `{"authorization":{}}`,
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		got := initAuthorization(json.RawMessage(payload))
		if got != "" && !json.Valid([]byte(payload)) {
			t.Errorf("%q found in what is no JSON: %q", got, payload)
		}
	})
}
