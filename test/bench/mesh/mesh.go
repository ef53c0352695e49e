// Package mesh measures the mesh library against bare grpc-go: what a client's call costs in computing time, as the
// operating system counts it, how long it takes alone, how much memory the client has, and what the mesh's own parts cost
// in Go benchmarks.
//
// Both clients are the same program, the test program of package mesh, since only a test can take the mesh's transport
// security away. They call the same server, which is bare grpc-go and a process of its own.
package mesh

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/portico-bff/portico/test/bench/report"
	"github.com/portico-bff/portico/test/bench/stat"
)

// Options is what to measure, with what, and how much.
type Options struct {
	// Self is this program, which is also the server; Programs is the folder of the others: the test programs mesh.test
	// and authz.test, and the smallest clients, mesh and bare.
	Self, Programs string
	// Rounds is how often everything is measured, and Duration how long at a time, after Warmup.
	Rounds           int
	Warmup, Duration time.Duration
	// Calls is how many are under way, where it is not one.
	Calls int
	// Progress takes a line for each measurement.
	Progress io.Writer
}

func (o *Options) program(name string) string { return filepath.Join(o.Programs, name) }

//go:embed policy.yaml
var policy string

// client is a way to call.
type client struct {
	mesh, secure bool
	single       bool // one call at a time
	deadline     bool // of gRPC: its calls have one, as the mesh's do
}

// name is what a client is called, with how many calls it makes at a time.
func (b *bench) name(c client) string {
	name, security := "grpc", "plain"
	if c.mesh {
		name = "mesh"
	}
	if c.secure {
		security = "mtls"
	}
	text := fmt.Sprintf("%s %-5s x%d", name, security, b.inFlight(c))
	if c.deadline {
		text += ", deadline"
	}
	return text
}

func (b *bench) inFlight(c client) int {
	if c.single {
		return 1
	}
	return b.Calls
}

// groups are the clients that are compared: ours, gRPC's, and gRPC's with the one part of ours that is not our work.
func groups() [][3]client {
	return [][3]client{
		{{mesh: true}, {}, {deadline: true}},
		{{mesh: true, secure: true}, {secure: true}, {secure: true, deadline: true}},
		{{mesh: true, secure: true, single: true}, {secure: true, single: true}, {secure: true, single: true, deadline: true}},
	}
}

// figures are those of one client, a value for each round.
type figures struct {
	cpu  []float64 // microseconds per call
	rate []float64 // calls per second
	p50  []float64 // microseconds
	p99  []float64
}

// line sums figures up.
func (f *figures) line(name string, one func([]float64) float64) string {
	return fmt.Sprintf("%-24s %8.2f us/call %8.0f calls/s  p50 %8.1f us  p99 %8.1f us\n", name, one(f.cpu), one(f.rate), one(f.p50), one(f.p99))
}

func last(values []float64) float64 { return values[len(values)-1] }

// bench is a benchmark that runs.
type bench struct {
	*Options
	stack  *stack
	calls  map[client]*figures
	memory map[string][]float64 // megabytes, by smallest client
	micro  map[string][]cost    // by Go benchmark
}

// Run measures everything. All programs that it starts have ended when it returns.
func Run(ctx context.Context, o Options) (_ report.Result, err error) {
	s, err := newStack(ctx, &o)
	defer func() {
		if ctx.Err() != nil { // everything fails then
			err = context.Cause(ctx)
		}
		err = errors.Join(err, s.close())
	}()
	if err != nil {
		return report.Result{}, err
	}
	b := &bench{Options: &o, stack: s, calls: map[client]*figures{}, memory: map[string][]float64{}, micro: map[string][]cost{}}
	for _, group := range groups() {
		for _, c := range group {
			b.calls[c] = &figures{}
		}
	}
	for round := range o.Rounds {
		if err := b.round(ctx, round); err != nil {
			return report.Result{}, err
		}
	}
	details, err := b.details()
	return report.Result{Rows: b.rows(), Details: details}, err
}

// round measures everything once. Who begins changes from round to round.
func (b *bench) round(ctx context.Context, round int) error {
	for _, group := range groups() {
		for i := range group {
			c := group[(i+round)%len(group)]
			if err := b.call(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", b.name(c), err)
			}
			b.progress(round, b.calls[c].line(b.name(c), last))
		}
	}
	clients := smallest()
	for i := range clients {
		name := clients[(i+round)%2]
		if err := b.remember(ctx, name); err != nil {
			return fmt.Errorf("memory of %s: %w", name, err)
		}
		b.progress(round, fmt.Sprintf("memory of the smallest client, %s: %.2f MB\n", name, last(b.memory[name])))
	}
	for _, m := range benchmarks() {
		costs, err := b.benchmark(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.program, err)
		}
		for name, c := range costs {
			b.micro[name] = append(b.micro[name], c)
			b.progress(round, c.line(name))
		}
	}
	return nil
}

func (b *bench) progress(round int, line string) {
	_, _ = fmt.Fprintf(b.Progress, "mesh %d/%d  %s", round+1, b.Rounds, line)
}

// details is a table of medians.
func (b *bench) details() (string, error) {
	var text strings.Builder
	for _, group := range groups() {
		for _, c := range group {
			text.WriteString(b.calls[c].line(b.name(c), stat.Median))
		}
	}
	for _, name := range []string{layersClient, layersServer, decide} {
		text.WriteString(median(b.micro[name]).line(name))
	}
	for _, name := range smallest() {
		size, err := b.size(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "smallest client, %s: %.2f MB of memory, a program of %.2f MB\n", name, stat.Median(b.memory[name]), size)
	}
	return text.String(), nil
}

// rows compares what was measured with its marks.
func (b *bench) rows() []report.Row {
	cpu := func(f *figures) []float64 { return f.cpu }
	p50 := func(f *figures) []float64 { return f.p50 }
	ratio := func(group [3]client, of func(*figures) []float64) float64 {
		return stat.Ratio(of(b.calls[group[0]]), of(b.calls[group[1]]))
	}
	all := groups()
	ours, server, authz := median(b.micro[layersClient]), median(b.micro[layersServer]), median(b.micro[decide])
	memory := stat.Median(difference(b.memory[ourClient], b.memory[bareClient]))
	return []report.Row{
		{Name: "mesh.client.cpu_vs_grpc.plain", Value: ratio(all[0], cpu), Unit: "x", Mark: report.AtMost(1.15)},
		{Name: "mesh.client.cpu_vs_grpc.mtls", Value: ratio(all[1], cpu), Unit: "x", Mark: report.AtMost(1.15)},
		{Name: "mesh.layers.ns", Value: ours.ns, Unit: "ns/op", Mark: report.AtMost(3000)},
		{Name: "mesh.layers.allocs", Value: ours.allocs, Unit: "allocs/op", Mark: report.AtMost(14)},
		{Name: "mesh.server.ns", Value: server.ns, Unit: "ns/op", Mark: report.AtMost(1000)},
		{Name: "mesh.server.allocs", Value: server.allocs, Unit: "allocs/op", Mark: report.AtMost(4)},
		{Name: "mesh.p50_vs_grpc", Value: ratio(all[2], p50), Unit: "x", Mark: report.AtMost(1.05)},
		{Name: "mesh.rss_mb", Value: memory, Unit: "MB", Mark: report.AtMost(4)},
		{Name: "mesh.authz.ns", Value: authz.ns, Unit: "ns/op", Mark: report.AtMost(200)},
		{Name: "mesh.authz.allocs", Value: authz.allocs, Unit: "allocs/op", Mark: report.Exactly(0)},
	}
}

// difference is what a has more than b, round by round.
func difference(a, b []float64) []float64 {
	more := make([]float64, min(len(a), len(b)))
	for i := range more {
		more[i] = a[i] - b[i]
	}
	return more
}
