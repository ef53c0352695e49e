package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// testObservability looks at what an operator sees: the access log, metrics, health.
func testObservability(t *testing.T, at site) {
	resp := client.Get(t, at.HTTP+"/v1/products/prd-0002", "", "X-Request-ID", "e2e-observability-1")
	if got := resp.Header.Get("X-Request-ID"); got != "e2e-observability-1" {
		t.Errorf("the answer has the request id %q", got)
	}
	stack.Eventually(t, arrival, func() error {
		text, err := os.ReadFile(filepath.Join(at.data, "demo.log"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("a line of the log is no JSON: %s", line)
			}
			if entry["request_id"] == "e2e-observability-1" {
				if entry["status"] != 200.0 || entry["door"] != "mobile" || entry["method"] != "GET" {
					t.Errorf("the access log says %s", line)
				}
				if strings.Contains(line, at.Tokens.Customer) {
					t.Error("the log holds a token")
				}
				return nil
			}
		}
		return context.DeadlineExceeded
	})
	client.GraphQL(t, at.HTTP+"/graphql", "", "query Seen { products(first: 1) { products { id } } }", nil)
	stack.Eventually(t, arrival, func() error {
		text, err := os.ReadFile(filepath.Join(at.data, "demo.log"))
		if err != nil || !strings.Contains(string(text), `"operation":"query Seen"`) {
			return errors.Join(err, errors.New("the access log does not name the operation"))
		}
		return nil
	})
	if resp := client.Get(t, at.Admin+"/healthz", ""); resp.Status != 200 {
		t.Errorf("/healthz answered %d", resp.Status)
	}
	if resp := client.Get(t, at.Admin+"/readyz", ""); resp.Status != 200 {
		t.Errorf("/readyz answered %d %s", resp.Status, resp.Body)
	}
	metrics := string(client.Get(t, at.Admin+"/metrics", "").Body)
	for _, name := range []string{"portico_", "go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics has nothing named %s", name)
		}
	}
	if resp := client.Get(t, at.HTTP+"/metrics", ""); resp.Status != 404 {
		t.Errorf("/metrics at the clients' port answered %d", resp.Status)
	}
}
