package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/portico-bff/portico/test/bench/process"
	"github.com/portico-bff/portico/test/bench/stat"
)

// The Go benchmarks.
const (
	layersClient = "BenchmarkLayers/client"
	layersServer = "BenchmarkLayers/server"
	decide       = "BenchmarkDecide"
)

// microbenchmark is a test program and which of its benchmarks to run.
type microbenchmark struct {
	program, pattern string
	names            []string
}

func benchmarks() []microbenchmark {
	return []microbenchmark{
		{"mesh.test", "^BenchmarkLayers$", []string{layersClient, layersServer}},
		{"authz.test", "^BenchmarkDecide$", []string{decide}},
	}
}

// cost is what one operation costs.
type cost struct{ ns, allocs float64 }

func (c cost) line(name string) string {
	return fmt.Sprintf("%-22s %10.0f ns/op %4.0f allocs/op\n", name, c.ns, c.allocs)
}

// median is the median of both, each for itself.
func median(costs []cost) cost {
	var ns, allocs []float64
	for _, c := range costs {
		ns, allocs = append(ns, c.ns), append(allocs, c.allocs)
	}
	return cost{ns: stat.Median(ns), allocs: stat.Median(allocs)}
}

// benchmark runs Go benchmarks once.
func (b *bench) benchmark(ctx context.Context, m microbenchmark) (map[string]cost, error) {
	p, err := process.Start(ctx, b.stack.noise, nil, b.program(m.program),
		"-test.run=^$", "-test.bench="+m.pattern, "-test.benchmem", "-test.benchtime="+(b.Duration/4).String())
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(p.Out)
	if err := errors.Join(err, p.In.Close(), p.Wait()); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	costs, err := parseCosts(text)
	if err != nil {
		return nil, err
	}
	for _, name := range m.names {
		if _, ok := costs[name]; !ok {
			return nil, fmt.Errorf("no figures of %s in\n%s", name, text)
		}
	}
	return costs, nil
}

// parseCosts reads what go test prints of benchmarks: a name that ends in -GOMAXPROCS, a number, and pairs of value and
// unit.
func parseCosts(text []byte) (map[string]cost, error) {
	costs := map[string]cost{}
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := fields[0]
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at]
		}
		var c cost
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			switch fields[i+1] {
			case "ns/op":
				c.ns = value
			case "allocs/op":
				c.allocs = value
			}
		}
		costs[name] = c
	}
	return costs, nil
}
