package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/e2e/chromium"
)

// testPlayground uses the playground in a real browser: a query and a subscription with a token, of the demo itself.
func testPlayground(t *testing.T, at site) {
	page := chromium.Start(t).Open(at.HTTP + "/graphql")
	ui := chromium.GraphiQL(page)
	headers := `{"Authorization": "Bearer ` + at.Tokens.Customer + `"}`
	ui.SetHeaders(headers)
	ui.Run() // the first of the saved queries
	ui.WaitForResult(`"displayName"`, 30*time.Second)
	if result := ui.Result(); strings.Contains(result, `"errors"`) {
		t.Errorf("the query shows %s", result)
	}
	ui.SelectTab("Readings")
	ui.SetHeaders(headers) // each tab has its own
	ui.Run()
	ui.WaitForResult(`"boxReadings"`, 30*time.Second) // the simulated box publishes every two seconds
	if errors := page.Errors(); len(errors) > 0 {
		t.Errorf("the page reports errors: %v", errors)
	}
	for _, url := range page.Requests() {
		if !strings.HasPrefix(url, at.HTTP+"/") && !strings.HasPrefix(url, "ws"+strings.TrimPrefix(at.HTTP, "http")+"/") &&
			!strings.HasPrefix(url, "data:") && !strings.HasPrefix(url, "blob:") {
			t.Errorf("the page asked for %s", url)
		}
	}
}
