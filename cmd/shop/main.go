// Command shop is the demo's backends: the five services of a grocer with cold boxes, a
// token issuer and a development certificate authority, each a subcommand.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:   "shop",
		Short: "The demo's services: a grocer with cold boxes",
		Long: `The demo's services: a grocer with cold boxes. Each subcommand is one program. The
services talk to one another over mutual TLS with SPIFFE identities, which "shop ca"
issues. For development only: "shop ca" and "shop issuer" give anybody any name.`,
		Example: `  shop ca --sockets /run/shop/agent &
  shop issuer --data data &
  shop catalog --data data --workload-api unix:///run/shop/agent/catalog.sock
  shop issuer token --data data --subject usr-0003 --role customer`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(serviceCommands()...)                          //nolint:contextcheck // cobra hands ctx to the command that runs
	root.AddCommand(issuerCommand(), caCommand(), healthCommand()) //nolint:contextcheck // as above
	return root.ExecuteContext(ctx)
}

// newLogger logs JSON lines to the command's standard error.
func newLogger(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)).With("program", cmd.Name())
}
