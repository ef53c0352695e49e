package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// arrival is the longest that a reading may take from a device to a subscriber, under the race detector on a busy
// machine.
const arrival = 10 * time.Second

// testReadingCrossesDoors publishes over MQTT and sees the reading in a GraphQL subscription and in a REST stream.
func testReadingCrossesDoors(t *testing.T, at site) {
	box := at.Device.ID
	sse := client.SSE(t, at.HTTP+"/v1/boxes/"+box+"/readings:watch", at.Tokens.Customer)
	subscription := client.Subscribe(t, at.HTTP+"/graphql", at.Tokens.Customer,
		`subscription($box: ID!) { boxReadings(boxId: $box) { sequence celsius } }`, map[string]any{"box": box})
	device := client.Connect(t, at.MQTT, box, at.Device.Password)

	// Open streams before the reading: a marker is published until both have shown it.
	stack.Eventually(t, arrival, func() error {
		return device.Publish("boxes/"+box+"/telemetry", `{"celsius": 1, "sequence": "1000001"}`, arrival)
	})
	sse.Until(t, arrival, "1000001")
	subscription.Until(t, arrival, "1000001")

	start := time.Now()
	if err := device.Publish("boxes/"+box+"/telemetry", `{"celsius": 2.5, "sequence": "1000002"}`, arrival); err != nil {
		t.Fatal(err)
	}
	stored := time.Since(start)
	sse.Until(t, arrival, "1000002")
	overREST := time.Since(start)
	subscription.Until(t, arrival, "1000002")
	t.Logf("from publish: PUBACK %s, REST stream %s, GraphQL subscription %s", stored, overREST, time.Since(start))
}

// createOrder orders something over GraphQL and returns the order's id.
func createOrder(t *testing.T, at site) string {
	t.Helper()
	response := client.GraphQL(t, at.HTTP+"/graphql", at.Tokens.Customer,
		`mutation($in: CreateOrderInput!) { createOrder(input: $in) { id state items { quantity product { title } } } }`,
		map[string]any{"in": map[string]any{"items": []any{map[string]any{"productId": "prd-0001", "quantity": 2}}, "note": "e2e"}})
	id, _ := client.At(response, "data.createOrder.id").(string)
	if id == "" || client.At(response, "data.createOrder.state") != "PAID" || client.At(response, "data.createOrder.items.0.product.title") == nil {
		t.Fatalf("createOrder answered %v", response)
	}
	return id
}

// testOrderCrossesDoors creates an order over GraphQL, reads it and cancels it over REST, and watches the change.
func testOrderCrossesDoors(t *testing.T, at site) {
	id := createOrder(t, at)
	resp := client.Get(t, at.HTTP+"/v1/orders/"+id, at.Tokens.Customer)
	order := resp.JSON(t)
	if resp.Status != http.StatusOK || order["orderId"] != id || order["note"] != "e2e" || order["customerId"] != "usr-0003" {
		t.Fatalf("GET answered %d %s", resp.Status, resp.Body)
	}
	updates := client.Subscribe(t, at.HTTP+"/graphql", at.Tokens.Customer,
		`subscription($id: ID!) { orderUpdates(id: $id) { id state } }`, map[string]any{"id": id})
	updates.Until(t, arrival, `"PAID"`)
	resp = client.Post(t, at.HTTP+"/v1/orders/"+id+":cancel", at.Tokens.Customer, `{"reason": "changed my mind"}`)
	if resp.Status != http.StatusOK || resp.JSON(t)["state"] != "ORDER_STATE_CANCELLED" {
		t.Fatalf("cancel answered %d %s", resp.Status, resp.Body)
	}
	updates.Until(t, arrival, `"CANCELLED"`)
}

// testHome reads the composed endpoint.
func testHome(t *testing.T, at site) {
	resp := client.Get(t, at.HTTP+"/v1/home", at.Tokens.Customer)
	if resp.Status != http.StatusOK {
		t.Fatalf("GET /v1/home answered %d %s", resp.Status, resp.Body)
	}
	home := resp.JSON(t)
	for _, path := range []string{"me.displayName", "orders.orders.0.id", "orders.orders.0.items.0.product.title", "boxes.boxes.0.latestReading"} {
		if client.At(home, path) == nil {
			t.Errorf("/v1/home has nothing at %s: %s", path, resp.Body)
		}
	}
}

func testFields(t *testing.T, at site) {
	resp := client.Get(t, at.HTTP+"/v1/products?page_size=3&fields=products(productId,price/minorUnits),nextPageToken", "")
	var page struct {
		Products      []map[string]any `json:"products"`
		NextPageToken string           `json:"nextPageToken"`
	}
	if err := json.Unmarshal(resp.Body, &page); err != nil || len(page.Products) != 3 || page.NextPageToken == "" {
		t.Fatalf("answered %d %s", resp.Status, resp.Body)
	}
	for _, p := range page.Products {
		if len(p) != 2 || p["productId"] == nil || client.At(p, "price.minorUnits") == nil || client.At(p, "price.currencyCode") != nil {
			t.Errorf("a product has other fields than those asked for: %v", p)
		}
	}
	if resp := client.Get(t, at.HTTP+"/v1/products?fields=products(titel)", ""); resp.Status != http.StatusBadRequest || !strings.Contains(string(resp.Body), "title") {
		t.Errorf("an unknown field answered %d %s", resp.Status, resp.Body)
	}
}

// testTrack follows a box over a bidirectional WebSocket.
func testTrack(t *testing.T, at site) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(at.HTTP, "http")+"/v1/boxes/box-0002:track", &websocket.DialOptions{
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + at.Tokens.Customer}},
		Subprotocols: []string{"portico.json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	for i := range 3 {
		position := fmt.Sprintf(`{"position": {"latitude": 47.%d, "longitude": 8.5}}`, i)
		if err := conn.Write(ctx, websocket.MessageText, []byte(position)); err != nil {
			t.Fatal(err)
		}
		_, text, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`"received":"%d"`, i+1); !strings.Contains(strings.ReplaceAll(string(text), " ", ""), want) {
			t.Errorf("answer %d is %s, want %s in it", i+1, text, want)
		}
	}
}

// testCommand sends a command over GraphQL and receives it as the device.
func testCommand(t *testing.T, at site) {
	device := client.Connect(t, at.MQTT, "box-0005", at.token(t, "box-0005", "device", time.Hour))
	commands, err := device.Subscribe("boxes/box-0005/commands")
	if err != nil {
		t.Fatal(err)
	}
	response := client.GraphQL(t, at.HTTP+"/graphql", at.Tokens.Admin,
		`mutation { sendCommand(boxId: "box-0005", kind: SET_TEMPERATURE, value: 2.25) { id kind } }`, nil)
	id, _ := client.At(response, "data.sendCommand.id").(string)
	if id == "" {
		t.Fatalf("sendCommand answered %v", response)
	}
	for deadline := time.After(arrival); ; {
		select {
		case payload := <-commands:
			if strings.Contains(payload, id) {
				return
			}
		case <-deadline:
			t.Fatal("the device did not receive its command")
		}
	}
}

// testSubscribeCommand receives a command with `bff mqtt sub`, as somebody without mosquitto does.
func testSubscribeCommand(t *testing.T, at site) {
	sub := stack.Start(t, nil, programs.Path(t, "bff"), "mqtt", "sub", "--url", at.MQTT, "-u", "box-0003",
		"-P", at.token(t, "box-0003", "device", time.Hour), "-t", "boxes/box-0003/commands", "--count", "1")
	stack.Eventually(t, arrival, func() error { // a command that is sent before the device has subscribed is not for it
		resp := client.Post(t, at.HTTP+"/v1/boxes/box-0003:command", at.Tokens.Admin, `{"kind": "COMMAND_KIND_BLINK"}`)
		if resp.Status != http.StatusOK {
			t.Fatalf("the command answered %d %s", resp.Status, resp.Body)
		}
		return sub.Wait(200 * time.Millisecond)
	})
	if out := sub.Stdout(); !strings.HasPrefix(out, "boxes/box-0003/commands {") || !strings.Contains(out, "COMMAND_KIND_BLINK") {
		t.Errorf("bff mqtt sub printed %q", out)
	}
}
