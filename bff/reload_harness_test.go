package bff_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// adminToken is the token of the configurations below.
const adminToken = "sesame-sesame-sesame"

// reloadable has places for the descriptors, the target of the services, and what follows.
const reloadable = `version: 1
listen: {http: "127.0.0.1:0", mqtt: "127.0.0.1:0", admin: "127.0.0.1:0"}
descriptors: [DESCRIPTORS]
upstreams:
  shop: {target: "TARGET", services: [shop.catalog.v1.CatalogService, shop.fleet.v1.FleetService], tls: none}
auth: {anonymous: true}
methods:
  "shop.catalog.v1.CatalogService/*": {allow: "RULE"}
  "shop.fleet.v1.FleetService/*": {allow: "true"}
mobile: {services: [shop.catalog.v1.CatalogService, shop.fleet.v1.FleetService]STREAMS}
web: {schema: [shop.graphqls]}
admin: {token: "` + adminToken + `"}
drain: 2s
`

// sdl is a schema of a query and a subscription.
const sdl = `
type Query { product(id: ID!): Product @grpc(method: "shop.catalog.v1.CatalogService/GetProduct", input: {product_id: "{args.id}"}) }
type Product { title: String! }
type Subscription { boxReadings(boxId: ID!): Reading! @grpc(method: "shop.fleet.v1.FleetService/WatchReadings") }
type Reading { boxId: String! }
`

// shop serves products at once, and a reading every few milliseconds.
type shop struct {
	catalogv1.UnimplementedCatalogServiceServer
	fleetv1.UnimplementedFleetServiceServer

	ingested chan string // the boxes whose readings were taken; may be nil
}

func (*shop) GetProduct(_ context.Context, r *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	return &catalogv1.Product{ProductId: r.GetProductId(), Title: "Milk"}, nil
}

func (*shop) WatchReadings(r *fleetv1.WatchReadingsRequest, s grpc.ServerStreamingServer[fleetv1.Reading]) error {
	for {
		if err := s.Send(&fleetv1.Reading{BoxId: r.GetBoxId()}); err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (s *shop) IngestReadings(_ context.Context, r *fleetv1.IngestReadingsRequest) (*fleetv1.IngestReadingsResponse, error) {
	out := &fleetv1.IngestReadingsResponse{}
	for _, reading := range r.GetReadings() {
		out.Results = append(out.Results, &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_STORED})
		s.ingested <- reading.GetBoxId()
	}
	return out, nil
}

// start serves the shop until the test ends.
func (s *shop) start(tb testing.TB) (target string) {
	tb.Helper()
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := grpc.NewServer()
	catalogv1.RegisterCatalogServiceServer(server, s)
	fleetv1.RegisterFleetServiceServer(server, s)
	serveGRPC(tb, server, lis)
	return lis.Addr().String()
}

func serveGRPC(tb testing.TB, server *grpc.Server, lis net.Listener) {
	tb.Helper()
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Error(err)
		}
	})
}

// running is a server whose configuration can be rewritten.
type running struct {
	*bff.Server

	tb     testing.TB
	dir    string
	text   string // of the configuration as it was written last
	base   string // URL of the HTTP doors
	client *http.Client
	log    *syncBuffer
	stop   func() error
}

// run serves the reloadable configuration in front of target until the test ends. edit are pairs of what to replace.
func run(tb testing.TB, target string, edit ...string) *running {
	tb.Helper()
	set, err := filepath.Abs("../protos/gen/shop.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	edit = append(edit, "DESCRIPTORS", "{set: "+set+"}", "TARGET", "passthrough:///"+target, "RULE", "true", "STREAMS", "")
	r := &running{tb: tb, dir: tb.TempDir(), log: &syncBuffer{}, client: &http.Client{Transport: &http.Transport{}}}
	r.text = strings.NewReplacer(edit...).Replace(reloadable)
	r.file("shop.graphqls", sdl)
	r.file("portico.yaml", r.text)
	file, err := config.Load(r.path("portico.yaml"), func(string) (string, bool) { return "", false })
	if err != nil {
		tb.Fatal(err)
	}
	if r.Server, err = bff.New(tb.Context(), file, bff.Extensions{Logger: slog.New(slog.NewJSONHandler(r.log, nil))}); err != nil {
		tb.Fatal(err)
	}
	r.base = "http://" + r.Addresses().HTTP.String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		r.client.CloseIdleConnections()
		cancel()
		return <-done
	})
	tb.Cleanup(func() {
		if err := r.stop(); err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *running) path(name string) string { return filepath.Join(r.dir, name) }

func (r *running) file(name, text string) {
	r.tb.Helper()
	write(r.tb, r.path(name), text)
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// edit writes the configuration with something replaced in it.
func (r *running) edit(pairs ...string) {
	r.tb.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(r.text, pairs[i]) {
			r.tb.Fatalf("the configuration has no %s", pairs[i])
		}
	}
	r.file("portico.yaml", strings.NewReplacer(pairs...).Replace(r.text))
}

// reload reloads, which must be fine.
func (r *running) reload() {
	r.tb.Helper()
	if _, err := r.Reload(r.tb.Context()); err != nil {
		r.tb.Fatal(err)
	}
}

// do sends a request and returns status and body, or what went wrong.
func (r *running) do(method, url, body string, header ...string) (int, string) {
	ctx, cancel := context.WithTimeout(r.tb.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func (r *running) product() (int, string) { return r.do(http.MethodGet, r.base+"/v1/products/a", "") }

// admin asks the admin port.
func (r *running) admin(method, path string, header ...string) (int, string) {
	return r.do(method, "http://"+r.Addresses().Admin.String()+path, "", header...)
}

// watch opens the stream of a box and returns its lines.
func (r *running) watch(header ...string) *bufio.Scanner {
	r.tb.Helper()
	req, err := http.NewRequestWithContext(r.tb.Context(), http.MethodGet, r.base+"/v1/boxes/b/readings:watch", http.NoBody)
	if err != nil {
		r.tb.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		r.tb.Fatalf("the stream is answered with %d", resp.StatusCode)
	}
	return bufio.NewScanner(resp.Body)
}

// line reads on to a line that begins with prefix; "" if the stream ends before.
func line(s *bufio.Scanner, prefix string) string {
	for s.Scan() {
		if strings.HasPrefix(s.Text(), prefix) {
			return s.Text()
		}
	}
	return ""
}

// syncBuffer is a buffer for many goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
