package e2e_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// testBadInput sends each door what it cannot want. Each answer is a clear error, and afterwards all doors work.
func testBadInput(t *testing.T, at site) {
	badREST(t, at)
	badGraphQL(t, at)
	badMQTT(t, at)
	if resp := client.Get(t, at.Admin+"/readyz", ""); resp.Status != http.StatusOK {
		t.Errorf("not ready after bad input: %d %s", resp.Status, resp.Body)
	}
	client.Connect(t, at.MQTT, "box-0007", at.token(t, "box-0007", "device", time.Hour))
	createOrder(t, at)
}

func badREST(t *testing.T, at site) {
	big := `{"note": "` + strings.Repeat("x", 20<<20) + `"}`
	orders := at.HTTP + "/v1/orders"
	for _, test := range []struct {
		name, method, url, body, contentType string
		status                               int
		says                                 string
	}{
		{"malformed JSON", "POST", orders, `{"items": [}`, "application/json", 400, ""},
		{"cut JSON", "POST", orders, `{"items": [{"productId": "prd-`, "application/json", 400, ""},
		{"no object", "POST", orders, `[]`, "application/json", 400, ""},
		{"wrong type", "POST", orders, `{"items": [{"productId": "prd-0001", "quantity": "many"}]}`, "application/json", 400, "/items/0/quantity"},
		{"unknown field", "POST", orders, `{"itemz": []}`, "application/json", 400, "itemz"},
		{"invalid UTF-8", "POST", orders, "{\"note\": \"\xff\xfe\"}", "application/json", 400, ""},
		{"20 MB", "POST", orders, big, "application/json", 413, ""},
		{"what the service refuses", "POST", orders, `{"items": []}`, "application/json", 400, "items"},
		{"wrong media type", "POST", orders, `<order/>`, "application/xml", 415, ""},
		{"unknown parameter", "GET", orders + "?page_sice=2", "", "", 400, "page_sice"},
		{"wrong parameter", "GET", orders + "?page_size=two", "", "", 400, "page_size"},
		{"malformed escape", "GET", at.HTTP + "/v1/orders?page_token=%zz", "", "", 400, ""},
		{"bad token of a page", "GET", orders + "?page_token=nonsense", "", "", 400, "page_token"},
		{"unknown path", "GET", at.HTTP + "/v1/nothing", "", "", 404, ""},
		{"unknown verb", "POST", orders + "/ord-0000001:explode", `{}`, "application/json", 405, ""},
		{"wrong method", "DELETE", orders, "", "", 405, ""},
		{"unlisted service", "GET", at.HTTP + "/v1/users", "", "", 404, ""},
	} {
		var headers []string
		if test.contentType != "" {
			headers = []string{"Content-Type", test.contentType}
		}
		resp := client.Do(t, test.method, test.url, at.Tokens.Customer, []byte(test.body), headers...)
		if resp.Status != test.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") ||
			!strings.Contains(string(resp.Body), test.says) {
			t.Errorf("%s: %d %s, want %d and %q", test.name, resp.Status, clip(resp.Body), test.status, test.says)
		}
	}
}

func badGraphQL(t *testing.T, at site) {
	url := at.HTTP + "/graphql"
	for _, test := range []struct {
		name, body string
		status     int
	}{
		{"malformed JSON", `{"query": `, 400},
		{"no object", `[]`, 400},
		{"no query", `{}`, 400},
		{"wrong type of query", `{"query": 1}`, 400},
		{"wrong type of variables", `{"query": "{ __typename }", "variables": []}`, 400},
		{"syntax error", `{"query": "{ products("}`, 200},
		{"unknown field", `{"query": "{ nothing }"}`, 200},
		{"wrong type of an argument", `{"query": "{ products(first: \"two\") { products { id } } }"}`, 200},
		{"missing variable", `{"query": "query($id: ID!) { order(id: $id) { id } }"}`, 200},
		{"invalid UTF-8", "{\"query\": \"{ products(query: \\\"\xff\\\") { products { id } } }\"}", 400},
		{"deep", `{"query": "` + strings.Repeat("{ me ", 5000) + `"}`, 200},
		{"20 MB", `{"query": "` + strings.Repeat("x", 20<<20) + `"}`, 413},
	} {
		resp := client.Post(t, url, at.Tokens.Customer, test.body)
		if resp.Status != test.status {
			t.Errorf("%s: %d %s, want %d", test.name, resp.Status, clip(resp.Body), test.status)
			continue
		}
		if test.status == http.StatusOK && client.At(resp.JSON(t), "errors.0.message") == nil {
			t.Errorf("%s: no errors in %s", test.name, clip(resp.Body))
		}
	}
}

// badMQTT sends packets that are no MQTT 3.1.1; the connection must end.
func badMQTT(t *testing.T, at site) {
	address := strings.TrimPrefix(at.MQTT, "tcp://")
	for name, packet := range map[string]string{
		"HTTP":                      hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")),
		"PUBLISH before CONNECT":    "300600046100626364",
		"five bytes of length":      "10ffffffff7f",
		"a CONNECT of 256 MB":       "10ffffff7f",
		"MQTT 5":                    "101000044d5154540502003c000003616263",
		"another protocol":          "100e00044d4f4d4d040200000002" + "6162",
		"reserved flags in CONNECT": "1f0c00044d5154540402000000",
		"cut strings":               "100a00044d51545404020000ffff",
	} {
		raw, err := hex.DecodeString(packet)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := sendAndWait(t, address, raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sendAndWait sends bytes and waits for the server to end the connection.
func sendAndWait(t *testing.T, address string, raw []byte) error {
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(raw); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	answer := make([]byte, 64)
	for {
		if _, err := conn.Read(answer); err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				return fmt.Errorf("the connection stays open: %w", err)
			}
			return nil
		}
	}
}

func clip(body []byte) string {
	if len(body) > 400 {
		body = body[:400]
	}
	return string(body)
}

// testDeadLetter publishes payloads that no service can want: they are acknowledged and put aside with a reason, and
// the readings around them arrive.
func testDeadLetter(t *testing.T, at site) {
	device := client.Connect(t, at.MQTT, "box-0002", at.token(t, "box-0002", "device", time.Hour))
	before := metric(t, at, "portico_iot_uplink_messages_total", `result="refused"`)
	for _, payload := range []string{`{"celsius": `, `not json`, `{"celsius": 900}`, `{"nonsense": 1}`, "\xff\xfe", ``} {
		if err := device.Publish("boxes/box-0002/telemetry", payload, arrival); err != nil {
			t.Fatalf("publish %q: %v", payload, err)
		}
	}
	if err := device.Publish("boxes/box-0002/telemetry", `{"celsius": 3, "sequence": "2000001"}`, arrival); err != nil {
		t.Fatal(err)
	}
	stack.Eventually(t, arrival, func() error {
		resp := client.Get(t, at.HTTP+"/v1/boxes/box-0002/readings?page_size=50", at.Tokens.Customer)
		if !strings.Contains(string(resp.Body), "2000001") {
			return context.DeadlineExceeded
		}
		return nil
	})
	stack.Eventually(t, arrival, func() error {
		if put := metric(t, at, "portico_iot_uplink_messages_total", `result="refused"`) - before; put < 6 {
			return fmt.Errorf("%v dead letters, want 6", put)
		}
		return nil
	})
}

// metric sums the samples of a metric on the admin port whose labels contain a text.
func metric(t *testing.T, at site, name, label string) float64 {
	t.Helper()
	var sum float64
	for line := range strings.Lines(string(client.Get(t, at.Admin+"/metrics", "").Body)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == '{' || rest[0] == ' ') && strings.Contains(rest, label) {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err != nil {
				t.Fatalf("metric %s: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}
