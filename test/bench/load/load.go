// Package load sends HTTP requests and measures how long their answers take. [Serve] is the generator, a process of its
// own; [Start] starts one.
//
// A generator keeps a number of connections. In a closed loop, each sends its next request as soon as it has its
// answer, which finds how much a server can do. At a fixed rate, each sends at times set beforehand, whatever the server
// does, which finds how long answers take under a load that is the same for every server.
package load

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portico-bff/portico/test/bench/stat"
)

// Bounds of a plan.
const (
	maxConnections = 1024
	maxDuration    = time.Minute
	// grace is how long answers may take after the end.
	grace = 10 * time.Second
)

// Plan is what a generator does.
type Plan struct {
	// Address is the server's, and Path that of every request, with its query.
	Address, Path string
	// Header is sent with every request.
	Header map[string]string
	// Connections is how many requests may be under way.
	Connections int
	// Warmup is how long requests are sent before the measurement, and Duration how long during it.
	Warmup, Duration time.Duration
	// Rate is how many requests are sent in a second; a closed loop if 0.
	Rate float64
}

// Result is what a generator has measured.
type Result struct {
	// Requests is how many were answered, each with status 200; Bytes is how long their bodies were together.
	Requests int
	Bytes    int64
	// Elapsed is the time from the first request to the last answer.
	Elapsed time.Duration
	// P50, P99 and Max are times from a request to its answer. At a fixed rate, a request that could not be sent in time
	// because every answer before it was late counts from when it should have been sent.
	P50, P99, Max time.Duration
}

// validate reports what makes no sense, or would run without bounds.
func (p *Plan) validate() error {
	switch {
	case p.Connections < 1 || p.Connections > maxConnections:
		return fmt.Errorf("%d connections: expected 1 to %d", p.Connections, maxConnections)
	case p.Warmup < 0 || p.Duration <= 0 || p.Warmup+p.Duration > maxDuration:
		return fmt.Errorf("%s of warm-up and %s of load: expected more than 0 and at most %s", p.Warmup, p.Duration, maxDuration)
	case p.Rate < 0:
		return fmt.Errorf("rate %v: expected at least 0", p.Rate)
	}
	return nil
}

// request is the plan's request as it is sent.
func (p *Plan) request() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", p.Path, p.Address)
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, p.Header[name])
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// Serve reads a plan from in, opens its connections, sends the requests of its warm-up, says on out that it is ready,
// waits for a word on in, sends the requests that count, and writes the result to out. All of it is JSON.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	commands, answers := json.NewDecoder(in), json.NewEncoder(out)
	var plan Plan
	if err := commands.Decode(&plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := plan.validate(); err != nil {
		return err
	}
	conns, err := open(ctx, &plan)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	if err != nil {
		return err
	}
	if plan.Warmup > 0 {
		if _, err := run(ctx, conns, plan.Rate, plan.Warmup); err != nil {
			return err
		}
	}
	if err := answers.Encode(true); err != nil {
		return err
	}
	var begin bool
	if err := commands.Decode(&begin); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	result, err := run(ctx, conns, plan.Rate, plan.Duration)
	if err != nil {
		return err
	}
	return answers.Encode(result)
}

// open opens the plan's connections. It returns those that it opened also with an error.
func open(ctx context.Context, plan *Plan) ([]*conn, error) {
	request := plan.request()
	conns := make([]*conn, 0, plan.Connections)
	for range plan.Connections {
		c, err := dial(ctx, plan.Address, request)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// run sends requests for a time on all connections.
func run(ctx context.Context, conns []*conn, rate float64, d time.Duration) (Result, error) {
	start := time.Now()
	for _, c := range conns {
		if err := c.SetDeadline(start.Add(d + grace)); err != nil {
			return Result{}, err
		}
	}
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})()
	measured := make([]samples, len(conns))
	errs := make([]error, len(conns))
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			if rate == 0 {
				errs[i] = measured[i].closedLoop(c, start.Add(d))
				return
			}
			// The connections take turns.
			period := time.Duration(float64(len(conns)) / rate * float64(time.Second))
			first := start.Add(period * time.Duration(i) / time.Duration(len(conns)))
			errs[i] = measured[i].fixedRate(c, first, period, start.Add(d))
		})
	}
	all.Wait()
	// One of them says enough.
	if err := cmp.Or(append([]error{ctx.Err()}, errs...)...); err != nil {
		return Result{}, err
	}
	return sum(measured, time.Since(start)), nil
}

// samples is what one connection has measured.
type samples struct {
	took  []time.Duration
	bytes int64
}

func (s *samples) closedLoop(c *conn, end time.Time) error {
	for now := time.Now(); now.Before(end); {
		n, err := c.do()
		if err != nil {
			return err
		}
		then := time.Now()
		s.took, s.bytes = append(s.took, then.Sub(now)), s.bytes+n
		now = then
	}
	return nil
}

func (s *samples) fixedRate(c *conn, first time.Time, period time.Duration, end time.Time) error {
	for due := first; due.Before(end); due = due.Add(period) {
		began := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			// That our own timer is late is not the server's fault.
			began = time.Now()
		}
		n, err := c.do()
		if err != nil {
			return err
		}
		s.took, s.bytes = append(s.took, time.Since(began)), s.bytes+n
	}
	return nil
}

// sum makes a result of what all connections have measured.
func sum(all []samples, elapsed time.Duration) Result {
	r := Result{Elapsed: elapsed}
	var took []time.Duration
	for _, s := range all {
		took = append(took, s.took...)
		r.Bytes += s.bytes
	}
	slices.Sort(took)
	r.Requests = len(took)
	r.P50, r.P99, r.Max = stat.Percentile(took, 50), stat.Percentile(took, 99), stat.Percentile(took, 100)
	return r
}

// dial opens a connection that sends always the same request.
func dial(ctx context.Context, address string, request []byte) (*conn, error) {
	c, err := (&net.Dialer{Timeout: grace}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(c, request), nil
}
