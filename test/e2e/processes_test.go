package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // reads the rows of the fleet service

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// healthyWithin is how long a process may take until its health check succeeds, under the race detector on a busy
// machine.
const healthyWithin = 90 * time.Second

// shopServices are the demo's services, in the order in which they are started.
func shopServices() []string { return []string{"catalog", "users", "payments", "orders", "fleet"} }

// startProcesses runs every command line of docker-compose.yml as a plain process and waits for all health checks.
// With embedded set, Portico runs its own broker instead of the external one.
func startProcesses(t *testing.T, embedded bool) (*stack.Site, site) {
	t.Helper()
	return startSite(t, stack.ReadCompose(t), embedded)
}

// startSite is startProcesses for a compose file that the test has changed, with further environment variables.
func startSite(t *testing.T, compose *stack.Compose, embedded bool, env ...string) (*stack.Site, site) {
	t.Helper()
	s := stack.NewSite(t, compose, &programs)
	s.Env = env
	others := []string{"ca", "issuer"}
	var portico []string
	if embedded {
		portico = embeddedBroker(s)
	} else {
		others = append(others, "mosquitto", "redis")
	}
	for _, name := range slices.Concat(others, shopServices()) {
		s.Start(t, name)
	}
	s.Start(t, "portico", portico...)
	for _, name := range slices.Concat(others, shopServices(), []string{"portico"}) {
		if name != "ca" { // it writes files and answers nothing; without them no other would be healthy
			s.Healthy(t, name, healthyWithin)
		}
	}
	at := site{data: s.Dir}
	at.HTTP = "http://" + s.Address("portico", "8080")
	at.MQTT = "tcp://" + s.Address("portico", "1883")
	at.Admin = "http://" + s.Address("portico", "9090")
	key := filepath.Join(s.Dir, "issuer", "issuer.pem")
	at.Tokens.Customer = signWith(t, key, "--subject", "usr-0003", "--role", "customer")
	at.Tokens.Admin = signWith(t, key, "--subject", "usr-0001", "--role", "admin")
	at.Device.ID, at.Device.Username = "box-0006", "box-0006"
	at.Device.Password = signWith(t, key, "--subject", "box-0006", "--role", "device")
	// Portico was up before the services were: its connections to them may be waiting for their next try.
	stack.Eventually(t, healthyWithin, func() error {
		resp := client.Post(t, at.HTTP+"/graphql", at.Tokens.Customer,
			`{"query": "{ me { id } products(first: 1) { nextPageToken } orders(first: 1) { nextPageToken } boxes(first: 1) { nextPageToken } }"}`)
		if strings.Contains(string(resp.Body), `"errors"`) {
			return fmt.Errorf("a service cannot be reached: %s", resp.Body)
		}
		return nil
	})
	return s, at
}

// embeddedBroker is the environment in which Portico runs its own broker instead of the external one.
func embeddedBroker(s *stack.Site) []string {
	return []string{"PORTICO_BROKER=", "PORTICO_STORE=" + filepath.Join(s.Dir, "broker")}
}

// TestComposeFile runs the command lines of docker-compose.yml and uses every door.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	tool(t, "mosquitto", "mosquitto")
	tool(t, "redis-server", "redis-server")
	s, at := startProcesses(t, false)
	t.Run("reading crosses the doors", func(t *testing.T) { testReadingCrossesDoors(t, at) })
	t.Run("order crosses the doors", func(t *testing.T) { testOrderCrossesDoors(t, at) })
	t.Run("command reaches its device", func(t *testing.T) { testCommand(t, at) })
	t.Run("images are pinned and users have no rights", func(t *testing.T) { checkImages(t, stack.ReadCompose(t)) })
	t.Run("ends cleanly", func(t *testing.T) {
		for _, name := range append([]string{"portico", "issuer", "ca"}, shopServices()...) {
			s.Process(name).Signal(t, syscall.SIGTERM)
		}
		for _, name := range append([]string{"portico", "issuer", "ca"}, shopServices()...) {
			if err := s.Process(name).Wait(15 * time.Second); err != nil {
				t.Errorf("%s after SIGTERM: %v", name, err)
			}
		}
	})
}

func checkImages(t *testing.T, c *stack.Compose) {
	for name, container := range c.Services {
		_, tag, ok := strings.Cut(container.Image, ":")
		if container.Build == nil && (!ok || tag == "latest") {
			t.Errorf("%s: the image %q is not pinned", name, container.Image)
		}
		if container.Healthcheck == nil && name != "ca" {
			t.Errorf("%s has no health check", name)
		}
		for _, volume := range container.Volumes {
			volume, _, _ = strings.Cut(volume, ":")
			if _, ok := c.Volumes[volume]; !ok {
				t.Errorf("%s mounts %s, which is no volume", name, volume)
			}
		}
	}
}

// TestFourServicesAreCalledAsPlanned counts the calls of one GraphQL query in the services themselves.
func TestFourServicesAreCalledAsPlanned(t *testing.T) {
	t.Parallel()
	s, at := startMetered(t)
	before := s.calls(t)
	response := client.GraphQL(t, at.HTTP+"/graphql", at.Tokens.Admin, `{
		orders(first: 20) { orders { id customer { displayName } items { product { id title } } } }
		boxes(first: 6) { boxes { id latestReading { celsius } } }
	}`, nil)
	if response["errors"] != nil || client.At(response, "data.orders.orders.19.items.0.product.title") == nil {
		t.Fatalf("answered %v", response)
	}
	want := map[string]float64{
		"shop.orders.v1.OrderService/ListOrders":            1,
		"shop.users.v1.UserService/BatchGetUsers":           1,
		"shop.catalog.v1.CatalogService/BatchGetProducts":   1,
		"shop.fleet.v1.FleetService/ListBoxes":              1,
		"shop.fleet.v1.FleetService/BatchGetLatestReadings": 1,
	}
	after := s.calls(t)
	for method, n := range after {
		if rose := n - before[method]; rose != want[method] && !strings.HasPrefix(method, "grpc.") {
			t.Errorf("%s was called %v times, want %v", method, rose, want[method])
		}
		delete(want, method)
	}
	for method := range want {
		t.Errorf("%s was not called", method)
	}

	// Public answers are shared: once more, and as somebody else, without another call of the catalog.
	before = s.calls(t)
	other := at.token(t, "usr-0004", "customer", time.Hour)
	for _, token := range []string{at.Tokens.Customer, other, ""} {
		if resp := client.Get(t, at.HTTP+"/v1/products?page_size=7", token); resp.Status != http.StatusOK {
			t.Errorf("GET answered %d %s", resp.Status, resp.Body)
		}
	}
	// A product that the GraphQL query has joined is there for REST, too.
	product, _ := client.At(response, "data.orders.orders.0.items.0.product.id").(string)
	if resp := client.Get(t, at.HTTP+"/v1/products/"+product, ""); resp.Status != http.StatusOK {
		t.Errorf("GET answered %d %s", resp.Status, resp.Body)
	}
	after = s.calls(t)
	for method, want := range map[string]float64{"ListProducts": 1, "GetProduct": 0} {
		method = "shop.catalog.v1.CatalogService/" + method
		if rose := after[method] - before[method]; rose != want {
			t.Errorf("%s was called %v times for public answers, want %v", method, rose, want)
		}
	}
}

// metered is a site whose services tell how often they were called.
type metered struct {
	*stack.Site
	metrics map[string]string
}

// startMetered starts the processes with a metrics port for each service.
func startMetered(t *testing.T) (*metered, site) {
	t.Helper()
	compose := stack.ReadCompose(t)
	m := &metered{metrics: map[string]string{}}
	for _, name := range shopServices() {
		c := compose.Services[name]
		m.metrics[name] = stack.FreeAddress(t)
		c.Command = append(slices.Clone(c.Command), "--metrics", m.metrics[name])
		compose.Services[name] = c
	}
	var at site
	m.Site, at = startSite(t, compose, true)
	return m, at
}

// calls are the counters of all services, by full method name.
func (m *metered) calls(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, address := range m.metrics {
		for line := range strings.Lines(string(client.Get(t, "http://"+address+"/metrics", "").Body)) {
			if !strings.HasPrefix(line, "shop_grpc_calls_total{") {
				continue
			}
			_, rest, _ := strings.Cut(line, `method="`)
			method, rest, _ := strings.Cut(rest, `"`)
			n, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all[method] += n
		}
	}
	return all
}

// TestNothingAcknowledgedIsLost kills the fleet service, and then Portico itself, while boxes publish, starts both
// again, and compares what the boxes saw acknowledged with the rows of the service.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	s, at := startProcesses(t, true)
	const boxes, each = 3, 200
	acknowledged := make([]map[int]bool, boxes)
	var publishing sync.WaitGroup
	for b := range boxes {
		acknowledged[b] = map[int]bool{}
		id := fmt.Sprintf("box-%04d", b+1)
		token := at.token(t, id, "device", time.Hour)
		publishing.Go(func() {
			device := reconnect(t, at, id, token)
			for n := range each {
				sequence := 5_000_000 + n
				payload := fmt.Sprintf(`{"celsius": 3, "sequence": "%d", "dedup_key": "%s-%d"}`, sequence, id, sequence)
				if err := device.Publish("boxes/"+id+"/telemetry", payload, 10*time.Second); err == nil {
					acknowledged[b][sequence] = true
				} else {
					device = reconnect(t, at, id, token)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for range 2 {
		time.Sleep(400 * time.Millisecond)
		s.Process("fleet").Kill()
		time.Sleep(400 * time.Millisecond) // what is acknowledged now waits in the broker, and in Portico's memory
		s.Process("portico").Kill()
		s.Start(t, "portico", embeddedBroker(s)...)
		time.Sleep(300 * time.Millisecond)
		s.Start(t, "fleet")
	}
	publishing.Wait()
	s.Healthy(t, "fleet", healthyWithin)
	s.Healthy(t, "portico", healthyWithin)

	var want int
	for _, set := range acknowledged {
		want += len(set)
	}
	if want < boxes*each/2 {
		t.Errorf("only %d of %d readings were acknowledged: the broker must take them while the service is down", want, boxes*each)
	}
	db, err := sql.Open("sqlite", filepath.Join(s.Dir, "fleet", "fleet.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	stack.Eventually(t, 90*time.Second, func() error {
		missing := 0
		for b, set := range acknowledged {
			stored, err := sequences(t.Context(), db, fmt.Sprintf("box-%04d", b+1))
			if err != nil {
				return err
			}
			for sequence := range set {
				if !stored[sequence] {
					missing++
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d acknowledged readings are not stored", missing, want)
		}
		return nil
	})
	t.Logf("%d readings acknowledged, all stored, over two kills of the fleet service and of Portico", want)
}

// reconnect connects a device, as often as it takes.
func reconnect(t *testing.T, at site, id, token string) *client.Device {
	t.Helper()
	for {
		device, err := client.TryDevice(t, at.MQTT, id, token)
		if err == nil || t.Context().Err() != nil {
			return device
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sequences are the stored sequence numbers of a box from this test.
func sequences(ctx context.Context, db *sql.DB, box string) (map[int]bool, error) {
	rows, err := db.QueryContext(ctx, `SELECT sequence FROM readings WHERE box_id = ? AND sequence >= 5000000`, box)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	stored := map[int]bool{}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		if stored[n] {
			return nil, fmt.Errorf("%s has sequence %d twice", box, n)
		}
		stored[n] = true
	}
	return stored, rows.Err()
}
