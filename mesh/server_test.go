package mesh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// A panic ends the call, not the server, and tells the caller nothing.
func TestPanic(t *testing.T) {
	t.Parallel()
	var seen events
	ca := newCA(t, "shop.test", time.Hour)
	server := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody), OnEvent: seen.add})
	_, listener := start(t, server, &echo{
		unary:  func(context.Context, string) (string, error) { panic("the secret cause") }, //nolint:forbidigo // on purpose
		stream: func(grpc.ServerStream) error { panic("the secret cause") },                 //nolint:forbidigo // on purpose
	})
	var n network
	n.add("a:1", listener)
	conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
	_, unaryErr := call(t.Context(), conn, writeMethod, "x")
	stream, streamErr := openStream(t.Context(), conn, chatMethod)
	if streamErr == nil {
		streamErr = stream.RecvMsg(new(wrapperspb.StringValue))
	}
	for _, err := range []error{unaryErr, streamErr} {
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
			t.Errorf("the caller got %v", err)
		}
	}
	panics := seen.of(mesh.HandlerPanicked)
	if len(panics) != 2 || !strings.Contains(panics[0].Err.Error(), "secret") || !strings.Contains(string(panics[0].Stack), "server_test.go") {
		t.Errorf("events: %+v", panics)
	}
}

// A server built by hand is one of the mesh by its options, and the service's own
// interceptors see no call that is denied.
func TestServerOptions(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	m := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, allowing("portico"))})
	var intercepted []string
	s := grpc.NewServer(append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			id, ok := mesh.Peer(ctx)
			if !ok {
				t.Error("no peer")
			}
			intercepted = append(intercepted, id.String())
			return handle(ctx, req)
		},
	)}, m.ServerOptions()...)...)
	register(s, &echo{})
	var n network
	n.add("a:1", listen(t, &mesh.Server{Server: s}))
	for _, name := range []string{"fleet", "portico"} {
		conn := connect(t, join(t, ca, name, mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		_, err := call(t.Context(), conn, writeMethod, "x")
		if want := map[string]codes.Code{"fleet": codes.PermissionDenied, "portico": codes.OK}[name]; status.Code(err) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if len(intercepted) != 1 || intercepted[0] != portico {
		t.Errorf("intercepted calls of %q", intercepted)
	}
	if id, ok := mesh.Peer(t.Context()); ok {
		t.Errorf("a peer %v outside of any call", id)
	}
}

// Draining tells balancers first, lets running calls end, and takes no new ones.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		m := join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody), DrainDelay: 2 * time.Second})
		server, listener := start(t, m, &echo{unary: func(ctx context.Context, text string) (string, error) {
			if text == "slow" {
				time.Sleep(5 * time.Second)
			}
			return text, ctx.Err()
		}})
		var n network
		n.add("a:1", listener)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		slow := make(chan error, 1)
		go func() {
			_, err := call(t.Context(), conn, writeMethod, "slow")
			slow <- err
		}()
		time.Sleep(time.Second)
		drained := make(chan error, 1)
		go func() { drained <- server.Drain(t.Context()) }()
		time.Sleep(time.Second)
		reply, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("health while draining: %v, %v", reply, err)
		}
		if _, err := call(t.Context(), conn, writeMethod, "x"); err != nil {
			t.Errorf("a call during the delay: %v", err)
		}
		if err := <-slow; err != nil {
			t.Errorf("the running call: %v", err)
		}
		if err := <-drained; err != nil {
			t.Errorf("drain: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := call(ctx, conn, writeMethod, "x"); err == nil {
			t.Error("a call after the drain got an answer")
		}
	})
}

// A stream that does not end is cut off when the drain's time is over.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		server, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, everybody)}), &echo{
			stream: func(stream grpc.ServerStream) error {
				<-stream.Context().Done()
				return stream.Context().Err()
			},
		})
		var n network
		n.add("a:1", listener)
		conn := connect(t, join(t, ca, "portico", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		stream, err := openStream(t.Context(), conn, chatMethod)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := server.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Unavailable {
			t.Errorf("the stream: %v", err)
		}
	})
}

// One trace goes through two hops, and its header reaches the last service even
// where nobody records spans.
func TestTraceContext(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "shop.test", time.Hour)
	allow := parsePolicy(t, everybody)
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })

	var n network
	headers := make(chan string, 1)
	_, last := start(t, join(t, ca, "payments", mesh.Options{Policy: allow, TracerProvider: provider}), &echo{
		unary: func(ctx context.Context, text string) (string, error) {
			headers <- metadata.ValueFromIncomingContext(ctx, "traceparent")[0]
			return text, nil
		},
	})
	n.add("payments:1", last)
	for _, traced := range []bool{true, false} {
		options := mesh.Options{Policy: allow}
		if traced {
			options.TracerProvider = provider
		}
		middle := join(t, ca, "orders", options)
		onward := connect(t, middle, &n, "static:///payments:1", mesh.ExpectIdentity("spiffe://shop.test/payments"))
		_, first := start(t, middle, &echo{unary: func(ctx context.Context, text string) (string, error) {
			return call(ctx, onward, writeMethod, text)
		}})
		n.add("orders:1", first)
		conn := connect(t, join(t, ca, "portico", options), &n, "static:///orders:1", mesh.ExpectIdentity(orders))

		ctx, span := provider.Tracer("test").Start(t.Context(), "door")
		if _, err := call(ctx, conn, writeMethod, "x"); err != nil {
			t.Fatal(err)
		}
		span.End()
		id := span.SpanContext().TraceID().String()
		if header := <-headers; !strings.HasPrefix(header, "00-"+id) {
			t.Errorf("traced %v: the last service got traceparent %q, want trace %s", traced, header, id)
		}
		if !traced {
			continue
		}
		kinds := map[trace.SpanKind]int{}
		for _, ended := range recorder.Ended() {
			if ended.SpanContext().TraceID() != span.SpanContext().TraceID() {
				t.Errorf("span %q is of another trace", ended.Name())
			}
			kinds[ended.SpanKind()]++
		}
		if kinds[trace.SpanKindClient] != 2 || kinds[trace.SpanKindServer] < 1 {
			t.Errorf("spans by kind: %v", kinds)
		}
	}
}
