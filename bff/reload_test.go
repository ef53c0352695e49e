package bff_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
)

// TestReloadDropsNothing reloads under load: no request fails, and streams go on.
func TestReloadDropsNothing(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	events := r.watch()
	socket := subscribe(t, r)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	counts := make([]int, 4)
	load := func(i int, do func() (int, string), want string) {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := do(); status != http.StatusOK || !strings.Contains(body, want) {
					t.Errorf("client %d is answered with %d %s", i, status, body)
					return
				}
				counts[i]++
			}
		})
	}
	for i := range 2 {
		load(i, r.product, `"title":"Milk"`)
		load(2+i, func() (int, string) {
			return r.do(http.MethodPost, r.base+"/graphql", `{"query":"{ product(id: \"a\") { title } }"}`, "Content-Type", "application/json")
		}, `{"data":{"product":{"title":"Milk"}}}`)
	}
	const reloads = 40
	for i := range reloads {
		if i%2 == 0 {
			r.edit(`{allow: "true"}`, `{allow: "now != null"}`)
		} else {
			r.edit()
		}
		r.reload()
	}
	for range 20 {
		if line(events, "data:") == "" {
			t.Fatalf("the stream of events has ended: %v", events.Err())
		}
		readSocket(t, socket)
	}
	close(stop)
	clients.Wait()
	for i, n := range counts {
		if n == 0 {
			t.Errorf("client %d was never answered", i)
		}
	}
	if _, text := r.admin(http.MethodGet, "/metrics"); !strings.Contains(text, `portico_config_reloads_total{result="success"} 40`) ||
		!strings.Contains(text, "portico_config_last_reload_successful 1") || !strings.Contains(text, "portico_config_last_reload_success_timestamp_seconds 1") {
		t.Error("the metrics do not tell of the reloads")
	}
}

// subscribe opens a WebSocket that watches a box.
func subscribe(t *testing.T, r *running) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), r.base+"/graphql", &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"}, HTTPClient: r.client,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	for _, text := range []string{
		`{"type":"connection_init"}`, `{"type":"subscribe","id":"1","payload":{"query":"subscription { boxReadings(boxId: \"b\") { boxId } }"}}`,
	} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, text, err := conn.Read(t.Context()); err != nil || string(text) != `{"type":"connection_ack"}` {
		t.Fatalf("got %s, %v", text, err)
	}
	readSocket(t, conn)
	return conn
}

func readSocket(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if _, text, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(text), `{"data":{"boxReadings":{"boxId":"b"}}}`) {
		t.Fatalf("the subscription brings %s, %v", text, err)
	}
}

// TestReloadRefuses wants everything that is wrong reported, and nothing changed by it.
func TestReloadRefuses(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	for name, test := range map[string]struct {
		edit []string
		want []string
	}{
		"no YAML": {[]string{"version: 1", "version: [1"}, []string{"portico.yaml:"}},
		"many mistakes": {
			[]string{`{allow: "true"}`, `{allow: "nobody"}`, "[shop.graphqls]", "[nowhere.graphqls]", "drain: 2s", "drain: 2s\nlimits: [{per: address, rate: 1/s, burst: 99999999999}]"},
			[]string{"portico.yaml:8:", "portico.yaml:9:", "nobody", "nowhere.graphqls", "portico.yaml:14:"},
		},
		"sections of the process": {
			[]string{"mqtt: \"127.0.0.1:0\"", "mqtt: \"127.0.0.1:1\"", "drain: 2s", "drain: 2s\ntelemetry: {otlp: {endpoint: \"127.0.0.1:1\", insecure: true}}\nlimits_http: {write_timeout: 2s}"},
			[]string{"portico.yaml:2:1: listen has changed", "portico.yaml:14:1: telemetry has changed", "portico.yaml:15:30: write_timeout has changed", "needs a restart"},
		},
		"sections that come or go": {
			[]string{"drain: 2s", "iot: {broker: {external: {url: \"tcp://127.0.0.1:1\"}}, acl: {}}"},
			[]string{"portico.yaml:13:", "iot has changed and cannot while the server runs"},
		},
	} {
		r.edit(test.edit...)
		_, err := r.Reload(t.Context())
		if problems, ok := errors.AsType[config.Problems](err); !ok || len(problems) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %q in it", name, err, want)
			}
		}
		if status, body := r.product(); status != http.StatusOK {
			t.Errorf("%s: afterwards %d %s", name, status, body)
		}
	}
	if err := os.Remove(r.path("portico.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if _, text := r.admin(http.MethodGet, "/metrics"); !strings.Contains(text, `portico_config_reloads_total{result="failure"} 5`) ||
		!strings.Contains(text, "portico_config_last_reload_successful 0") {
		t.Error("the metrics do not tell of the failures")
	}
	if !strings.Contains(r.log.String(), "the configuration was not reloaded, nothing has changed") {
		t.Error("the log does not tell of the failures")
	}
}

// TestReloadFindsWhatCheckFinds wants every mistake of a check to be one of a reload, too.
func TestReloadFindsWhatCheckFinds(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t), "drain: 2s", `drain: 2s
iot:
  broker: {embedded: {store: mqtt}}
  acl: {publish: ["boxes/{device}/telemetry"]}
  uplinks:
    - {topic: "boxes/{box_id}/telemetry", method: shop.fleet.v1.FleetService/IngestReadings, into: readings}`)
	r.edit(`CatalogService/*": {allow: "true"}`, `CatalogService/*": {allow: "nobody"}`, "[shop.graphqls]", "[nowhere.graphqls]",
		"FleetService/IngestReadings", "FleetService/IngestNothing")
	file, err := config.Load(r.path("portico.yaml"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	_, err = bff.Check(t.Context(), file)
	found, _ := errors.AsType[config.Problems](err)
	_, err = r.Reload(t.Context())
	if len(found) < 3 || err == nil {
		t.Fatalf("found %v, then %v", found, err)
	}
	for _, p := range found {
		if !strings.Contains(err.Error(), p.String()) {
			t.Errorf("the reload does not tell of %s", p)
		}
	}
}

// TestReloadTellsNoSecrets wants the log and the answer to name the place of a bad token, and not what stands there.
func TestReloadTellsNoSecrets(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	token := []string{"Authorization", "Bearer " + adminToken}
	for _, secret := range []string{"sesame", "sesame sesame sesame"} {
		r.edit(adminToken, secret)
		status, body := r.admin(http.MethodPost, "/reload", token...)
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, "expected a token of 16 characters or more") || strings.Contains(body, "sesame") {
			t.Errorf("answered %d %s", status, body)
		}
	}
	r.edit("admin: {", "admin: {tokn: x, ") // in the line of a good one
	if status, body := r.admin(http.MethodPost, "/reload", token...); status != http.StatusUnprocessableEntity || strings.Contains(body, "sesame") {
		t.Errorf("answered %d %s", status, body)
	}
	if log := r.log.String(); strings.Count(log, "portico.yaml:12:") != 3 || strings.Contains(log, "sesame") {
		t.Errorf("the log says %s", log)
	}
}

// TestReloadChanges wants rules, the schema and the door's routes to be those of the file.
func TestReloadChanges(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	r.edit(`CatalogService/*": {allow: "true"}`, `CatalogService/*": {allow: "false"}`)
	r.reload()
	if status, body := r.product(); status != http.StatusUnauthorized {
		t.Errorf("a rule that denies: %d %s", status, body)
	}
	r.edit("mobile: {services: [shop.catalog.v1.CatalogService, ", "mobile: {services: [")
	r.file("shop.graphqls", strings.Replace(sdl, "product(id", "ware(id", 1))
	r.reload()
	if status, body := r.product(); status != http.StatusNotFound {
		t.Errorf("a service that is not listed any more: %d %s", status, body)
	}
	_, body := r.do(http.MethodPost, r.base+"/graphql", `{"query":"{ ware(id: \"a\") { title } }"}`, "Content-Type", "application/json")
	if body != `{"data":{"ware":{"title":"Milk"}}}` {
		t.Errorf("a field of the new schema: %s", body)
	}
	r.edit("web: {", "web: {path: /gql, ")
	r.reload()
	if status, _ := r.do(http.MethodPost, r.base+"/graphql", "{}", "Content-Type", "application/json"); status != http.StatusNotFound {
		t.Errorf("the door's earlier path is answered with %d", status)
	}
}

// TestReloadOverAdmin wants the admin port to reload for who has the token alone, and to tell how it went.
func TestReloadOverAdmin(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	for _, header := range [][]string{nil, {"Authorization", "Bearer " + adminToken + "x"}, {"Authorization", "Basic " + adminToken}} {
		if status, _ := r.admin(http.MethodPost, "/reload", header...); status != http.StatusUnauthorized {
			t.Errorf("%v: %d", header, status)
		}
	}
	token := []string{"Authorization", "Bearer " + adminToken}
	if status, body := r.admin(http.MethodPost, "/reload", token...); status != http.StatusOK || body != "{\n  \"reloaded\": true\n}\n" {
		t.Errorf("answered %d %s", status, body)
	}
	if status, _ := r.admin(http.MethodGet, "/reload", token...); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
	r.edit(`{allow: "true"}`, `{allow: "nobody"}`)
	status, body := r.admin(http.MethodPost, "/reload", token...)
	var outcome struct {
		Reloaded bool
		Mistakes []struct {
			File         string
			Line, Column int
			Text         string
		}
	}
	if err := json.Unmarshal([]byte(body), &outcome); err != nil || status != http.StatusUnprocessableEntity || outcome.Reloaded || len(outcome.Mistakes) != 2 ||
		outcome.Mistakes[0].File != r.path("portico.yaml") || outcome.Mistakes[0].Line != 8 || outcome.Mistakes[0].Column == 0 ||
		!strings.Contains(outcome.Mistakes[0].Text, "nobody") {
		t.Errorf("mistakes: %d %s %v", status, body, err)
	}
	r.edit(`admin: {token: "`+adminToken+`"}`, "admin: {}")
	r.reload()
	if status, body := r.admin(http.MethodPost, "/reload", token...); status != http.StatusForbidden || !strings.Contains(body, "SIGHUP") {
		t.Errorf("without a token in the configuration: %d %s", status, body)
	}
}

// TestReloadKeepsCounting wants limits that stay as they are to go on, and those that change to begin anew.
func TestReloadKeepsCounting(t *testing.T) {
	t.Parallel()
	const before, after = "limits: [{per: address, rate: 1/h, burst: 3}]\n", "limits: [{per: address, rate: 1/h, burst: 2}]\n"
	r := run(t, (&shop{}).start(t), "drain: 2s\n", "drain: 2s\n"+before)
	statuses := func(n int) (out []int) {
		for range n {
			status, _ := r.product()
			out = append(out, status)
			r.reload()
		}
		return out
	}
	if got := statuses(4); got[2] != http.StatusOK || got[3] != http.StatusTooManyRequests {
		t.Errorf("answered %v", got)
	}
	r.edit(before, after)
	r.reload()
	if got := statuses(3); got[1] != http.StatusOK || got[2] != http.StatusTooManyRequests {
		t.Errorf("with another limit: %v", got)
	}
}

// TestReloadEndsStreams wants streams of an earlier configuration to end, with a reason, when they have lingered.
func TestReloadEndsStreams(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]string{
		"of clients": "", "of event logs": `, streams: {"shop.fleet.v1.FleetService/WatchReadings": {resume: 1m}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endsStreams(t, streams)
		})
	}
}

func endsStreams(t *testing.T, streams string) {
	t.Helper()
	r := run(t, (&shop{}).start(t), "STREAMS", streams, "drain: 2s", "drain: 300ms\nlinger: 50ms")
	events, socket := r.watch(), subscribe(t, r)
	if line(events, "data:") == "" {
		t.Fatal("no events")
	}
	r.reload()
	wantEnd(t, events, "the configuration has changed, please connect again")
	wantClose(t, socket, websocket.StatusServiceRestart, "the configuration has changed; connect again")
	if line(r.watch(), "data:") == "" {
		t.Error("no events after the reload")
	}
	time.Sleep(500 * time.Millisecond) // the time to drain, and more
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "cut off") {
		t.Errorf("something had to be cut off: %s", r.log)
	}
}

// wantEnd reads on to the error that a stream of events ends with.
func wantEnd(t *testing.T, events *bufio.Scanner, detail string) {
	t.Helper()
	if line(events, "event: error") == "" {
		t.Errorf("the stream of events ended without a word: %v", events.Err())
	} else if got := line(events, "data:"); !strings.Contains(got, `"UNAVAILABLE"`) || !strings.Contains(got, detail) {
		t.Errorf("the stream of events ended with %s, want %q", got, detail)
	}
}

// wantClose reads on to the end of a WebSocket.
func wantClose(t *testing.T, socket *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	for {
		_, _, err := socket.Read(t.Context())
		if err == nil {
			continue
		}
		if closed, ok := errors.AsType[websocket.CloseError](err); !ok || closed.Code != code || closed.Reason != reason {
			t.Errorf("the WebSocket ended with %v, want %d %s", err, code, reason)
		}
		return
	}
}

// TestReloadThenStop wants streams of an earlier configuration to be told the truth when the server stops.
func TestReloadThenStop(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	events, socket := r.watch(), subscribe(t, r)
	r.reload()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	wantEnd(t, events, "the server is going down, please connect again")
	wantClose(t, socket, websocket.StatusGoingAway, "the server is shutting down")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestReloadBoundsLingering wants the oldest of many earlier configurations to give way.
func TestReloadBoundsLingering(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	first := r.watch()
	for range 8 {
		r.reload()
		r.watch() // keeps each of them
	}
	if line(first, "data:") == "" {
		t.Error("the first stream has ended too early")
	}
	r.reload()
	if line(first, "event: error") == "" {
		t.Errorf("the first stream ended without a word: %v", first.Err())
	}
}

// TestReloadKeepsEventLogs wants a client that comes back after reloads to be given what it has missed.
func TestReloadKeepsEventLogs(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t), "STREAMS", `, streams: {"shop.fleet.v1.FleetService/WatchReadings": {resume: 1m}}`)
	r.reload()
	events := r.watch()
	id := strings.TrimPrefix(line(events, "id:"), "id:")
	for range 3 {
		r.reload()
		back := r.watch("Last-Event-ID", strings.TrimSpace(id))
		next := strings.TrimPrefix(line(back, "id:"), "id:")
		if at, _, ok := strings.Cut(next, "-"); !ok || !strings.HasPrefix(id, at+"-") {
			t.Fatalf("after %s comes %s", id, next)
		}
		id = next
	}
	_, text := r.admin(http.MethodGet, "/metrics")
	if !strings.Contains(text, `portico_event_replays_total{rpc="shop.fleet.v1.FleetService/WatchReadings"} 3`) || strings.Contains(text, "portico_event_gaps_total{") {
		t.Error("the metrics tell of gaps")
	}
}

// TestReloadKeepsPersistedQueries wants clients not to have to send their queries again after reloads, whatever the schema.
func TestReloadKeepsPersistedQueries(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	const query = `{ product(id: \"a\") { title } }`
	hash := fmt.Sprintf(`"extensions":{"persistedQuery":{"version":1,"sha256Hash":"%x"}}`, sha256.Sum256([]byte(strings.ReplaceAll(query, `\`, ""))))
	ask := func(body, want string) {
		t.Helper()
		_, got := r.do(http.MethodPost, r.base+"/graphql", body, "Content-Type", "application/json")
		if !strings.Contains(got, want) {
			t.Errorf("answered with %s, want %s", got, want)
		}
	}
	ask(`{"query":"`+query+`",`+hash+`}`, `"title":"Milk"`)
	r.reload()
	ask(`{`+hash+`}`, `"title":"Milk"`)
	r.file("shop.graphqls", strings.Replace(sdl, "title: String!", "title: String! @deprecated stock: Int!", 1))
	r.reload()
	ask(`{`+hash+`}`, `"title":"Milk"`)
	r.file("shop.graphqls", strings.Replace(sdl, "product(id", "ware(id", 1))
	r.reload()
	ask(`{`+hash+`}`, "Cannot query field")
}

// TestReloadsAtOnce wants reloads one after the other, none while the server stops.
func TestReloadsAtOnce(t *testing.T) {
	t.Parallel()
	r := run(t, (&shop{}).start(t))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := r.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Reload(ctx); err == nil {
		t.Error("a reload that nobody waits for any more went on")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := r.Reload(t.Context()); !errors.Is(err, bff.ErrStopping) {
		t.Errorf("when stopped: %v", err)
	}
}

// TestReloadsLeakNothing counts what many reloads leave behind.
func TestReloadsLeakNothing(t *testing.T) { //nolint:paralleltest // it counts everybody's goroutines and memory
	r := run(t, (&shop{}).start(t))
	measure := func() (goroutines int, heap uint64) {
		deadline := time.Now().Add(5 * time.Second)
		for goroutines = runtime.NumGoroutine(); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			now := runtime.NumGoroutine()
			if now >= goroutines && time.Until(deadline) < 4500*time.Millisecond {
				break
			}
			goroutines = min(now, goroutines)
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return goroutines, m.HeapAlloc
	}
	reload := func(n int) {
		for range n {
			r.reload()
			if status, body := r.product(); status != http.StatusOK {
				t.Fatalf("answered %d %s", status, body)
			}
		}
	}
	reload(10)
	goroutines, heap := measure()
	reload(100)
	moreGoroutines, moreHeap := measure()
	if moreGoroutines > goroutines+10 {
		t.Errorf("%d goroutines, %d after 100 reloads", goroutines, moreGoroutines)
	}
	if moreHeap > heap+8<<20 { // a runtime of the shop's descriptors is about 1 MiB
		t.Errorf("%d bytes, %d after 100 reloads", heap, moreHeap)
	}
	t.Logf("goroutines %d -> %d, heap %d -> %d", goroutines, moreGoroutines, heap, moreHeap)
}
