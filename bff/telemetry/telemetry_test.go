package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/config/mistake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is an OTLP receiver.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []string // service, name and whether there is a parent
	keys  []string
}

func (r *receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	r.keys = append(r.keys, md.Get("x-api-key")...)
	for _, resource := range req.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				parent := "root"
				if len(s.GetParentSpanId()) > 0 {
					parent = "child"
				}
				r.spans = append(r.spans, strings.Join([]string{service, s.GetName(), parent}, " "))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func startReceiver(t *testing.T) (*receiver, string) {
	t.Helper()
	var lc net.ListenConfig
	lis, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, s := &receiver{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	done := make(chan error)
	go func() { done <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, lis.Addr().String()
}

func TestExport(t *testing.T) {
	t.Parallel()
	r, addr := startReceiver(t)
	none := 0.0
	tp, shutdown, err := New(t.Context(), Config{
		Service: "bff", OTLP: &OTLP{Endpoint: addr, Insecure: true, Headers: map[string]string{"x-api-key": "k"}}, Sample: &none,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tracer := tp.Tracer("test")
	// The caller has decided to trace this one ...
	carrier := propagation.MapCarrier{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "a=b"}
	_, span := tracer.Start(Propagator().Extract(t.Context(), carrier), "decided")
	span.End()
	// ... and nobody this one, of which we take none.
	_, span = tracer.Start(t.Context(), "undecided")
	span.End()
	for range 2 {
		if err := shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff([]string{"bff decided child"}, r.spans); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(r.keys, "k") {
		t.Errorf("headers %v", r.keys)
	}
	if diff := cmp.Diff([]string{"traceparent", "tracestate"}, Propagator().Fields()); diff != "" {
		t.Error(diff)
	}
}

func TestNothingLeavesWithoutConfiguration(t *testing.T) {
	t.Parallel()
	tp, shutdown, err := New(t.Context(), Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tp.Tracer("test").Start(t.Context(), "x")
	if span.IsRecording() || span.SpanContext().IsValid() {
		t.Error("a span is recorded")
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	remote := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	_, span = tp.Tracer("test").Start(remote, "x")
	if span.SpanContext().TraceID() != (trace.TraceID{1}) {
		t.Error("the caller's trace is not passed on")
	}
}

// TestLostReceiver: shutting down without a receiver ends in time, and the loss is logged.
func TestLostReceiver(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	tp, shutdown, err := New(t.Context(), Config{OTLP: &OTLP{Endpoint: "127.0.0.1:1", Insecure: true}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tp.Tracer("test").Start(t.Context(), "lost")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_ = shutdown(ctx) // what matters is that it ends
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	for !strings.Contains(log.String(), "traces could not be sent") && time.Since(start) < 5*time.Second {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(log.String(), "traces could not be sent") {
		t.Errorf("log %q", log.String())
	}
}

// lockedBuffer is a buffer that a logger writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	share := 1.5
	_, _, err := New(t.Context(), Config{OTLP: &OTLP{Endpoint: "http://x"}, Sample: &share}, slog.New(slog.DiscardHandler))
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, strings.Join(m.Path, "."))
	}
	if diff := cmp.Diff([]string{"otlp.endpoint", "sample"}, got); diff != "" {
		t.Error(diff)
	}
}
