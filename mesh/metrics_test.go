package mesh_test

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portico-bff/portico/mesh"
)

// reading is what a meter has, by name and attributes; of a histogram the count and sum.
type reading map[string]float64

// read collects all metrics.
func read(t *testing.T, reader *sdkmetric.ManualReader) reading {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	r := reading{}
	key := func(name string, set attribute.Set) string {
		var b strings.Builder
		b.WriteString(name)
		for _, kv := range set.ToSlice() {
			b.WriteString(" " + string(kv.Key) + "=" + kv.Value.String())
		}
		return b.String()
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					r[key(m.Name, p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					r[key(m.Name, p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					r[key(m.Name, p.Attributes)] = p.Value
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					r[key(m.Name, p.Attributes)] = float64(p.Sum)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					r[key(m.Name+" count", p.Attributes)] = float64(p.Count)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, data)
			}
		}
	}
	return r
}

// Calls, attempts, retries and the mesh's own counts are there, under the names that
// the package comment says, with few attributes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clientReader, serverReader := sdkmetric.NewManualReader(), sdkmetric.NewManualReader()
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		var count atomic.Int64
		server := join(t, ca, "orders", mesh.Options{
			Policy:        parsePolicy(t, strings.Replace(overloaded, `"*"`, "spiffe://shop.test/portico", 1)),
			MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(serverReader)),
		})
		answer := func() error {
			if count.Add(1)%3 == 1 {
				return status.Error(codes.Unavailable, "down")
			}
			return nil
		}
		_, listener := start(t, server, &echo{
			unary: func(_ context.Context, text string) (string, error) { return text, answer() },
			stream: func(stream grpc.ServerStream) error {
				if err := answer(); err != nil {
					return err
				}
				return echoing(stream)
			},
		})
		n.add("a:1", listener)
		client := join(t, ca, "portico", mesh.Options{
			MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(clientReader)),
			Policy: parsePolicy(t, `kind: Route
hosts: ["a:1"]
http: [{name: all, retries: {attempts: 3, backoff: 100ms}, circuitBreaker: {consecutive5xxErrors: 5}}]`),
		})
		conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
		for i := range 6 {
			var opts []grpc.CallOption
			if i < 4 {
				opts = append(opts, grpc.StaticMethod())
			}
			if err := conn.Invoke(t.Context(), echoMethod, wrapperspb.String("x"), new(wrapperspb.StringValue), opts...); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, chatMethod, grpc.StaticMethod())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := converse(stream, "x"); err != nil {
				t.Fatal(err)
			}
		}
		denied := connect(t, join(t, ca, "fleet", mesh.Options{}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		for _, method := range []string{echoMethod, "/mesh.test.Echo/Nothing"} {
			if _, err := call(t.Context(), denied, method, "x"); err == nil {
				t.Errorf("%s was not refused", method)
			}
		}
		plainReader := sdkmetric.NewManualReader()
		plain := connect(t, join(t, ca, "portico", mesh.Options{
			MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(plainReader)), NoCallMetrics: true,
		}), &n, "static:///a:1", mesh.ExpectIdentity(orders))
		if _, err := call(t.Context(), plain, writeMethod, "x"); err == nil {
			t.Error("a call without retries got through")
		}
		synctest.Wait()

		got := read(t, clientReader)
		want := reading{
			"grpc.client.call.duration count grpc.method=mesh.test.Echo/Echo grpc.status=OK grpc.target=static:///a:1": 4,
			"grpc.client.call.duration count grpc.method=other grpc.status=OK grpc.target=static:///a:1":               2,
			"grpc.client.call.duration count grpc.method=mesh.test.Echo/Chat grpc.status=OK grpc.target=static:///a:1": 2,
			"grpc.client.attempt.started grpc.method=mesh.test.Echo/Echo grpc.target=static:///a:1":                    6,
			"grpc.client.attempt.started grpc.method=mesh.test.Echo/Chat grpc.target=static:///a:1":                    3,
			"grpc.client.call.retries grpc.method=mesh.test.Echo/Echo grpc.target=static:///a:1":                       2,
			"grpc.client.call.retries grpc.method=other grpc.target=static:///a:1":                                     1,
			"grpc.client.call.retries grpc.method=mesh.test.Echo/Chat grpc.target=static:///a:1":                       1,
			"grpc.client.call.retry_delay count grpc.method=mesh.test.Echo/Echo grpc.target=static:///a:1":             2,
			"mesh.client.endpoints grpc.target=static:///a:1 mesh.state=ready":                                         1,
			"mesh.client.breaker.open grpc.target=static:///a:1 mesh.entry=a:1 all":                                    0,
			"mesh.client.retries_refused": 0,
		}
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				t.Errorf("%s is %v, want %v", name, v, value)
			}
		}
		for name := range read(t, plainReader) {
			if !strings.HasPrefix(name, "mesh.") && !strings.HasPrefix(name, "grpc.client.call.ret") {
				t.Errorf("%s without call metrics", name)
			}
		}
		if budget := got["mesh.client.retry_budget grpc.target=static:///a:1"]; budget < 90 || budget > 101 {
			t.Errorf("the budget is %v, want the reserve less a few", budget)
		}
		if left := got["mesh.certificate.expiry"]; left < 3000 || left > 3600 {
			t.Errorf("the certificate ends in %vs", left)
		}

		got = read(t, serverReader)
		want = reading{
			"mesh.server.allowed": 13,
			"mesh.server.denied":  1,
			"grpc.server.call.started grpc.method=mesh.test.Echo/Echo":                                10,
			"grpc.server.call.started grpc.method=other":                                              1,
			"grpc.server.call.duration count grpc.method=mesh.test.Echo/Chat grpc.status=UNAVAILABLE": 1,
			"mesh.server.concurrency.limit mesh.overload=orders mesh.rule=1":                          1,
			"mesh.server.concurrency.running mesh.overload=orders mesh.rule=0":                        0,
			"mesh.policy.info mesh.policy.version=" + server.Stats().PolicyVersion:                    1,
		}
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				t.Errorf("%s is %v, want %v", name, v, value)
			}
		}
		if t.Failed() {
			for _, name := range slices.Sorted(maps.Keys(got)) {
				t.Log(name, got[name])
			}
		}
		if len(server.Stats().PolicyVersion) != 12 || client.Stats().PolicyVersion == server.Stats().PolicyVersion {
			t.Errorf("policy version %q", server.Stats().PolicyVersion)
		}
	})
}

// After Close nothing is observed any more.
func TestMetricsEnd(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	ca := newCA(t, "shop.test", time.Hour)
	m, err := mesh.New(t.Context(), mesh.Options{Identity: identityOf(t, ca, "orders"), MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, reader); len(got) == 0 {
		t.Error("nothing was observed")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reading{}, read(t, reader)); diff != "" {
		t.Error(diff)
	}
}

// instrument is what an OpenTelemetry view goes by.
type instrument struct {
	Kind, Unit string
	Bounds     []float64
}

// instruments lists what a meter has.
func instruments(t *testing.T, reader *sdkmetric.ManualReader) map[string]instrument {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	list := map[string]instrument{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if _, twice := list[m.Name]; twice {
				t.Errorf("%s is there twice", m.Name)
			}
			i := instrument{Unit: m.Unit}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				i.Kind = "counter"
			case metricdata.Gauge[int64], metricdata.Gauge[float64]:
				i.Kind = "gauge"
			case metricdata.Histogram[int64]:
				i.Kind, i.Bounds = "histogram", data.DataPoints[0].Bounds
			case metricdata.Histogram[float64]:
				i.Kind, i.Bounds = "histogram", data.DataPoints[0].Bounds
			default:
				t.Fatalf("%s is a %T", m.Name, data)
			}
			list[m.Name] = i
		}
	}
	return list
}

// The instruments have the names, kinds, units and bounds of gRFC A66 and A96, and are
// otherwise those that the package comment lists.
func TestInstruments(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "shop.test", time.Hour)
		var n network
		var count atomic.Int64
		_, listener := start(t, join(t, ca, "orders", mesh.Options{Policy: parsePolicy(t, overloaded), MeterProvider: provider}), &echo{
			unary: func(ctx context.Context, text string) (string, error) {
				switch count.Add(1) {
				case 1:
					return "", status.Error(codes.Unavailable, "down")
				case 2:
					<-ctx.Done()
				}
				return text, nil
			},
		})
		n.add("a:1", listener)
		client := join(t, ca, "portico", mesh.Options{MeterProvider: provider, Policy: parsePolicy(t, `kind: Route
hosts: ["a:1"]
http: [{retries: {attempts: 1}, hedging: {maxAttempts: 2, hedgingDelay: 50ms}, circuitBreaker: {consecutive5xxErrors: 5}}]`)})
		conn := connect(t, client, &n, "static:///a:1", mesh.ExpectIdentity(orders))
		if _, err := call(t.Context(), conn, echoMethod, "x"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := instruments(t, reader)

		latency := []float64{
			0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013, 0.016,
			0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 2, 5, 10, 20, 50, 100,
		}
		size := []float64{0, 1024, 2048, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864, 268435456, 1073741824, 4294967296}
		again := []float64{1, 2, 3, 4, 5}
		for name, want := range map[string]instrument{
			"grpc.client.attempt.started":                            {"counter", "{attempt}", nil},
			"grpc.client.attempt.duration":                           {"histogram", "s", latency},
			"grpc.client.attempt.sent_total_compressed_message_size": {"histogram", "By", size},
			"grpc.client.attempt.rcvd_total_compressed_message_size": {"histogram", "By", size},
			"grpc.client.call.duration":                              {"histogram", "s", latency},
			"grpc.server.call.started":                               {"counter", "{call}", nil},
			"grpc.server.call.duration":                              {"histogram", "s", latency},
			"grpc.server.call.sent_total_compressed_message_size":    {"histogram", "By", size},
			"grpc.server.call.rcvd_total_compressed_message_size":    {"histogram", "By", size},
			"grpc.client.call.retries":                               {"histogram", "{retry}", again},
			"grpc.client.call.hedges":                                {"histogram", "{hedge}", again},
			"grpc.client.call.retry_delay":                           {"histogram", "s", latency},
		} {
			if diff := cmp.Diff(want, got[name]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if !strings.Contains(name, "call.ret") && name != "grpc.client.call.hedges" {
				delete(got, name) // the comment names some of gRPC's own
			}
		}
		kinds := map[string]string{}
		for name, i := range got {
			kinds[name] = i.Kind
		}
		if diff := cmp.Diff(documented(t), kinds); diff != "" {
			t.Errorf("the package comment's table: %s", diff)
		}
	})
}

// documented is the table of the package comment: kinds by name.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^//\t((?:grpc|mesh)\.[a-z_.]+) +(counter|gauge|histogram)\b`).FindAllStringSubmatch(string(text), -1) {
		kinds[row[1]] = row[2]
	}
	return kinds
}
