// Command demo runs Portico's demo on one machine, in one process: five gRPC services on the mesh, a token issuer, a
// development certificate authority, the embedded broker, simulated cold boxes, and Portico with all three doors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/bff/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", text(err))
		os.Exit(1)
	}
}

// flags are the demo's settings.
type flags struct {
	http, mqtt, admin string
	data              string
	boxes             int
	info              string
	verbose           bool
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	var f flags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the demo: five services, three doors, one process",
		Long: `Runs everything on this machine until interrupted, and prints where the doors are, tokens, and a command to
paste for each door. Nothing leaves the machine.`,
		Example: `  go run ./cmd/demo
  go run ./cmd/demo --data ./demo-data --boxes 5     # keep what happens
  go run ./cmd/demo --http 127.0.0.1:0 --mqtt 127.0.0.1:0 --admin 127.0.0.1:0 --info info.json`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { //nolint:contextcheck // cobra hands it over
			if f.boxes < 0 || f.boxes > maxBoxes {
				return fmt.Errorf("--boxes %d: expected 0 to %d", f.boxes, maxBoxes)
			}
			return demo(cmd.Context(), f, out, log)
		},
	}
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(log)
	cmd.Flags().StringVar(&f.http, "http", "127.0.0.1:8080", "address of the web and mobile doors; port 0 picks a free one")
	cmd.Flags().StringVar(&f.mqtt, "mqtt", "127.0.0.1:1883", "address of the IoT door; port 0 picks a free one")
	cmd.Flags().StringVar(&f.admin, "admin", "127.0.0.1:9090", "address of the admin port; port 0 picks a free one")
	cmd.Flags().StringVar(&f.data, "data", "", "folder to keep the data in and to go on with (a temporary one, removed at the end, if empty)")
	cmd.Flags().IntVar(&f.boxes, "boxes", 3, "simulated cold boxes that publish over MQTT")
	cmd.Flags().StringVar(&f.info, "info", "", "file to write addresses and tokens to, as JSON, when everything answers")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "write the log to standard error instead of demo.log in the data folder")
	return cmd.ExecuteContext(ctx)
}

// text is an error in one line where that is possible: the configuration is the demo's own, so its places are no help.
func text(err error) string {
	if problems, ok := errors.AsType[config.Problems](err); ok && len(problems) == 1 {
		return problems[0].Text
	}
	return err.Error()
}
