// Command profiled serves a configuration as bff serve does, and writes a CPU profile of it from the start to the end to
// the file that PORTICO_PROFILE names. Give it to bench in bff's place:
//
//	(cd test/bench && go build -o ../../.out/profiled ./profiled)
//	PORTICO_PROFILE=$PWD/.out/cpu.pprof .bin/bench -portico .out/profiled -suite rest -run order -rounds 1
//	go tool pprof -top .out/cpu.pprof
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/cmd/bff/logbuf"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr, os.LookupEnv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer, lookupEnv func(string) (string, bool)) (err error) {
	if len(args) != 3 || args[0] != "serve" || args[1] != "-c" {
		return errors.New("expected: profiled serve -c FILE")
	}
	path, ok := lookupEnv("PORTICO_PROFILE")
	if !ok {
		return errors.New("PORTICO_PROFILE names no file")
	}
	file, err := config.Load(args[2], lookupEnv)
	if err != nil {
		return err
	}
	lines := logbuf.New(stderr)
	defer func() { err = errors.Join(err, lines.Close()) }()
	logger := slog.New(lines.Handler(nil))
	server, err := bff.New(ctx, file, bff.Extensions{Logger: logger})
	if err != nil {
		return err
	}
	profile, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profile.Close()) }()
	if err := pprof.StartCPUProfile(profile); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	logger.InfoContext(ctx, "listening", "http", server.Addresses().HTTP.String())
	return server.Run(ctx)
}
