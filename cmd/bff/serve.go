package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/cmd/bff/logbuf"
)

// startTimeout bounds the start: the wait for an identity, the opening of listeners.
const startTimeout = 30 * time.Second

func serveCommand(s streams) *cobra.Command {
	var file, level string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a configuration until interrupted",
		Long: fmt.Sprintf(`Serves the doors that a configuration file describes, until SIGINT or SIGTERM. Then it refuses what is new,
ends streams and waits for requests under way as long as "drain" says.

SIGHUP reloads the configuration file and everything it names, and asks servers that describe themselves again, without
disturbing anybody: whole, or, if anything is wrong, not at all. The log says which. POST /reload on the admin port does
the same for who has "admin.token", and answers with every mistake. The sections listen, mesh, iot and telemetry need a
restart.

Logs are JSON lines on standard error, in batches:
a line waits for at most 100 ms, and warnings and errors do not wait.

The garbage collector takes GOGC and GOMEMLIMIT from the environment. Without them it is set to %d, and to %d %% of the
container's memory limit.`, gcPercent, limitPercent),
		Example: `  bff serve -c portico.yaml
  PORTICO_HTTP=0.0.0.0:8080 bff serve -c portico.yaml --log warn
  kill -HUP $(pidof bff)         # reload`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var threshold slog.Level
			if err := threshold.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log %s: expected debug, info, warn or error", level)
			}
			tuneMemory(s.lookupEnv)
			lines := logbuf.New(cmd.ErrOrStderr())
			err := serve(cmd.Context(), file, s, slog.New(lines.Handler(&slog.HandlerOptions{Level: threshold})))
			return errors.Join(err, lines.Close())
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&level, "log", "info", "log from this level on: debug, info, warn or error")
	return cmd
}

func serve(ctx context.Context, path string, s streams, logger *slog.Logger) error {
	hangups := make(chan os.Signal, 1) // one that waits stands for all
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	file, err := config.Load(path, s.lookupEnv)
	if err != nil {
		return err
	}
	start, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	server, err := bff.New(start, file, bff.Extensions{Logger: logger})
	if err != nil {
		return err
	}
	at := server.Addresses()
	doors := []any{"http", at.HTTP.String(), "admin", at.Admin.String()}
	if at.MQTT != nil {
		doors = append(doors, "mqtt", at.MQTT.String())
	}
	logger.InfoContext(ctx, "listening", doors...)
	var reloading sync.WaitGroup
	stop := make(chan struct{})
	reloading.Go(func() {
		for {
			select {
			case <-hangups:
				_, _ = server.Reload(ctx) // which logs how it went
			case <-stop:
				return
			}
		}
	})
	err = server.Run(ctx)
	close(stop)
	reloading.Wait()
	logger.InfoContext(context.WithoutCancel(ctx), "stopped")
	return err
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "portico.yaml", "configuration file")
}

func checkCommand(s streams) *cobra.Command {
	var path string
	var online bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report every mistake in a configuration, with its place",
		Long: `Checks a configuration and all files that it names, without listening or dialing. Every mistake is reported as
file:line:col with what was found, what was expected and the nearest known name. The exit status is 1 if there are any.

Where descriptors come from a server that describes itself ("reflect"), it is asked only with --online; without it,
what depends on those descriptors is not checked, and a warning says so.`,
		Example: `  bff check -c portico.yaml
  bff check -c portico.yaml --online`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := config.Load(path, s.lookupEnv)
			if err != nil {
				return err
			}
			check := bff.Check
			if online {
				check = bff.CheckOnline
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), startTimeout)
			defer cancel()
			warnings, err := check(ctx, file)
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path+": ok")
			return err
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&online, "online", false, "ask servers that describe themselves for their descriptors")
	return cmd
}
