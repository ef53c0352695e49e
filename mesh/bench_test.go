package mesh_test

import (
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/portico-bff/portico/mesh"
)

// One unary call over loopback with mutual TLS: gRPC as it is, and with the mesh on both
// sides, alone and with telemetry. Allocations are of both sides together.
func BenchmarkCall(b *testing.B) {
	ca := newCA(b, "shop.test", time.Hour)
	b.Run("grpc", func(b *testing.B) {
		server, err := ca.Identity("orders")
		if err != nil {
			b.Fatal(err)
		}
		client, err := ca.Identity("portico")
		if err != nil {
			b.Fatal(err)
		}
		s := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeAny()))))
		register(s, &echo{})
		pin := tlsconfig.AuthorizeID(spiffeid.RequireFromString(orders))
		conn, err := grpc.NewClient("passthrough:///"+loopback(b, &mesh.Server{Server: s}),
			grpc.WithTransportCredentials(credentials.NewTLS(tlsconfig.MTLSClientConfig(client, client, pin))))
		if err != nil {
			b.Fatal(err)
		}
		measure(b, conn)
	})
	watched := func() mesh.Options {
		return mesh.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))}
	}
	for _, variant := range []struct {
		name    string
		options func() mesh.Options // of either side
	}{
		{"mesh", func() mesh.Options { return mesh.Options{} }},
		{"mesh-metrics", watched},
		{"mesh-metrics-without-calls", func() mesh.Options {
			o := watched()
			o.NoCallMetrics = true
			return o
		}},
		{"mesh-traces", func() mesh.Options { return mesh.Options{TracerProvider: sdktrace.NewTracerProvider()} }},
	} {
		b.Run(variant.name, func(b *testing.B) {
			serving := variant.options()
			serving.Policy = parsePolicy(b, everybody)
			s := join(b, ca, "orders", serving).NewServer()
			register(s, &echo{})
			conn, err := join(b, ca, "portico", variant.options()).NewClient("static:///"+loopback(b, s), mesh.ExpectIdentity(orders))
			if err != nil {
				b.Fatal(err)
			}
			measure(b, conn)
		})
	}
}

func loopback(tb testing.TB, s *mesh.Server) string {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	serve(tb, s, listener)
	return listener.Addr().String()
}

func measure(b *testing.B, conn *grpc.ClientConn) {
	b.Helper()
	defer func() { _ = conn.Close() }()
	text := string(make([]byte, 128))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := call(b.Context(), conn, echoMethod, text); err != nil {
			b.Fatal(err)
		}
	}
}
