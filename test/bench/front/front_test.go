package front_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/test/bench/backend"
	"github.com/portico-bff/portico/test/bench/front"
	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
	"github.com/portico-bff/portico/test/bench/sample"
)

// TestContenders shows that every contender does the whole work: its answers are the service's.
func TestContenders(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := backend.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(lis) }()
	for name, maker := range front.Makers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, release, err := maker(lis.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			web := httptest.NewServer(h)
			t.Cleanup(func() {
				web.Close()
				if err := release(); err != nil {
					t.Error(err)
				}
			})
			order := new(benchv1.Order)
			get(t, web, "/v1/orders/"+sample.ID(backend.Number), order)
			if diff := cmp.Diff(sample.Order(backend.Number), order, protocmp.Transform()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			page := new(benchv1.ListOrdersResponse)
			get(t, web, "/v1/orders?page_size=50", page)
			if diff := cmp.Diff(sample.Page(), page, protocmp.Transform()); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

// get reads an answer, which is JSON or in wire format.
func get(t *testing.T, web *httptest.Server, path string, into proto.Message) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := web.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %s", path, answer.StatusCode, body)
	}
	unmarshal := proto.Unmarshal
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		unmarshal = protojson.Unmarshal
	}
	if err := unmarshal(body, into); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}
