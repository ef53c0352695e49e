// Package rest measures Portico's REST door against its contenders, each a process of its own: what a request costs in
// computing time, as the operating system counts it, and how long answers take at a fixed rate.
//
// Contenders take turns within every round, and figures are compared round by round, so that what else goes on on the
// machine hits all of them. Everything speaks plain text: HTTP/1.1 to the contenders, and HTTP/2 to the service.
package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/portico-bff/portico/test/bench/backend"
	"github.com/portico-bff/portico/test/bench/load"
	"github.com/portico-bff/portico/test/bench/process"
	"github.com/portico-bff/portico/test/bench/report"
	"github.com/portico-bff/portico/test/bench/sample"
	"github.com/portico-bff/portico/test/bench/stat"
)

// Options is what to measure, with what, and how much.
type Options struct {
	// Self is this program, which is also the service, the contenders and the load generator; Portico is bff.
	Self, Portico string
	// Descriptors is the descriptor set of the service.
	Descriptors []byte
	// Rounds is how often everything is measured, and Duration how long at a time, after Warmup.
	Rounds           int
	Warmup, Duration time.Duration
	// Connections is how many requests are under way.
	Connections int
	// Only leaves out the cases whose names it does not match; nil leaves out none.
	Only *regexp.Regexp
	// Progress takes a line for each measurement.
	Progress io.Writer
}

// The contenders.
const (
	portico  = "portico"
	floor    = "floor"
	gateway  = "grpc-gateway"
	vanguard = "vanguard"
)

// workload is a request and who is to answer it. A contender without a way to name fields answers them all.
type workload struct {
	name       string
	path       string
	paths      map[string]string // for contenders that are asked for something else
	contenders []string
}

// orderPath is that of the order that the service has.
func orderPath() string { return "/v1/orders/" + sample.ID(backend.Number) }

func workloads() []workload {
	page := fmt.Sprintf("/v1/orders?page_size=%d", sample.PageSize)
	return []workload{
		{name: "order", path: orderPath(), contenders: []string{portico, floor, gateway}},
		{name: "page", path: page, contenders: []string{portico, floor, gateway, vanguard}},
		{
			name: "five", path: page, contenders: []string{portico, floor},
			paths: map[string]string{portico: page + "&fields=orders(" + sample.Five + ")"},
		},
	}
}

// latency is the name of the measurement at a fixed rate. It has more rounds than the others: the slowest answers of a
// hundred vary more than the cost of all.
const (
	latency       = "latency"
	latencyRounds = 3
)

func atFixedRate() workload {
	return workload{name: latency, path: orderPath(), contenders: []string{portico, floor}}
}

// figures are those of one contender and one workload, a value for each round.
type figures struct {
	cpu  []float64 // microseconds per request
	rate []float64 // requests per second
	p99  []float64 // milliseconds
	rss  []float64 // megabytes
}

// bench is a benchmark that runs.
type bench struct {
	*Options
	stack   *stack
	figures map[string]map[string]*figures // by workload and contender
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
	b := &bench{Options: &o, stack: s, figures: map[string]map[string]*figures{}}
	atRate := b.wants(latency)
	for round := range o.Rounds {
		for _, w := range workloads() {
			// The fixed rate is half of what orders can be served at.
			if !b.wants(w.name) && (w.name != "order" || !atRate) {
				continue
			}
			if err := b.turn(ctx, round, o.Rounds, w, 0); err != nil {
				return report.Result{}, err
			}
		}
	}
	if atRate {
		rate := min(stat.Median(b.of("order", portico).rate), stat.Median(b.of("order", floor).rate)) / 2
		rounds := latencyRounds * o.Rounds
		for round := range rounds {
			if err := b.turn(ctx, round, rounds, atFixedRate(), rate); err != nil {
				return report.Result{}, err
			}
		}
	}
	return report.Result{Rows: b.rows(), Details: b.details()}, nil
}

func (b *bench) wants(name string) bool { return b.Only == nil || b.Only.MatchString(name) }

// of returns the figures of a workload and a contender.
func (b *bench) of(workload, contender string) *figures {
	if b.figures[workload] == nil {
		b.figures[workload] = map[string]*figures{}
	}
	if b.figures[workload][contender] == nil {
		b.figures[workload][contender] = &figures{}
	}
	return b.figures[workload][contender]
}

// turn measures a workload once with all of its contenders. Who begins changes from round to round.
func (b *bench) turn(ctx context.Context, round, rounds int, w workload, rate float64) error {
	for i := range w.contenders {
		name := w.contenders[(i+round)%len(w.contenders)]
		if err := b.measure(ctx, w, name, rate); err != nil {
			return fmt.Errorf("%s of %s: %w", w.name, name, err)
		}
		last := func(values []float64) float64 { return values[len(values)-1] }
		_, _ = fmt.Fprintf(b.Progress, "rest %d/%d  %s", round+1, rounds, b.of(w.name, name).line(w.name, name, last))
	}
	return nil
}

// line sums figures up.
func (f *figures) line(workload, contender string, one func([]float64) float64) string {
	return fmt.Sprintf("%-8s %-13s %8.1f us/request %8.0f requests/s  p99 %6.2f ms  %5.1f MB\n",
		workload, contender, one(f.cpu), one(f.rate), one(f.p99), one(f.rss))
}

// details is a table of medians.
func (b *bench) details() string {
	var text strings.Builder
	for _, w := range append(workloads(), atFixedRate()) {
		for _, name := range w.contenders {
			if f := b.of(w.name, name); len(f.cpu) > 0 {
				text.WriteString(f.line(w.name, name, stat.Median))
			}
		}
	}
	return text.String()
}

// measure puts load on one contender.
func (b *bench) measure(ctx context.Context, w workload, name string, rate float64) error {
	c := b.stack.contenders[name]
	path := w.path
	if other, ok := w.paths[name]; ok {
		path = other
	}
	g, err := load.Start(ctx, b.stack.noise, load.Plan{
		Address: c.address, Path: path, Header: b.stack.header(), Connections: b.Connections,
		Warmup: b.Warmup, Duration: b.Duration, Rate: rate,
	}, b.Self, "load")
	if err != nil {
		return process.Explain(err, b.stack.noise)
	}
	before, err := c.CPU()
	if err != nil {
		return errors.Join(c.explain(err), g.Close())
	}
	memory := watchMemory(c)
	result, err := g.Run()
	rss, memoryErr := memory()
	after, cpuErr := c.CPU()
	if err := errors.Join(err, memoryErr, cpuErr, g.Close()); err != nil {
		return process.Explain(c.explain(err), b.stack.noise)
	}
	if err := b.stack.truncate(); err != nil {
		return err
	}
	if result.Requests == 0 {
		return errors.New("no request was answered")
	}
	f := b.of(w.name, name)
	f.cpu = append(f.cpu, float64((after-before).Microseconds())/float64(result.Requests))
	f.rate = append(f.rate, float64(result.Requests)/result.Elapsed.Seconds())
	f.p99 = append(f.p99, float64(result.P99.Microseconds())/1e3)
	f.rss = append(f.rss, float64(rss)/1e6)
	return nil
}

// watchMemory looks at a program's memory until the function that it returns is called, which returns the most that
// there was.
func watchMemory(c *contender) func() (int64, error) {
	const interval = 100 * time.Millisecond
	done := make(chan struct{})
	var watching sync.WaitGroup
	most, err := c.Memory()
	watching.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for err == nil {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			var now int64
			now, err = c.Memory()
			most = max(most, now)
		}
	})
	return func() (int64, error) {
		close(done)
		watching.Wait()
		return most, err
	}
}

// rows compares what was measured with its marks. Cases that were left out have no rows.
func (b *bench) rows() []report.Row {
	cpu := func(f *figures) []float64 { return f.cpu }
	p99 := func(f *figures) []float64 { return f.p99 }
	var rows []report.Row
	ratio := func(name, workload, to string, of func(*figures) []float64, mark report.Mark) {
		if b.wants(workload) {
			value := stat.Ratio(of(b.of(workload, portico)), of(b.of(workload, to)))
			rows = append(rows, report.Row{Name: name, Value: value, Unit: "x", Mark: mark})
		}
	}
	ratio("rest.order.cpu_vs_floor", "order", floor, cpu, report.AtMost(1.35))
	ratio("rest.order.cpu_vs_grpc_gateway", "order", gateway, cpu, report.AtMost(0.6))
	ratio("rest.page.cpu_vs_floor", "page", floor, cpu, report.AtMost(2.5))
	ratio("rest.page.cpu_vs_grpc_gateway", "page", gateway, cpu, report.AtMost(0.125))
	ratio("rest.page.cpu_vs_vanguard", "page", vanguard, cpu, report.AtMost(0.125))
	ratio("rest.five.cpu_vs_floor", "five", floor, cpu, report.AtMost(1.3))
	ratio("rest.order.p99_vs_floor", latency, floor, p99, report.AtMost(1.3))
	if b.wants(latency) {
		rss := stat.Median(b.of(latency, portico).rss)
		rows = append(rows, report.Row{Name: "rest.rss_mb", Value: rss, Unit: "MB", Mark: report.AtMost(60)})
	}
	return rows
}
