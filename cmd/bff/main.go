// Command bff is Portico's server and its tools: write, check and serve a configuration, sign demo tokens, publish and
// subscribe over MQTT, explain what a mesh policy makes of a call, ask a running server for its health.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, lookupEnv: os.LookupEnv})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bff:", err)
		os.Exit(1)
	}
}

// streams is what a command sees of the process around it.
type streams struct {
	in        io.Reader
	out, err  io.Writer
	lookupEnv func(string) (string, bool)
}

func run(ctx context.Context, args []string, s streams) error {
	root := &cobra.Command{
		Use:   "bff",
		Short: "Three front doors (GraphQL, REST, MQTT) for your gRPC services",
		Example: `  bff check -c portico.yaml      # every mistake in the file, with its place
  bff serve -c portico.yaml      # serve until interrupted`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.AddCommand(
		initCommand(s), serveCommand(s), checkCommand(s), configCommand(), tokenCommand(), mqttCommand(), meshCommand(), healthCommand(), versionCommand(), //nolint:contextcheck // cobra hands it over
	)
	return root.ExecuteContext(ctx)
}
