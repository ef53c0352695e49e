package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/go-cmp/cmp"
)

// What GraphQL over HTTP says about requests and statuses. Most rows are audits of the graphql-http project.
func TestHTTP(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), func(c *Config) { c.Playground = true })
	const (
		asResponse = "application/graphql-response+json"
		asJSON     = "application/json"
	)
	typename := `{"query":"{ __typename }"}`
	get := func(query string) string { return "?query=" + url.QueryEscape(query) }
	for _, tc := range []struct {
		name         string
		method, path string // POST to the door's path if empty
		contentType  string // application/json for POST if empty, none if "-"
		accept       string // none if empty
		body         string
		status       int
		media        string // application/json if empty
		data         string // "" if it must be absent
		message      string // part of the first error, "" if there must be none
	}{
		{name: "post", body: typename, status: 200, data: `{"__typename":"Query"}`},
		{name: "accept response", body: typename, accept: asResponse, status: 200, media: asResponse, data: `{"__typename":"Query"}`},
		{name: "accept json", body: typename, accept: asJSON, status: 200, data: `{"__typename":"Query"}`},
		{name: "accept anything", body: typename, accept: "*/*", status: 200, data: `{"__typename":"Query"}`},
		{name: "accept application", body: typename, accept: "application/*", status: 200, data: `{"__typename":"Query"}`},
		{
			name: "accept by weight", body: typename, accept: asResponse + ";q=0.5, " + asJSON, status: 200,
			data: `{"__typename":"Query"}`,
		},
		{
			name: "accept both alike", body: typename, accept: asJSON + ", " + asResponse + "; charset=utf-8", status: 200,
			media: asResponse, data: `{"__typename":"Query"}`,
		},
		{name: "accept neither", body: typename, accept: "image/png", status: 406, message: "answers are"},
		{name: "accept refused", body: typename, accept: "*/*;q=0", status: 406, message: "answers are"},
		{name: "accept all but json", body: typename, accept: "*/*, application/json;q=0", status: 200, media: asResponse, data: `{"__typename":"Query"}`},
		{name: "charset", body: typename, contentType: "application/json; charset=UTF-8", status: 200, data: `{"__typename":"Query"}`},
		{name: "other charset", body: typename, contentType: "application/json; charset=utf-16", status: 415, message: "content type"},
		{name: "no content type", body: typename, contentType: "-", status: 415, message: "content type"},
		{name: "form", body: "query={__typename}", contentType: "application/x-www-form-urlencoded", status: 415, message: "content type"},
		{name: "text", body: typename, contentType: "text/plain", status: 415, message: "content type"},
		{name: "no JSON", body: "{", status: 400, message: "invalid JSON"},
		{name: "two values", body: typename + "{}", status: 400, message: "something follows"},
		{name: "an array", body: "[" + typename + "]", status: 400, message: "no JSON object"},
		{name: "null", body: "null", status: 400, message: "no JSON object"},
		{name: "empty", body: "", status: 400, message: "no JSON object"},
		{name: "not UTF-8", body: "{\"query\":\"{ product(id: \\\"\xff\\\") { id } }\"}", status: 400, message: "UTF-8"},
		{name: "no query", body: `{"notquery":"{ __typename }"}`, status: 400, message: "no query"},
		{name: "query null", body: `{"query":null}`, status: 400, message: "no query"},
		{name: "query a number", body: `{"query":1}`, status: 400, message: "query: found number, expected a string"},
		{name: "query an object", body: `{"query":{"a":1}}`, status: 400, message: "query: found object"},
		{name: "operationName a number", body: `{"query":"{ __typename }","operationName":0}`, status: 400, message: "operationName"},
		{name: "operationName null", body: `{"query":"{ __typename }","operationName":null}`, status: 200, data: `{"__typename":"Query"}`},
		{name: "variables text", body: `{"query":"{ __typename }","variables":"{}"}`, status: 400, message: "variables: found string, expected an object"},
		{name: "variables an array", body: `{"query":"{ __typename }","variables":[]}`, status: 400, message: "variables"},
		{name: "variables null", body: `{"query":"{ __typename }","variables":null}`, status: 200, data: `{"__typename":"Query"}`},
		{name: "extensions text", body: `{"query":"{ __typename }","extensions":"x"}`, status: 400, message: "extensions"},
		{name: "unknown members", body: `{"query":"{ __typename }","other":[1]}`, status: 200, data: `{"__typename":"Query"}`},
		{name: "parse error as json", body: `{"query":"{"}`, status: 200, message: "Expected Name"},
		{name: "parse error", body: `{"query":"{"}`, accept: asResponse, status: 400, media: asResponse, message: "Expected Name"},
		{name: "unknown field as json", body: `{"query":"{ nothing }"}`, status: 200, message: "nothing"},
		{name: "unknown field", body: `{"query":"{ nothing }"}`, accept: asResponse, status: 400, media: asResponse, message: "nothing"},
		{name: "no such operation", body: `{"query":"query A { __typename }","operationName":"B"}`, accept: asResponse, status: 400, media: asResponse, message: "operation B not found"},
		{name: "which operation", body: `{"query":"query A { __typename } query B { __typename }"}`, accept: asResponse, status: 400, media: asResponse, message: "not found"},
		{
			name: "variable", body: `{"query":"query ($id: ID!) { product(id: $id) { id } }","variables":{"id":"p1"}}`,
			status: 200, data: `{"product":{"id":"p1"}}`,
		},
		{
			name: "missing variable as json", body: `{"query":"query ($id: ID!) { product(id: $id) { id } }"}`,
			status: 200, message: "must be defined",
		},
		{
			name: "wrong variable", body: `{"query":"query ($id: ID!) { product(id: $id) { id } }","variables":{"id":{}}}`,
			accept: asResponse, status: 400, media: asResponse, message: "cannot use",
		},
		{name: "mutation", body: `{"query":"mutation { cancelOrder(id: \"o1\") { note } }"}`, status: 200, data: `{"cancelOrder":{"note":"ring twice"}}`},
		{name: "subscription", body: `{"query":"subscription { boxReadings(boxId: \"b\") { celsius } }"}`, status: 400, message: "WebSocket"},
		{name: "get", method: "GET", path: get("{ __typename }"), status: 200, data: `{"__typename":"Query"}`},
		{name: "get as response", method: "GET", path: get("{ __typename }"), accept: asResponse, status: 200, media: asResponse, data: `{"__typename":"Query"}`},
		{
			name: "get with everything", method: "GET", status: 200, data: `{"product":{"id":"p2"}}`,
			path: get("query A($id: ID!) { product(id: $id) { id } } query B { __typename }") +
				"&operationName=A&extensions={}&other=1&other=2&variables=" + url.QueryEscape(`{"id":"p2"}`),
		},
		{name: "get by a browser", method: "GET", path: get("{ __typename }"), accept: "text/html, */*;q=0.8", status: 200, data: `{"__typename":"Query"}`},
		{name: "get without query", method: "GET", path: "?x=1", status: 400, message: "no query"},
		{name: "get mutation", method: "GET", path: get(`mutation { cancelOrder(id: "o1") { note } }`), status: 405, message: "needs a POST"},
		{name: "get wrong variables", method: "GET", path: get("{ __typename }") + "&variables=[]", status: 400, message: "variables: found array, expected an object"},
		{name: "get malformed variables", method: "GET", path: get("{ __typename }") + "&variables={", status: 400, message: "variables: invalid JSON"},
		{name: "get text extensions", method: "GET", path: get("{ __typename }") + "&extensions=1", status: 400, message: "extensions"},
		{name: "get twice", method: "GET", path: get("{ __typename }") + "&query=x", status: 400, message: "repeated"},
		{name: "get too long", method: "GET", path: get("{ __typename }") + "&variables=" + strings.Repeat("1", maxGetParameter+1), status: 400, message: "over 16384 bytes"},
		{name: "get malformed", method: "GET", path: "?query=%zz", status: 400, message: "malformed"},
		{name: "get not UTF-8", method: "GET", path: "?query=%ff", status: 400, message: "UTF-8"},
		{name: "head", method: "HEAD", path: get("{ __typename }"), status: 200},
		{name: "head mutation", method: "HEAD", path: get(`mutation { cancelOrder(id: "o1") { note } }`), status: 405},
		{name: "put", method: "PUT", body: typename, status: 405, message: "expected GET or POST"},
		{name: "delete", method: "DELETE", status: 405, message: "expected GET or POST"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			method := tc.method
			if method == "" {
				method = http.MethodPost
			}
			var header []string
			switch {
			case tc.contentType == "" && method == http.MethodPost:
				header = append(header, "Content-Type", "application/json")
			case tc.contentType != "-" && tc.contentType != "":
				header = append(header, "Content-Type", tc.contentType)
			}
			if tc.accept != "" {
				header = append(header, "Accept", tc.accept)
			}
			got := h.do(t, method, h.url+tc.path, tc.body, header...)
			media := tc.media
			if media == "" {
				media = asJSON
			}
			if got.status != tc.status || got.header.Get("Content-Type") != media+"; charset=utf-8" {
				t.Errorf("%d %s, expected %d %s: %s", got.status, got.header.Get("Content-Type"), tc.status, media, got.text)
			}
			if method == http.MethodHead {
				return
			}
			if string(got.body.Data) != tc.data {
				t.Errorf("data %s, expected %s", got.body.Data, tc.data)
			}
			switch {
			case tc.message == "" && len(got.body.Errors) > 0:
				t.Errorf("unexpected errors: %s", got.text)
			case tc.message != "" && (len(got.body.Errors) == 0 || !strings.Contains(got.body.Errors[0].Message, tc.message)):
				t.Errorf("expected an error about %q: %s", tc.message, got.text)
			}
			if tc.data == "" && strings.Contains(got.text, `"data"`) {
				t.Errorf("a request error has data: %s", got.text)
			}
		})
	}
}

// Errors of services: their codes and paths reach the client, their causes only the log, at a level that fits.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, query, data, code, path string
		status                        int
		level                         string
	}{
		{"denied", `{ order(id: "nobody") { note } }`, `{"order":null}`, "UNAUTHENTICATED", "[order]", 200, "DEBUG"},
		{"all denied", `{ a: needed(id: "nobody") { id } }`, `null`, "UNAUTHENTICATED", "[a]", 401, "DEBUG"},
		{
			"all denied, in fragments", `{ ...F ... on Query { a: needed(id: "nobody") { id } } } fragment F on Query { a: needed(id: "nobody") { id } }`,
			`null`, "UNAUTHENTICATED", "[a]", 401, "DEBUG",
		},
		{"some executed", `{ __typename needed(id: "nobody") { id } }`, `null`, "UNAUTHENTICATED", "[needed]", 200, "DEBUG"},
		{"forbidden", `{ needed(id: "forbidden") { id } }`, `null`, "FORBIDDEN", "[needed]", 200, "DEBUG"},
		{"not found", `{ p: product(id: "missing") { id } o: order(id: "o1") { note } }`, `{"p":null,"o":{"note":"ring twice"}}`, "NOT_FOUND", "[p]", 200, "DEBUG"},
		{"broken", `{ product(id: "broken") { id } }`, `{"product":null}`, "INTERNAL_SERVER_ERROR", "[product]", 200, "ERROR"},
		{"away", `{ product(id: "away") { id } }`, `{"product":null}`, "UNAVAILABLE", "[product]", 200, "WARN"},
		{"panic", `{ product(id: "panic") { id } }`, `{"product":null}`, "INTERNAL_SERVER_ERROR", "[product]", 200, "ERROR"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := serve(t, shop(), nil)
			got := h.post(t, tc.query, "Accept", mediaResponse)
			if got.status != tc.status || string(got.body.Data) != tc.data || len(got.body.Errors) != 1 {
				t.Fatalf("%d, expected %d with data %s: %s", got.status, tc.status, tc.data, got.text)
			}
			e := got.body.Errors[0]
			if e.Extensions["code"] != tc.code || fmt.Sprint(e.Path) != tc.path {
				t.Errorf("code %v at %v, expected %s at %s", e.Extensions["code"], e.Path, tc.code, tc.path)
			}
			if strings.Contains(got.text, "secret") {
				t.Errorf("the cause reached the client: %s", got.text)
			}
			if lines := h.log.lines(tc.level); len(lines) != 1 {
				t.Errorf("expected one line at %s: %s", tc.level, h.log)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (tc.status == 401) {
				t.Errorf("WWW-Authenticate is %q with %d", challenge, got.status)
			}
		})
	}
}

// A thousand failures of one kind are one line in the log.
func TestErrorsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	var query strings.Builder
	for i := range 50 {
		fmt.Fprintf(&query, `a%d: product(id: "broken") { id } `, i)
	}
	got := h.post(t, "{"+query.String()+"}")
	if len(got.body.Errors) != 50 {
		t.Errorf("expected 50 errors: %s", got.text)
	}
	if lines := h.log.lines("ERROR"); len(lines) != 1 || !strings.Contains(lines[0], "secret table is gone") {
		t.Errorf("expected one line with the cause: %s", h.log)
	}
}

func TestPanicOutsideFields(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	h.door.exec.AroundOperations(func(context.Context, graphql.OperationHandler) graphql.ResponseHandler {
		panic("out of order") //nolint:forbidigo // stands for a bug
	})
	got := h.post(t, "{ __typename }")
	if got.status != http.StatusInternalServerError || len(got.body.Errors) != 1 || got.body.Errors[0].Message != "internal error" {
		t.Errorf("%d %s", got.status, got.text)
	}
	if lines := h.log.lines("ERROR"); len(lines) != 1 || !strings.Contains(lines[0], "stack") {
		t.Errorf("expected one line with the stack: %s", h.log)
	}
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	queries := []string{
		`{ __schema { queryType { name } } }`,
		`{ ... { x: __type(name: "Product") { name } } }`,
		`{ ...F } fragment F on Query { __schema { queryType { name } } }`,
	}
	t.Run("on", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), nil)
		for _, q := range queries {
			if got := h.post(t, q); len(got.body.Errors) > 0 || len(got.body.Data) < 10 {
				t.Errorf("%s: %s", q, got.text)
			}
		}
		if got := h.post(t, "{ product(id: 1) { titel } }"); !strings.Contains(got.text, "Did you mean") {
			t.Errorf("no suggestion: %s", got.text)
		}
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), func(c *Config) { c.Introspection = false })
		for _, q := range queries {
			got := h.post(t, q)
			if got.body.Data != nil || len(got.body.Errors) != 1 || got.body.Errors[0].Extensions["code"] != "INTROSPECTION_DISABLED" {
				t.Errorf("%s: %s", q, got.text)
			}
		}
		if got := h.post(t, "{ __typename }"); string(got.body.Data) != `{"__typename":"Query"}` {
			t.Errorf("__typename: %s", got.text)
		}
		// Nothing that the client has not named itself.
		for _, q := range []string{
			"{ product(id: 1) { titel } }", "{ product }", "{ product(idd: 1) { id } }", "{ ... on Produkt { id } }",
			`{ products(first: "x") { products { id } } }`, "query ($x: Produc) { __typename }",
		} {
			got := h.post(t, q)
			if len(got.body.Errors) == 0 || strings.Contains(got.text, "Did you mean") || strings.Contains(got.text, "title") {
				t.Errorf("%s: %s", q, got.text)
			}
		}
	})
}

func TestPersistedQueries(t *testing.T) {
	t.Parallel()
	h := serve(t, shop(), nil)
	const query = "{ __typename }"
	sum := sha256.Sum256([]byte(query))
	extension := func(hash string) string {
		return fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hash)
	}
	byHash := "?extensions=" + url.QueryEscape(extension(hex.EncodeToString(sum[:])))
	steps := []struct{ name, method, path, body, want string }{
		{"unknown", "GET", byHash, "", "PERSISTED_QUERY_NOT_FOUND"},
		{"wrong hash", "POST", "", `{"query":"{ __typename }","extensions":` + extension("00") + `}`, "does not match"},
		{"bad extension", "POST", "", `{"query":"{ __typename }","extensions":{"persistedQuery":7}}`, "invalid APQ"},
		{"other version", "POST", "", `{"extensions":{"persistedQuery":{"version":2,"sha256Hash":""}}}`, "unsupported APQ version"},
		{"store", "POST", "", `{"query":"{ __typename }","extensions":` + extension(hex.EncodeToString(sum[:])) + `}`, `{"data":{"__typename":"Query"}}`},
		{"known", "GET", byHash, "", `{"data":{"__typename":"Query"}}`},
		{"known in a body", "POST", "", `{"extensions":` + extension(hex.EncodeToString(sum[:])) + `}`, `{"data":{"__typename":"Query"}}`},
	}
	for _, s := range steps {
		got := h.do(t, s.method, h.url+s.path, s.body, "Content-Type", "application/json", "Accept", "text/html, */*")
		if got.status != http.StatusOK || !strings.Contains(got.text, s.want) {
			t.Errorf("%s: %d %s, expected %s", s.name, got.status, got.text, s.want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("tokens", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), func(c *Config) { c.Tokens = 10 })
		if got := h.post(t, "{ a: __typename b: __typename c: __typename d: __typename }"); !strings.Contains(got.text, "token limit") {
			t.Errorf("%s", got.text)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), nil)
		if got := h.post(t, "{ __typename "+strings.Repeat("@x ", 200)+"}"); len(got.body.Errors) != maxMistakes {
			t.Errorf("%d errors", len(got.body.Errors))
		}
	})
	t.Run("repetition", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), nil)
		var chain strings.Builder
		for i := range 900 {
			fmt.Fprintf(&chain, "fragment F%d on Product { ...F%d id } ", i, i+1)
		}
		for name, query := range map[string]string{
			"fields":    "{" + strings.Repeat("__typename ", 9990) + "}",
			"nested":    "{" + strings.Repeat("product(id: 1) { id } ", 1000) + "}",
			"inline":    "{" + strings.Repeat("... { __typename } ", 1000) + "}",
			"fragments": "{ product(id: 1) { ...F0 } } fragment F900 on Product { id } " + chain.String(),
		} {
			start := time.Now()
			if got := h.post(t, query); !strings.Contains(got.text, "repeats its fields too often") {
				t.Errorf("%s: %.200s", name, got.text)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
		var many strings.Builder
		for i := range 100 {
			fmt.Fprintf(&many, "a%d: product(id: %d) { id title description stock } ", i, i)
		}
		if got := h.post(t, "{"+many.String()+"}"); len(got.body.Errors) > 0 {
			t.Errorf("%.200s", got.text)
		}
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), nil, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = http.MaxBytesReader(w, r.Body, 100)
				next.ServeHTTP(w, r)
			})
		})
		if got := h.post(t, "{ __typename } #"+strings.Repeat(" ", 100)); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", got.status, got.text)
		}
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		h := serve(t, shop(), nil, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
				defer cancel()
				next.ServeHTTP(w, r.WithContext(ctx))
			})
		})
		got := h.post(t, `{ product(id: "slow") { id } }`)
		if len(got.body.Errors) != 1 || got.body.Errors[0].Extensions["code"] != "DEADLINE_EXCEEDED" {
			t.Errorf("%d %s", got.status, got.text)
		}
	})
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	s, err := testSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"graphql", "/", "/a/", "/a//b", "/a/../b", "/{x}", "/a*", "/a?b"} {
		if _, err := New(Config{Path: path, Schema: []string{"x"}}, Options{Schema: s, Core: shop()}); err == nil {
			t.Errorf("path %q is accepted", path)
		}
	}
	_, err = New(Config{Path: "x", Tokens: -1, Subscriptions: Subscriptions{
		Connections: -1, PerConnection: -1, Message: -1, InitTimeout: -1, Ping: -1, Origins: []string{"ok.example", "[", ""},
	}}, Options{Schema: s, Core: shop()})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	var got []string
	for line := range strings.Lines(err.Error()) {
		where, _, _ := strings.Cut(line, ":")
		got = append(got, where)
	}
	want := []string{
		"path", "schema", "tokens", "subscriptions.connections", "subscriptions.per_connection", "subscriptions.message",
		"subscriptions.init_timeout", "subscriptions.ping", "subscriptions.origins.1", "subscriptions.origins.2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
