package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	"github.com/portico-bff/portico/mesh"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

// program is a subcommand that runs until the test ends.
type program struct {
	stop  context.CancelFunc
	ended chan error

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(text)
}

func begin(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &program{stop: stop, ended: make(chan error, 1)}
	go func() { p.ended <- run(ctx, args, p, p) }()
	t.Cleanup(func() {
		stop()
		if err := <-p.ended; err != nil {
			t.Errorf("%v: %v", args, err)
		}
	})
	return p
}

// address waits for the log line with this message, and returns its address.
func (p *program) address(t *testing.T, message string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		log := p.log.String()
		p.mu.Unlock()
		for line := range strings.Lines(log) {
			var entry struct{ Msg, Address string }
			if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Msg == message {
				return entry.Address
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the log:\n%s", message, log)
		}
	}
}

// output runs a subcommand that ends by itself.
func output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	err := run(t.Context(), args, &stdout, io.Discard)
	return stdout.String(), err
}

// The shop as separate programs: identities over the Workload API for some and as files
// for others, orders talking to two more, health checks by each own identity.
func TestPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sockets, files, data := filepath.Join(dir, "agent"), filepath.Join(dir, "identity"), filepath.Join(dir, "data")
	begin(t, "ca", "--sockets", sockets, "--files", files, "--dir", filepath.Join(dir, "ca"), "--ttl", "10s").address(t, "issuing")
	socket := func(name string) string { return "unix://" + filepath.Join(sockets, name+".sock") }

	catalog := begin(t, "catalog", "--listen", "127.0.0.1:0", "--data", data, "--workload-api", socket("catalog")).address(t, "serving")
	payments := begin(t, "payments", "--listen", "127.0.0.1:0", "--data", data, "--identity-dir", filepath.Join(files, "payments")).address(t, "serving")
	started := begin(t, "orders", "--listen", "127.0.0.1:0", "--data", data, "--workload-api", socket("orders"),
		"--catalog", catalog, "--payments", payments, "--metrics", "127.0.0.1:0")
	orders := started.address(t, "serving")

	for name, address := range map[string]string{"catalog": catalog, "payments": payments, "orders": orders} {
		for _, identity := range [][]string{{"--workload-api", socket(name)}, {"--identity-dir", filepath.Join(files, name)}} {
			if _, err := output(t, append([]string{"health", "--target", address}, identity...)...); err != nil {
				t.Errorf("%s by %v: %v", name, identity, err)
			}
		}
	}
	if _, err := output(t, "health", "--target", catalog, "--workload-api", socket("portico"), "--expect", policy.ID("users").String()); err == nil {
		t.Error("the catalog passed for users")
	}
	if _, err := output(t, "health", "--target", catalog, "--workload-api", socket("catalog"), "--service", "shop.users.v1.UserService"); err == nil {
		t.Error("the catalog serves users")
	}

	identity, err := mesh.FileIdentity(t.Context(), mesh.FileOptions{Dir: filepath.Join(files, "portico")})
	if err != nil {
		t.Fatal(err)
	}
	defer identity.Close()
	joined, err := mesh.New(t.Context(), mesh.Options{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	conn, err := joined.NewClient(orders, mesh.ExpectIdentity(policy.ID("orders").String()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	order, err := ordersv1.NewOrderServiceClient(conn).CreateOrder(servicetest.As(t.Context(), seed.CustomerID, "customer"),
		&ordersv1.CreateOrderRequest{Items: []*ordersv1.OrderItem{{ProductId: "prd-0001", Quantity: 1}}})
	if err != nil || order.GetState() != ordersv1.OrderState_ORDER_STATE_PAID {
		t.Errorf("got %v, %v", order, err)
	}

	url := "http://" + started.address(t, "serving HTTP") + "/metrics"
	if text := get(t, url); !strings.Contains(text, `shop_grpc_calls_total{method="shop.orders.v1.OrderService/CreateOrder"} 1`) {
		t.Errorf("metrics:\n%s", text)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	address := begin(t, "issuer", "--data", data, "--listen", "127.0.0.1:0").address(t, "serving HTTP")
	url := "http://" + address + "/.well-known/jwks.json"
	if _, err := output(t, "health", "--url", url); err != nil {
		t.Error(err)
	}
	if _, err := output(t, "health", "--url", "http://"+address+"/other"); err == nil {
		t.Error("a page that is not there is well")
	}
	token, err := output(t, "issuer", "token", "--data", data, "--subject", "usr-0003", "--role", "customer", "--role", "tester", "--claim", "kind=user")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimSpace(token), ".")
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	if kid := fmt.Sprint(header["kid"]); !strings.Contains(get(t, url), `"`+kid+`"`) {
		t.Errorf("kid %s is not served", kid)
	}
	if claims["sub"] != "usr-0003" || fmt.Sprint(claims["roles"]) != "[customer tester]" || claims["kind"] != "user" {
		t.Errorf("claims %v", claims)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"grocer"}, `unknown command "grocer"`},
		{[]string{"catalog"}, "at least one of the flags in the group [workload-api identity-dir]"},
		{[]string{"catalog", "--workload-api", "unix:///a", "--identity-dir", "/b"}, "none of the others can be"},
		{[]string{"catalog", "--identity-dir", "x", "--listen", "nowhere"}, "nowhere"},
		{[]string{"catalog", "--identity-dir", "x", "--listen", "127.0.0.1:0", "extra"}, "unknown command"},
		{[]string{"ca"}, "at least one of the flags in the group [sockets files]"},
		{[]string{"ca", "--files", t.TempDir(), "--trust-domain", "Not A Domain"}, "trust domain"},
		{[]string{"issuer", "token", "--data", t.TempDir()}, "--subject"},
		{[]string{"issuer", "token", "--data", t.TempDir(), "--subject", "x", "--ttl", "-1s"}, "--ttl"},
		{[]string{"health"}, "at least one of the flags"},
		{[]string{"catalog", "--identity-dir", identityDir(t), "--listen", "127.0.0.1:0", "--policy", missing}, "missing.yaml"},
	} {
		if _, err := output(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.args, err, tt.want)
		}
	}
}

// identityDir returns a folder with an identity.
func identityDir(t *testing.T) string {
	t.Helper()
	ca, err := mesh.NewDevCA(mesh.DevCAOptions{TrustDomain: policy.TrustDomain})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	dir := t.TempDir()
	if err := ca.WriteFiles(t.Context(), dir, "catalog"); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "catalog")
}
