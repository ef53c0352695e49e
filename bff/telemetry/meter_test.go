package telemetry_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/portico-bff/portico/bff/telemetry"
)

// What a library counts for OpenTelemetry is among Prometheus's metrics.
func TestMeter(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	provider, err := telemetry.NewMeter(registry)
	if err != nil {
		t.Fatal(err)
	}
	counter, err := provider.Meter("a library").Int64Counter("mesh.client.ejections", metric.WithUnit("{ejection}"), metric.WithDescription("Ejections."))
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3, metric.WithAttributes(attribute.String("grpc.target", "dns:///orders")))
	want := `
# HELP mesh_client_ejections_total Ejections.
# TYPE mesh_client_ejections_total counter
mesh_client_ejections_total{grpc_target="dns:///orders"} 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
