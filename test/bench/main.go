// Command bench measures Portico against a floor and against its peers, prints a table and writes one file of results
// for each suite. See README.md.
//
// It is also the programs that it measures with: "bench backend" is the gRPC service, "bench front NAME TARGET" a
// contender, "bench load" the load generator, and "bench echo [FOLDER]" the server that clients are measured with.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/portico-bff/portico/test/bench/backend"
	"github.com/portico-bff/portico/test/bench/front"
	"github.com/portico-bff/portico/test/bench/load"
	"github.com/portico-bff/portico/test/bench/mesh"
	"github.com/portico-bff/portico/test/bench/mesh/echo"
	"github.com/portico-bff/portico/test/bench/report"
	"github.com/portico-bff/portico/test/bench/rest"
	"github.com/portico-bff/portico/test/bench/wire"
)

//go:embed gen/bench.binpb
var descriptors []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "backend":
			return listen(ctx, stdout, backend.Serve)
		case "front":
			return runFront(ctx, args[1:], stdout)
		case "load":
			return load.Serve(ctx, stdin, stdout)
		case "echo":
			return runEcho(ctx, args[1:], stdout)
		}
	}
	return bench(ctx, args, stdout, stderr)
}

// listen opens a listener, tells where it is, and serves it.
func listen(ctx context.Context, stdout io.Writer, serve func(context.Context, net.Listener) error) error {
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, lis.Addr()); err != nil {
		return errors.Join(err, lis.Close())
	}
	return serve(ctx, lis)
}

// runFront is a contender.
func runFront(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 2 {
		return errors.New("expected: bench front NAME TARGET")
	}
	maker, ok := front.Makers()[args[0]]
	if !ok {
		return fmt.Errorf("there is no contender %q", args[0])
	}
	h, release, err := maker(args[1])
	if err != nil {
		return err
	}
	err = listen(ctx, stdout, func(ctx context.Context, lis net.Listener) error { return front.Serve(ctx, lis, h) })
	return errors.Join(err, release())
}

// runEcho is the server of suite mesh.
func runEcho(ctx context.Context, args []string, stdout io.Writer) error {
	dir := ""
	switch len(args) {
	case 0:
	case 1:
		dir = args[0]
	default:
		return errors.New("expected: bench echo [FOLDER]")
	}
	return listen(ctx, stdout, func(ctx context.Context, lis net.Listener) error { return echo.Serve(ctx, lis, dir) })
}

// settings are the flags.
type settings struct {
	suites   []string
	portico  string
	programs string
	out      string
	rounds   int
	duration time.Duration
	conns    int
	only     *regexp.Regexp
	strict   bool
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	s := &settings{}
	suites := flags.String("suite", strings.Join(allSuites(), ","), "`names` of the suites to run")
	only := flags.String("run", "", "measure only the cases of suite rest that match this `regexp`: order, page, five, latency")
	flags.StringVar(&s.portico, "portico", ".bin/bff", "Portico's `program`")
	flags.StringVar(&s.programs, "programs", ".bin/bench-mesh", "`folder` of the programs that suite mesh measures")
	flags.StringVar(&s.out, "out", "", "write results to this `folder`; nowhere if empty")
	flags.IntVar(&s.rounds, "rounds", 5, "how often everything is measured")
	flags.DurationVar(&s.duration, "duration", 4*time.Second, "how long each contender is measured in a round; a tenth of it each figure of suite wire")
	flags.IntVar(&s.conns, "connections", 64, "how many requests are under way")
	flags.BoolVar(&s.strict, "strict", false, "exit with status 1 if a mark is not met")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.rounds < 1 || s.rounds > 100 {
		return nil, fmt.Errorf("-rounds %d: expected 1 to 100", s.rounds)
	}
	if s.duration < 100*time.Millisecond || s.duration > 30*time.Second {
		return nil, fmt.Errorf("-duration %s: expected 100ms to 30s", s.duration)
	}
	s.suites = strings.Split(*suites, ",")
	for _, name := range s.suites {
		if !slices.Contains(allSuites(), name) {
			return nil, fmt.Errorf("-suite %s: expected some of %s", name, strings.Join(allSuites(), ", "))
		}
	}
	if *only != "" {
		var err error
		if s.only, err = regexp.Compile(*only); err != nil {
			return nil, fmt.Errorf("-run: %w", err)
		}
	}
	if s.only != nil && s.out != "" {
		return nil, errors.New("-run leaves rows out, so its results cannot be written: give -out= with it")
	}
	return s, nil
}

func allSuites() []string { return []string{"wire", "rest", "mesh"} }

// bench runs the suites.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	var all []report.Row
	for _, name := range s.suites {
		result, err := s.run(ctx, name, stderr)
		if err != nil {
			return fmt.Errorf("suite %s: %w", name, err)
		}
		if s.out != "" {
			if err := result.Write(s.out, name, s.setting()); err != nil {
				return err
			}
		}
		all = append(all, result.Rows...)
	}
	if err := report.Table(stdout, all); err != nil {
		return err
	}
	if short := report.Short(all); s.strict && len(short) > 0 {
		return fmt.Errorf("%d of %d marks are not met", len(short), len(all))
	}
	return nil
}

// setting names what the figures depend on.
func (s *settings) setting() string {
	return report.Setting(time.Now(), "google.golang.org/grpc", "google.golang.org/protobuf", "connectrpc.com/vanguard",
		"github.com/grpc-ecosystem/grpc-gateway/v2") + fmt.Sprintf("\n%d rounds of %s with %d connections.", s.rounds, s.duration, s.conns)
}

// run runs one suite.
func (s *settings) run(ctx context.Context, name string, progress io.Writer) (report.Result, error) {
	if name == "wire" {
		return wire.Run(ctx, wire.Options{Rounds: s.rounds, Time: s.duration / 10, Progress: progress})
	}
	self, err := os.Executable()
	if err != nil {
		return report.Result{}, err
	}
	if name == "mesh" {
		return mesh.Run(ctx, mesh.Options{
			Self: self, Programs: s.programs, Rounds: s.rounds, Warmup: s.duration / 8, Duration: s.duration, Calls: s.conns, Progress: progress,
		})
	}
	return rest.Run(ctx, rest.Options{
		Self: self, Portico: s.portico, Descriptors: descriptors, Rounds: s.rounds, Warmup: s.duration / 8, Duration: s.duration,
		Connections: s.conns, Only: s.only, Progress: progress,
	})
}
