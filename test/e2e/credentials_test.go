package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/e2e/client"
)

// testCredentials shows what each door answers to no token, bad tokens and tokens that are not enough.
func testCredentials(t *testing.T, at site) {
	foreign := foreignKey(t)
	expired := at.token(t, "usr-0003", "customer", time.Second)
	expiredDevice := at.token(t, "box-0004", "device", time.Second)
	stillGood := time.Now().Add(time.Second + 31*time.Second) // the leeway for clocks is 30s
	bad := map[string]string{
		"garbage":        "abc.def.ghi",
		"foreign key":    signWith(t, foreign, "--subject", "usr-0003", "--role", "customer"),
		"wrong audience": at.sign(t, "--subject", "usr-0003", "--role", "customer", "--audience", "somebody-else"),
		"wrong issuer":   at.sign(t, "--subject", "usr-0003", "--role", "customer", "--issuer", "https://id.example.com"),
		"altered":        at.Tokens.Customer[:len(at.Tokens.Customer)-6] + "AAAAAA",
	}
	for name, token := range bad {
		checkBadToken(t, at, name, token, strings.Replace(token, "usr-0003", "box-0004", 1))
	}

	// No token: products are for everybody, the rest is not.
	if resp := client.Get(t, at.HTTP+"/v1/products/prd-0001", ""); resp.Status != http.StatusOK {
		t.Errorf("products without a token: %d %s", resp.Status, resp.Body)
	}
	resp := client.Get(t, at.HTTP+"/v1/orders", "")
	if resp.Status != http.StatusUnauthorized || resp.JSON(t)["status"] != 401.0 || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("orders without a token: %d %v %s", resp.Status, resp.Header, resp.Body)
	}
	mixed := client.GraphQL(t, at.HTTP+"/graphql", "", `{ products(first: 1) { products { id } } orders { orders { id } } }`, nil)
	if client.At(mixed, "data.products.products.0.id") == nil || client.At(mixed, "errors.0.extensions.code") != "UNAUTHENTICATED" ||
		client.At(mixed, "errors.0.path.0") != "orders" {
		t.Errorf("a mixed query without a token: %v", mixed)
	}
	if _, err := client.TryDevice(t, at.MQTT, "box-0004", ""); err == nil {
		t.Error("a device without a token was let in")
	}

	// A good token that is not enough.
	resp = client.Post(t, at.HTTP+"/v1/boxes/box-0001:command", at.Tokens.Customer, `{"kind": "COMMAND_KIND_BLINK"}`)
	if resp.Status != http.StatusForbidden || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("a customer's command over REST: %d %s", resp.Status, resp.Body)
	}
	forbidden := client.GraphQL(t, at.HTTP+"/graphql", at.Tokens.Customer, `mutation { sendCommand(boxId: "box-0001", kind: BLINK) { id } }`, nil)
	if client.At(forbidden, "errors.0.extensions.code") != "FORBIDDEN" {
		t.Errorf("a customer's command over GraphQL: %v", forbidden)
	}
	device := client.Connect(t, at.MQTT, "box-0004", at.token(t, "box-0004", "device", time.Hour))
	if _, err := device.Subscribe("boxes/box-0001/commands"); err == nil {
		t.Error("a device subscribed to another one's commands")
	}
	if err := device.Publish("boxes/box-0001/telemetry", `{"celsius": 1}`, 5*time.Second); err == nil {
		t.Error("a device published another one's reading")
	}
	select {
	case reason := <-device.Lost():
		t.Log("the device lost its connection:", reason)
	case <-time.After(5 * time.Second):
		t.Error("a forbidden PUBLISH did not close the connection")
	}
	if _, err := client.TryDevice(t, at.MQTT, "box-0003", at.token(t, "box-0004", "device", time.Hour)); err == nil {
		t.Error("a device logged in under another one's id")
	}
	if _, err := client.TryDevice(t, at.MQTT, "usr-0003", at.Tokens.Customer); err == nil {
		t.Error("a customer logged in as a device")
	}

	time.Sleep(time.Until(stillGood))
	checkBadToken(t, at, "expired", expired, expiredDevice)
}

// checkBadToken shows that a bad token is refused at once at every door, also where no token would do.
func checkBadToken(t *testing.T, at site, name, token, deviceToken string) {
	t.Helper()
	resp := client.Get(t, at.HTTP+"/v1/products/prd-0001", token)
	if resp.Status != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("%s at the mobile door: %d %v", name, resp.Status, resp.Header)
	}
	resp = client.Post(t, at.HTTP+"/graphql", token, `{"query": "{ products(first: 1) { products { id } } }"}`)
	if resp.Status != http.StatusUnauthorized {
		t.Errorf("%s at the web door: %d %s", name, resp.Status, resp.Body)
	}
	if _, err := client.TryDevice(t, at.MQTT, "box-0004", deviceToken); err == nil {
		t.Errorf("%s at the IoT door: let in", name)
	}
}

// foreignKey writes a key that is not the issuer's.
func foreignKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "foreign.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testForeignOrder shows that somebody else's order does not exist, at every door and in lists and batches.
func testForeignOrder(t *testing.T, at site) {
	id := createOrder(t, at)
	other := at.token(t, "usr-0004", "customer", time.Hour)
	if resp := client.Get(t, at.HTTP+"/v1/orders/"+id, other); resp.Status != http.StatusNotFound {
		t.Errorf("a foreign order over REST: %d %s", resp.Status, resp.Body)
	}
	if resp := client.Post(t, at.HTTP+"/v1/orders/"+id+":cancel", other, `{}`); resp.Status != http.StatusNotFound {
		t.Errorf("cancelling a foreign order: %d %s", resp.Status, resp.Body)
	}
	response := client.GraphQL(t, at.HTTP+"/graphql", other, `query($id: ID!) { order(id: $id) { id } }`, map[string]any{"id": id})
	if client.At(response, "data.order") != nil || client.At(response, "errors.0.extensions.code") != "NOT_FOUND" {
		t.Errorf("a foreign order over GraphQL: %v", response)
	}
	if resp := client.Get(t, at.HTTP+"/v1/orders?page_size=100", other); strings.Contains(string(resp.Body), id) {
		t.Error("a foreign order is in the list")
	}
	if resp := client.Get(t, at.HTTP+"/v1/orders/"+id, at.Tokens.Admin); resp.Status != http.StatusOK {
		t.Errorf("the order for an admin: %d %s", resp.Status, resp.Body)
	}
	// Who a client is comes from its token alone: names that we set are never taken from it.
	resp := client.Get(t, at.HTTP+"/v1/orders/"+id, other, "X-User-Id", "usr-0003", "X-User-Role", "admin", "Grpc-Metadata-X-User-Id", "usr-0003")
	if resp.Status != http.StatusNotFound {
		t.Errorf("a foreign order with a forged identity: %d %s", resp.Status, resp.Body)
	}
}
