package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// TestDemo starts the demo once and looks at it through all its doors.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo, at := startDemo(t, "--boxes", "1") // a test that logs in as a box throws the simulated one out
	t.Run("commands", func(t *testing.T) { testCommands(t, demo) })
	for name, test := range map[string]func(*testing.T, site){
		"reading crosses the doors":  testReadingCrossesDoors,
		"order crosses the doors":    testOrderCrossesDoors,
		"composed home":              testHome,
		"fields":                     testFields,
		"track":                      testTrack,
		"command reaches its device": testCommand,
		"bff mqtt sub":               testSubscribeCommand,
		"credentials at every door":  testCredentials,
		"foreign order":              testForeignOrder,
		"bad input":                  testBadInput,
		"dead letter":                testDeadLetter,
		"observability":              testObservability,
		"playground":                 testPlayground,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, at)
		})
	}
}

// commands are the lines of the demo's page that are meant to be pasted.
func commands(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		if command, ok := strings.CutPrefix(line, "  "); ok {
			out = append(out, strings.TrimSpace(command))
		}
	}
	return out
}

// testCommands pastes what the demo prints into a shell.
func testCommands(t *testing.T, demo *stack.Process) {
	stack.Eventually(t, 10*time.Second, func() error {
		if len(commands(demo.Stdout())) < 5 {
			return context.DeadlineExceeded
		}
		return nil
	})
	var graphql, rest, watch, mosquitto, pub string
	for _, c := range commands(demo.Stdout()) {
		switch {
		case strings.Contains(c, "/graphql"):
			graphql = c
		case strings.Contains(c, "readings:watch"):
			watch = c
		case strings.Contains(c, "/v1/orders"):
			rest = c
		case strings.HasPrefix(c, "mosquitto_pub"):
			mosquitto = c
		case strings.HasPrefix(c, "go run ./cmd/bff mqtt pub"):
			pub = c
		default:
			t.Errorf("the demo prints a command that nothing tests: %s", c)
		}
	}
	tool(t, "curl", "curl")
	answer := shell(t, graphql)
	var response map[string]any
	if err := json.Unmarshal([]byte(answer), &response); err != nil || response["errors"] != nil {
		t.Errorf("the GraphQL command printed %s", answer)
	}
	for _, path := range []string{
		"data.orders.orders.0.id", "data.orders.orders.0.customer.displayName", "data.orders.orders.0.items.0.product.title",
		"data.boxes.boxes.0.latestReading.celsius",
	} {
		if client.At(response, path) == nil {
			t.Errorf("the GraphQL command's answer has nothing at %s: %s", path, answer)
		}
	}
	answer = shell(t, rest)
	if !strings.Contains(answer, `"orderId"`) || strings.Contains(answer, `"items"`) {
		t.Errorf("the REST command printed %s", answer)
	}

	watching := stack.Start(t, nil, "/bin/sh", "-c", watch)
	publish := func(command, celsius string) {
		t.Helper()
		// The stream must be open before the reading is published; publishing again until it shows is what a user does.
		stack.Eventually(t, 60*time.Second, func() error {
			shell(t, command)
			time.Sleep(200 * time.Millisecond)
			if !strings.Contains(watching.Stdout(), celsius) {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	publish(pub, "3.6")
	if tool(t, "mosquitto_pub", "mosquitto-clients") != "" {
		publish(mosquitto, "3.5")
	}
}

// shell runs a command line at the top of the repository and returns what it printed.
func shell(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // the first `go run` may have to build
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = stack.Root()
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			stderr = exit.Stderr
		}
		t.Fatalf("%s: %v\n%s%s", command, err, out, stderr)
	}
	return string(out)
}

// TestDemoEndsCleanly interrupts the demo while clients of every kind hang on to it.
func TestDemoEndsCleanly(t *testing.T) {
	t.Parallel()
	demo, at := startDemo(t)
	sse := client.SSE(t, at.HTTP+"/v1/boxes/box-0001/readings:watch", at.Tokens.Customer)
	subscription := client.Subscribe(t, at.HTTP+"/graphql", at.Tokens.Customer,
		`subscription { boxReadings(boxId: "box-0001") { celsius } }`, nil)
	device := client.Connect(t, at.MQTT, at.Device.ID, at.Device.Password)
	took := demo.Stop(t, 10*time.Second)
	t.Logf("the demo ended %s after the interrupt", took)
	if took > 5*time.Second {
		t.Errorf("the demo took %s to end, want at most 5s", took)
	}
	if code := subscription.Closed(t, 5*time.Second); code != websocket.StatusGoingAway {
		t.Errorf("the subscription was closed with %d, want %d", code, websocket.StatusGoingAway)
	}
	for {
		if _, ok := sse.Next(t, 5*time.Second); !ok {
			break
		}
	}
	select {
	case reason := <-device.Lost():
		t.Log("the device lost its connection:", reason)
	case <-time.After(5 * time.Second):
		t.Error("the device still believes to be connected")
	}
}

// TestDemoReopensItsData keeps an order over a restart.
func TestDemoReopensItsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	demo, info := stack.Demo(t, &programs, "--data", dir, "--boxes", "0")
	at := site{info, dir}
	order := createOrder(t, at)
	demo.Stop(t, 10*time.Second)
	_, again := stack.Demo(t, &programs, "--data", dir, "--boxes", "0")
	// The token of the first run is still good: the issuer's key is in the folder.
	if resp := client.Get(t, again.HTTP+"/v1/orders/"+order, at.Tokens.Customer); resp.Status != 200 {
		t.Errorf("the order of the first run: %d %s", resp.Status, resp.Body)
	}
}

// TestDemoWithATakenPort must say so in one line.
func TestDemoWithATakenPort(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, flag := range []string{"--http", "--mqtt", "--admin"} {
		args := []string{"--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", flag, taken.Addr().String()}
		p := stack.Start(t, nil, programs.Path(t, "demo"), args...)
		if err := p.Wait(60 * time.Second); err == nil {
			t.Errorf("%s: the demo ended without an error", flag)
		}
		want := "demo: " + taken.Addr().String() + " is taken by another program, expected a free port\n"
		if got := p.Stderr(); got != want {
			t.Errorf("%s: the demo printed %q, want %q", flag, got, want)
		}
	}
}

// TestDemoIsKilled shows that a demo that was killed starts again with its data.
func TestDemoIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	demo, info := stack.Demo(t, &programs, "--data", dir, "--boxes", "0")
	at := site{info, dir}
	order := createOrder(t, at)
	demo.Signal(t, syscall.SIGKILL)
	_ = demo.Wait(5 * time.Second)
	_, again := stack.Demo(t, &programs, "--data", dir, "--boxes", "0")
	if resp := client.Get(t, again.HTTP+"/v1/orders/"+order, again.Tokens.Customer); resp.Status != 200 {
		t.Errorf("the order from before the kill: %d %s", resp.Status, resp.Body)
	}
}
