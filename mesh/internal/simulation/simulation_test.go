package simulation_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/portico-bff/portico/mesh/internal/simulation"
)

var update = flag.Bool("update", false, "draw the plots")

// small is the size at which every run of the tests looks at the findings.
func small() simulation.Size { return simulation.Size{Clients: 30, Endpoints: 12} }

// figures are those of an experiment, by the names of curve and figure.
func figures(t *testing.T, curves []simulation.Curve) func(curve, figure string) float64 {
	t.Helper()
	all := map[string]float64{}
	for _, c := range curves {
		t.Logf("%s: %v", c.Name, c.Figures)
		for name, value := range c.Figures {
			all[c.Name+": "+name] = value
		}
	}
	return func(curve, figure string) float64 {
		value, ok := all[curve+": "+figure]
		if !ok {
			t.Fatalf("there is no figure %q of %q", figure, curve)
		}
		return value
	}
}

// What depends on what endpoints do keeps away from the slow ones; chance and turns do
// not.
func TestSpread(t *testing.T) {
	t.Parallel()
	of := figures(t, simulation.Spread(small()))
	for _, name := range []string{"RANDOM", "ROUND_ROBIN"} {
		if share := of(name, "slow %"); share < 7 || share > 10 { // one of twelve has its turns
			t.Errorf("%s gives the slow endpoints %.1f%%, and this test shows nothing", name, share)
		}
		if of(name, "p99 ms") < 2000 {
			t.Errorf("%s: nothing is slow", name)
		}
	}
	if share := of("LEAST_REQUEST", "slow %"); share > 2.5 {
		t.Errorf("LEAST_REQUEST gives them %.1f%%", share)
	}
	if more, share := of("PEAK_EWMA", "slow %"), of("PEAK_EWMA with a tenth of the clients", "slow %"); share >= more {
		t.Errorf("fewer clients give them %.2f%%, and more %.2f%%", share, more)
	}
	if share, failed := of("PEAK_EWMA", "slow %"), of("PEAK_EWMA", "failed %"); share == 0 || share > of("LEAST_REQUEST", "slow %") || failed > 0.5 {
		t.Errorf("PEAK_EWMA gives them %.1f%%, and %.1f%% fail", share, failed)
	}
}

// A budget bounds what a storm adds, and lets it end; retries without one keep it up.
func TestStorm(t *testing.T) {
	t.Parallel()
	of := figures(t, simulation.Storm(small()))
	for _, c := range []struct {
		name        string
		least, most float64 // attempts for each request while the storm lasts
		after       float64 // how many requests succeed when it should be over
	}{
		{"no retries", 1, 1, 99},
		{"3 retries, no budget", 3.8, 4.2, 0},
		{"3 retries, budget 20 %", 1.15, 1.25, 99},
		{"3 retries, budget 20 % + 10/s for each client", 1.25, 4.2, 99},
	} {
		if x := of(c.name, "attempts x"); x < c.least || x > c.most {
			t.Errorf("%s: %.2f attempts for each request, want %v to %v", c.name, x, c.least, c.most)
		}
		if after := of(c.name, "succeed after %"); after < c.after || c.after == 0 && after > 5 {
			t.Errorf("%s: %.1f%% succeed afterwards", c.name, after)
		}
	}
}

// The default bound leaves enough endpoints in use; without one minHealthPercent must.
func TestCascade(t *testing.T) {
	t.Parallel()
	of := figures(t, simulation.Cascade(small()))
	if inUse, after := of("maxEjectionPercent 50, the default", "least in use %"), of("maxEjectionPercent 50, the default", "succeed after %"); inUse < 50 || after < 99 {
		t.Errorf("with the default %.0f%% stay in use, and %.1f%% succeed afterwards", inUse, after)
	}
	if inUse, after := of("maxEjectionPercent 100", "least in use %"), of("maxEjectionPercent 100", "succeed after %"); inUse == 0 || inUse > 15 || after > 95 {
		t.Errorf("without a bound %.0f%% stay in use, and %.1f%% succeed afterwards", inUse, after)
	}
	if after := of("the same, minHealthPercent 50", "succeed after %"); after < 99 {
		t.Errorf("with minHealthPercent %.1f%% succeed afterwards", after)
	}
}

// Without chance in their backoff all come back at a time.
func TestReconnect(t *testing.T) {
	t.Parallel()
	size := simulation.Full()
	of := figures(t, simulation.Reconnect(size))
	if peak := of("no jitter", "peak at return"); peak != float64(size.Clients) {
		t.Errorf("without jitter %.0f of %d come back at a time, and this test shows nothing", peak, size.Clients)
	}
	if peak := of("jitter 0.2, the mesh's", "peak at return"); peak > float64(size.Clients)/20 {
		t.Errorf("with jitter %.0f of %d come back at a time", peak, size.Clients)
	}
}

// The same seed leads to the same.
func TestRepeatable(t *testing.T) {
	t.Parallel()
	size := simulation.Size{Clients: 10, Endpoints: 6}
	draw := func() []byte { return (&simulation.Chart{Curves: simulation.Spread(size)}).SVG() }
	if first := draw(); !bytes.Equal(first, draw()) {
		t.Error("two runs differ")
	}
}

func charts(size simulation.Size) map[string]simulation.Chart {
	title := func(what string) string {
		return fmt.Sprintf("%s (%d clients, %d endpoints, 3 zones)", what, size.Clients, size.Endpoints)
	}
	return map[string]simulation.Chart{
		"spread.svg": {
			Title: title("One endpoint in twenty is ten times slower"), X: "percentile", Y: "time of a request, ms (2000: given up)", Log: true,
			Curves: simulation.Spread(size),
		},
		"storm.svg": {
			Title: title("All are four times slower from 5 s to 8 s"), X: "s", Y: "requests that succeed, %",
			Curves: simulation.Storm(size),
		},
		"cascade.svg": {
			Title: fmt.Sprintf("All fail from 2 s to 10 s (%d clients, %d endpoints, 3 zones)", size.Clients/5, size.Endpoints), X: "s", Y: "requests that succeed, %",
			Curves: simulation.Cascade(size),
		},
		"reconnect.svg": {
			Title: fmt.Sprintf("A service is away for 30 s (%d clients)", size.Clients), X: "s", Y: "attempts to connect in a tenth of a second (1: or none)", Log: true,
			Curves: positive(simulation.Reconnect(size)),
		},
	}
}

// positive shows none as one: a logarithm cannot.
func positive(curves []simulation.Curve) []simulation.Curve {
	for _, c := range curves {
		for i := range c.Points {
			c.Points[i].Y = max(1, c.Points[i].Y)
		}
	}
	return curves
}

// The plots that are checked in are those of the policies as they are.
func TestPlots(t *testing.T) {
	t.Parallel()
	if testing.Short() && !*update {
		t.Skip("takes half a minute")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors round otherwise")
	}
	for name, chart := range charts(simulation.Full()) {
		for _, c := range chart.Curves {
			t.Logf("%s: %s: %v", name, c.Name, c.Figures)
		}
		path := filepath.Join("plots", name)
		if *update {
			if err := os.WriteFile(path, chart.SVG(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(chart.SVG(), want) {
			t.Errorf("%s is not what the simulation draws: run go generate ./mesh/internal/simulation", path)
		}
	}
}
