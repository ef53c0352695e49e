package e2e_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/test/e2e/client"
	"github.com/portico-bff/portico/test/e2e/stack"
)

// receiver takes traces by OTLP and remembers which services have sent spans of which trace.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu     sync.Mutex
	traces map[string]map[string][]string // trace id -> service -> span names; guarded by mu
}

// Export takes spans.
func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range req.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				id := hex.EncodeToString(span.GetTraceId())
				if r.traces[id] == nil {
					r.traces[id] = map[string][]string{}
				}
				r.traces[id][service] = append(r.traces[id][service], span.GetName())
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// services are those that have sent spans of a trace.
func (r *receiver) services(trace string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.traces[trace]))
}

// TestOneTraceFromDoorToPayments orders something with a trace of the client's and sees its id at every hop.
func TestOneTraceFromDoorToPayments(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{traces: map[string]map[string][]string{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)

	compose := stack.ReadCompose(t)
	for _, name := range shopServices() {
		c := compose.Services[name]
		c.Command = append(slices.Clone(c.Command), "--otlp", lis.Addr().String())
		compose.Services[name] = c
	}
	_, at := startSite(t, compose, true, "PORTICO_OTLP="+lis.Addr().String())
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	resp := client.Do(t, http.MethodPost, at.HTTP+"/v1/orders", at.Tokens.Customer,
		[]byte(`{"items": [{"productId": "prd-0002", "quantity": 1}]}`),
		"Content-Type", "application/json", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	if resp.Status != http.StatusOK {
		t.Fatalf("answered %d %s", resp.Status, resp.Body)
	}
	want := []string{"portico", "shop-catalog", "shop-orders", "shop-payments"}
	stack.Eventually(t, 30*time.Second, func() error {
		if got := r.services(trace); !slices.Equal(got, want) {
			return fmt.Errorf("spans of the trace came from %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
		}
		return nil
	})
}
