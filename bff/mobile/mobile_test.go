package mobile_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/bff/translate"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop loads the demo's descriptors.
func shop(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	data, err := os.ReadFile("../../protos/gen/shop.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		tb.Fatal(err)
	}
	d, err := upstream.FromFiles(&set, "shop.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// caller answers unary calls.
type caller func(m *upstream.Method, req []byte) ([]byte, error)

func (c caller) Invoke(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	message, err := c(m, req)
	return upstream.Reply{Message: message}, err
}

func (c caller) Open(context.Context, *upstream.Method) (upstream.Stream, error) {
	return nil, status.Error(codes.Unimplemented, "")
}

func do(t *testing.T, h http.Handler, line, body string) (int, string) {
	t.Helper()
	httpMethod, target, _ := strings.Cut(line, " ")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), httpMethod, target, strings.NewReader(body)))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestMethods(t *testing.T) {
	t.Parallel()
	d := shop(t)
	door, err := mobile.New(mobile.Config{Services: []string{"shop.catalog.v1.CatalogService", "shop.orders.v1.OrderService"}}, mobile.Options{
		Descriptors: d,
		Caller: caller(func(m *upstream.Method, req []byte) ([]byte, error) {
			var r catalogv1.GetProductRequest
			if err := proto.Unmarshal(req, &r); err != nil || m.Name != "shop.catalog.v1.CatalogService/GetProduct" {
				return nil, status.Error(codes.Internal, "")
			}
			return proto.Marshal(&catalogv1.Product{ProductId: r.GetProductId(), Title: "Figs"})
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line   string
		status int
		want   string
	}{
		{"GET /v1/products/p-1", 200, `{"productId":"p-1","title":"Figs"}`},
		{"GET /v1/products/p-1?fields=title", 200, `{"title":"Figs"}`},
		{"GET /v1/boxes/b-1", 404, `"no such path"`},
		{"GET /v1/orders/o-1:cancel", 500, ``},
		{"PUT /v1/orders/o-1:cancel", 405, ``},
		{"GET /ws/shop.orders.v1.OrderService/WatchOrder", 426, ``},
		{"GET /ws/shop.fleet.v1.FleetService/WatchReadings", 404, `"no such path"`}, // not listed
		{"POST /shop.catalog.v1.CatalogService/GetProduct", 404, `"no such path"`},  // gRPC-Web and Connect
	} {
		if code, body := do(t, door, test.line, ""); code != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: status %d, body %s", test.line, code, body)
		}
	}
	if err := door.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	_, err := mobile.New(mobile.Config{Services: []string{"shop.catalog.v1.CatalogService", "shop.orders.v1.OrdersService", "shop.catalog.v1.CatalogService"}, StreamLimits: translate.StreamLimits{Ping: -1}},
		mobile.Options{
			Descriptors: shop(t),
			Operations: []mobile.Operation{
				{Name: "home", Method: "GET", Path: "/v1/{x"},
				{Name: "products", At: "q.graphql:2:1", Method: "GET", Path: "/v1/products"},
				{Name: "vars", Method: "GET", Path: "/v1/vars/{nope}", Variables: []mobile.Variable{{Name: "node"}}},
			},
		})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, m.Error())
	}
	want := []string{
		`services.1: unknown service "shop.orders.v1.OrdersService", did you mean "shop.orders.v1.OrderService"?`,
		`services.2: service "shop.catalog.v1.CatalogService" is listed twice`,
		`stream_limits.ping: ping is negative, expected a positive value, or none for the default`,
		`operation vars: the path /v1/vars/{nope} has a variable that the operation does not declare: "nope", did you mean "node"?`,
		`operation home: path template "/v1/{x": column 6: a variable is not closed`,
		`shop.catalog.v1.CatalogService/ListProducts (GET /v1/products, declared at shop/catalog/v1/catalog.proto:21:3) and operation products (GET /v1/products, declared at q.graphql:2:1) match the same requests`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func operation(method, path string, execute func(map[string]any) mobile.Answer) mobile.Operation {
	return mobile.Operation{
		Name: "test", Method: method, Path: path,
		Variables: []mobile.Variable{
			{Name: "id"},
			{Name: "first", Kind: mobile.Number},
			{Name: "full", Kind: mobile.Boolean},
			{Name: "tags", List: true},
			{Name: "numbers", Kind: mobile.Number, List: true},
			{Name: "input", Kind: mobile.Object},
		},
		Execute: func(_ context.Context, variables map[string]any) mobile.Answer { return execute(variables) },
	}
}

func TestOperationVariables(t *testing.T) {
	t.Parallel()
	var seen map[string]any
	remember := func(variables map[string]any) mobile.Answer {
		seen = variables
		return mobile.Answer{Data: []byte(`{"ok":true}`)}
	}
	door, err := mobile.New(mobile.Config{}, mobile.Options{
		Descriptors: shop(t),
		Operations:  []mobile.Operation{operation("GET", "/v1/things/{id}", remember), operation("POST", "/v1/things/{id}", remember)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line, body string
		want       map[string]any
		problem    string
	}{
		{line: "GET /v1/things/a%2Fb", want: map[string]any{"id": "a/b"}},
		{
			line: "GET /v1/things/7?first=5&full=true&tags=a&tags=b&numbers=1&numbers=-2.5e3",
			want: map[string]any{
				"id": "7", "first": json.Number("5"), "full": true, "tags": []any{"a", "b"},
				"numbers": []any{json.Number("1"), json.Number("-2.5e3")},
			},
		},
		{line: "GET /v1/things/7?tags=", want: map[string]any{"id": "7", "tags": []any{""}}},
		{
			line: "POST /v1/things/7?first=1", body: `{"input":{"a":[1,null]},"full":false}`,
			want: map[string]any{"id": "7", "first": json.Number("1"), "full": false, "input": map[string]any{"a": []any{json.Number("1"), nil}}},
		},
		{line: "POST /v1/things/7", body: ` `, want: map[string]any{"id": "7"}},
		{line: "GET /v1/things/7?first=x", problem: `query parameter \"first\": \"x\", expected a number`},
		{line: "GET /v1/things/7?first=NaN", problem: "expected a number"},
		{line: "GET /v1/things/7?first=", problem: "expected a number"},
		{line: "GET /v1/things/7?first=1&first=2", problem: `query parameter \"first\": given more than once`},
		{line: "GET /v1/things/7?full=yes", problem: "expected true or false"},
		{line: "GET /v1/things/7?numbers=1&numbers=x", problem: "expected a number"},
		{line: "GET /v1/things/7?input=x", problem: "only a body can hold an object"},
		{line: "GET /v1/things/7?id=8", problem: "the path already gives it"},
		{line: "GET /v1/things/7?frist=8", problem: `unknown query parameter \"frist\", did you mean \"first\"?`},
		{line: "GET /v1/things/7?first=%zz", problem: "the query is malformed"},
		{line: "GET /v1/things/7", body: "{}", problem: "this operation takes no body"},
		{line: "POST /v1/things/7", body: "[]", problem: "expected one JSON object"},
		{line: "POST /v1/things/7", body: "null", problem: "expected one JSON object"},
		{line: "POST /v1/things/7", body: "{}{}", problem: "expected one JSON object"},
		{line: "POST /v1/things/7", body: "{", problem: "expected one JSON object"},
		{line: "POST /v1/things/7", body: `{"id":"7"}`, problem: "path or query already give it"},
		{line: "POST /v1/things/7", body: `{"imput":{}}`, problem: `unknown member \"imput\", did you mean \"input\"?`},
	} {
		seen = nil
		code, body := do(t, door, test.line, test.body)
		if test.problem != "" {
			if code != http.StatusBadRequest || !strings.Contains(body, test.problem) || seen != nil {
				t.Errorf("%s %s: status %d, body %s", test.line, test.body, code, body)
			}
			continue
		}
		if diff := cmp.Diff(test.want, seen); diff != "" || code != http.StatusOK || body != `{"ok":true}` {
			t.Errorf("%s %s: status %d, body %s, variables (-want +got):\n%s", test.line, test.body, code, body, diff)
		}
	}
}

func TestOperationAnswers(t *testing.T) {
	t.Parallel()
	denied := mobile.FieldError{Path: []any{"me", "orders", 0}, Err: status.Error(codes.PermissionDenied, "secret")}
	for _, test := range []struct {
		name   string
		answer mobile.Answer
		status int
		want   string
	}{
		{"all well", mobile.Answer{Data: []byte(`{"a":1}`)}, 200, `{"a":1}`},
		{
			"in part",
			mobile.Answer{Data: []byte(`{"a":1,"me":{"orders":[null]}}`), Errors: []mobile.FieldError{denied}},
			200,
			`{"a":1,"me":{"orders":[null]},"@errors":[{"pointer":"/me/orders/0","type":"about:blank","title":"Forbidden",` +
				`"status":403,"detail":"not allowed","code":"PERMISSION_DENIED","retryable":false}]}`,
		},
		{
			"nothing left",
			mobile.Answer{Data: []byte(`{"a":null}`), Errors: []mobile.FieldError{denied}},
			403,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"not allowed","code":"PERMISSION_DENIED","retryable":false}`,
		},
		{
			"null",
			mobile.Answer{Data: []byte(`null`), Errors: []mobile.FieldError{denied}},
			403,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"not allowed","code":"PERMISSION_DENIED","retryable":false}`,
		},
		{
			"nothing executed",
			mobile.Answer{Errors: []mobile.FieldError{{Err: errors.New("secret")}}},
			500,
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"something went wrong on our side","code":"INTERNAL","retryable":false}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			door, err := mobile.New(mobile.Config{}, mobile.Options{
				Descriptors: shop(t),
				Operations:  []mobile.Operation{operation("GET", "/v1/home", func(map[string]any) mobile.Answer { return test.answer })},
			})
			if err != nil {
				t.Fatal(err)
			}
			code, body := do(t, door, "GET /v1/home", "")
			if code != test.status || body != test.want {
				t.Errorf("status %d, want %d\n got %s\nwant %s", code, test.status, body, test.want)
			}
		})
	}
}
