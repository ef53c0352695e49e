package mobile_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/mobile"
)

func TestOperationFields(t *testing.T) {
	t.Parallel()
	data := `{"me":{"name":"Ada","orders":[{"id":"1","total":{"units":"5"}},null,{"id":"2"}]},"products":[],"n":1}`
	door, err := mobile.New(mobile.Config{}, mobile.Options{
		Descriptors: shop(t),
		Operations: []mobile.Operation{
			operation("GET", "/v1/home", func(map[string]any) mobile.Answer { return mobile.Answer{Data: []byte(data)} }),
			operation("GET", "/v1/partial", func(map[string]any) mobile.Answer {
				return mobile.Answer{
					Data:   []byte(`{"a":null,"b":1}`),
					Errors: []mobile.FieldError{{Path: []any{"a"}, Err: status.Error(codes.NotFound, "gone")}},
				}
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for fields, want := range map[string]string{
		"n":                              `{"n":1}`,
		"n,me":                           `{"me":{"name":"Ada","orders":[{"id":"1","total":{"units":"5"}},null,{"id":"2"}]},"n":1}`,
		"me(orders(id))":                 `{"me":{"orders":[{"id":"1"},null,{"id":"2"}]}}`,
		"me/orders/id,products":          `{"me":{"orders":[{"id":"1"},null,{"id":"2"}]},"products":[]}`,
		"me.orders.total.units,me.name":  `{"me":{"name":"Ada","orders":[{"total":{"units":"5"}},null,{}]}}`,
		"me.name,me":                     `{"me":{"name":"Ada","orders":[{"id":"1","total":{"units":"5"}},null,{"id":"2"}]}}`,
		"me,me.name":                     `{"me":{"name":"Ada","orders":[{"id":"1","total":{"units":"5"}},null,{"id":"2"}]}}`,
		"products(id)":                   `{"products":[]}`,
		"nope":                           `{}`,
		"n(x)":                           `{"n":1}`,
		"":                               "a name is missing",
		"me(":                            "a name is missing",
		"me(name":                        "a closing parenthesis is missing",
		"me)":                            "unexpected",
		"me,,n":                          "a name is missing",
		strings.Repeat("a(", 50):         "too deep",
		strings.Repeat("a,", 5000) + "a": "longer than",
		"me(name)x":                      "unexpected",
		strings.Repeat("a.", 40) + "a":   "too deep",
	} {
		for _, name := range []string{"fields", "$fields"} {
			code, body := do(t, door, "GET /v1/home?"+name+"="+url.QueryEscape(fields), "")
			if wantProblem := !strings.HasPrefix(want, "{"); wantProblem != (code == http.StatusBadRequest) || !strings.Contains(body, want) {
				t.Errorf("%s=%.50s: status %d, got %s, want %s", name, fields, code, body, want)
			}
		}
	}
	if code, body := do(t, door, "GET /v1/partial?fields=b", ""); code != http.StatusOK || !strings.HasPrefix(body, `{"b":1,"@errors":[{"pointer":"/a"`) {
		t.Errorf("in part: status %d, %s", code, body)
	}
	if code, body := do(t, door, "GET /v1/partial?fields=nope", ""); code != http.StatusOK || !strings.HasPrefix(body, `{"@errors":[{`) {
		t.Errorf("in part: status %d, %s", code, body)
	}
	if code, _ := do(t, door, "GET /v1/home?fields=a&fields=b", ""); code != http.StatusBadRequest {
		t.Errorf("two fields: status %d", code)
	}
}
