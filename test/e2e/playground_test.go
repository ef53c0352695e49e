package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/e2e/chromium"
	"github.com/portico-bff/portico/test/e2e/client"
)

// testPlayground uses the playground in a real browser: a query and a subscription with a token, of the demo itself.
func testPlayground(t *testing.T, at site) {
	page := chromium.Start(t).Open(at.HTTP + "/graphql")
	ui := chromium.GraphiQL(page)
	ui.SetHeaders(`{"Authorization": "Bearer ` + at.Tokens.Customer + `"}`)
	ui.SetQuery(`{ me { displayName } orders(first: 1) { orders { id customer { displayName } } } }`)
	ui.Run()
	ui.WaitForResult("displayName", 30*time.Second)
	if result := ui.Result(); strings.Contains(result, "errors") {
		t.Errorf("the query shows %s", result)
	}
	ui.SetQuery(`subscription { boxReadings(boxId: "box-0001") { sequence celsius } }`)
	ui.Run()
	device := client.Connect(t, at.MQTT, "box-0001", at.token(t, "box-0001", "device", time.Hour))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			_ = device.Publish("boxes/box-0001/telemetry", `{"celsius": 4.75, "sequence": "3000001"}`, arrival)
			time.Sleep(500 * time.Millisecond)
		}
	}()
	ui.WaitForResult("boxReadings", 30*time.Second)
	<-done
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
