// Command chaos shows that the mesh holds when things go wrong: it runs the scenarios of
// package scenario with real processes and real sockets, prints a line for each (its
// name, its figures with their marks, ok or short), and exits with status 1 if any falls
// short. See README.md.
//
// It is also the programs of the scenarios: servers and clients are processes of its own
// kind, told apart by their environment (package node).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
	"github.com/portico-bff/portico/test/chaos/scenario"
)

// scenarioTimeout is the longest that a scenario may take: several times what it does.
const scenarioTimeout = 4 * time.Minute

func main() {
	if code, ok := node.Main(); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("run", ".", "run the scenarios that match this `regexp`")
	out := flags.String("out", "", "write the figures of a whole run to chaos.json and chaos.md in this `folder`; nowhere if empty")
	requireAll := flags.Bool("require-all", false, "fall short of a scenario that this machine cannot run")
	brief := flags.Bool("brief", false, "run small versions, whose figures say little")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	all := scenario.All()
	var report report
	for _, s := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if pattern.MatchString(s.Name) {
			report.add(runOne(ctx, s, program, *brief, *requireAll), stdout)
		}
	}
	if len(report.lines) == 0 {
		return fmt.Errorf("-run %s: no such scenario", *only)
	}
	if *out != "" && len(report.lines) == len(all) && !*brief {
		if err := report.write(*out); err != nil {
			return err
		}
	}
	if report.short > 0 {
		return fmt.Errorf("%d of %d scenarios fell short", report.short, len(report.lines))
	}
	return nil
}

// result is what became of a scenario.
type result struct {
	name    string
	figures []figure.Figure
	note    string // what kept it from being run, or from its end
	ok      bool
	took    time.Duration
}

func runOne(ctx context.Context, s scenario.Scenario, program string, brief, requireAll bool) (r result) {
	ctx, cancel := context.WithTimeout(ctx, scenarioTimeout)
	defer cancel()
	r.name = s.Name
	began := time.Now()
	defer func() { r.took = time.Since(began) }()
	l, err := lab.New(program)
	if err != nil {
		r.note = err.Error()
		return r
	}
	l.Brief = brief
	r.figures, err = s.Run(ctx, l)
	err = errors.Join(err, l.Close(ctx))
	if errors.Is(err, lab.ErrNoNamespaces) {
		r.note, r.ok = "skipped: "+err.Error(), !requireAll
		return r
	}
	r.ok = err == nil && len(r.figures) > 0
	if err != nil {
		r.note = err.Error()
	}
	for _, f := range r.figures {
		r.ok = r.ok && f.Met()
	}
	return r
}

// line is what is told of a scenario.
func (r *result) line() string {
	parts := make([]string, len(r.figures), len(r.figures)+1)
	for i, f := range r.figures {
		parts[i] = f.String()
	}
	if r.note != "" {
		parts = append(parts, strings.ReplaceAll(r.note, "\n", " "))
	}
	state := "short"
	if r.ok {
		state = "ok"
	}
	return fmt.Sprintf("%-20s %-6s %s  [%.1f s]", r.name, state, strings.Join(parts, ", "), r.took.Seconds())
}

// report gathers results.
type report struct {
	lines   []string
	figures []figure.Figure
	short   int
}

func (r *report) add(one result, stdout io.Writer) {
	line := one.line()
	_, _ = fmt.Fprintln(stdout, line) // who does not read it has the exit status
	r.lines = append(r.lines, line)
	for _, f := range one.figures {
		f.Name = "chaos." + strings.ReplaceAll(one.name, "-", "_") + "." + f.Name
		r.figures = append(r.figures, f)
	}
	if !one.ok {
		r.short++
	}
}

// write writes chaos.json for programs and chaos.md for people.
func (r *report) write(dir string) error {
	text, err := figure.JSON(r.figures)
	if err = errors.Join(err, os.MkdirAll(dir, 0o755)); err != nil { //nolint:gosec // results are for everybody
		return err
	}
	load := "unknown"
	if loads, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(loads))[:3], " ")
	}
	page := fmt.Sprintf("# chaos\n\n%s, %s/%s, %s, %d processors; load average %s at the end.\n\n```\n%s\n```\n",
		time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), load, strings.Join(r.lines, "\n"))
	return errors.Join(lab.Rewrite(filepath.Join(dir, "chaos.json"), string(text)), lab.Rewrite(filepath.Join(dir, "chaos.md"), page))
}
