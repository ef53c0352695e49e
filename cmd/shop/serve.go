package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/bff/telemetry"
	"github.com/portico-bff/portico/cmd/shop/catalog"
	"github.com/portico-bff/portico/cmd/shop/fleet"
	"github.com/portico-bff/portico/cmd/shop/orders"
	"github.com/portico-bff/portico/cmd/shop/payments"
	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/cmd/shop/users"
)

// identityTimeout is how long a program waits for its first certificate.
const identityTimeout = 30 * time.Second

// serveFlags are the flags of every service.
type serveFlags struct {
	identity                            identityFlags
	data, listen, policy, otlp, metrics string
	grace                               time.Duration
}

func (f *serveFlags) register(cmd *cobra.Command, listen string) {
	f.identity.register(cmd)
	cmd.MarkFlagsOneRequired("workload-api", "identity-dir")
	cmd.Flags().StringVar(&f.listen, "listen", listen, "address to take calls at; port 0 picks a free one, which the log tells")
	cmd.Flags().StringVar(&f.data, "data", "data", "folder of the service's file")
	cmd.Flags().StringVar(&f.policy, "policy", "", "mesh policy file, read again when it changes (default: the built-in policy of the shop)")
	cmd.Flags().StringVar(&f.otlp, "otlp", "", "host and port that takes traces by OTLP over gRPC without TLS (default: no traces)")
	cmd.Flags().StringVar(&f.metrics, "metrics", "", "address of Prometheus metrics at /metrics (default: none)")
	cmd.Flags().DurationVar(&f.grace, "grace", 5*time.Second, "how long running calls may go on after SIGTERM")
}

type runFunc func(ctx context.Context, o service.Options) error

func serviceCommands() []*cobra.Command {
	return []*cobra.Command{
		serviceCommand(policy.Catalog, "127.0.0.1:7001", "Products and prices", catalog.Run),
		serviceCommand(policy.Users, "127.0.0.1:7002", "Customers", users.Run),
		ordersCommand(),
		serviceCommand(policy.Payments, "127.0.0.1:7004", "Charges and refunds, for orders alone", payments.Run),
		serviceCommand(policy.Fleet, "127.0.0.1:7005", "Cold boxes, their readings and commands", fleet.Run),
	}
}

func ordersCommand() *cobra.Command {
	var targets orders.Options
	cmd := serviceCommand(policy.Orders, "127.0.0.1:7003", "Orders: checks prices at the catalog, charges payments",
		func(ctx context.Context, o service.Options) error {
			targets.Options = o
			return orders.Run(ctx, targets)
		})
	cmd.Example += " \\\n    --catalog dns:///catalog:7000 --payments dns:///payments:7000"
	cmd.Flags().StringVar(&targets.Catalog, "catalog", "127.0.0.1:7001", "gRPC target of the catalog")
	cmd.Flags().StringVar(&targets.Payments, "payments", "127.0.0.1:7004", "gRPC target of the payment service")
	return cmd
}

func serviceCommand(name, listen, short string, run runFunc) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Example: "  shop " + name + " --data data --workload-api unix:///run/shop/agent/" + name + ".sock",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.serve(cmd.Context(), name, run, newLogger(cmd))
		},
	}
	f.register(cmd, listen)
	return cmd
}

func (f *serveFlags) serve(ctx context.Context, name string, run runFunc, logger *slog.Logger) (err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return err
	}
	defer listener.Close() // once more, where the service has run
	config := telemetry.Config{Service: "shop-" + name}
	if f.otlp != "" {
		config.OTLP = &telemetry.OTLP{Endpoint: f.otlp, Insecure: true}
	}
	traces, flush, err := telemetry.New(ctx, config, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(context.WithoutCancel(ctx))) }()

	start, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	identity, err := f.identity.open(start, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, identity.Close()) }()
	joined, err := service.Join(ctx, identity, f.policy, traces, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, joined.Close()) }()

	counters := &service.Counters{}
	stopMetrics, err := f.serveMetrics(ctx, counters, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopMetrics()) }()
	return run(ctx, service.Options{
		Data: f.data, Listener: listener, Mesh: joined, Logger: logger, Counters: counters, Grace: f.grace,
	})
}

// serveMetrics serves /metrics, if asked to, until it is stopped.
func (f *serveFlags) serveMetrics(ctx context.Context, counters *service.Counters, logger *slog.Logger) (stop func() error, err error) {
	if f.metrics == "" {
		return func() error { return nil }, nil
	}
	registry := prometheus.NewRegistry()
	err = errors.Join(
		registry.Register(counters),
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return serveHTTP(ctx, f.metrics, "GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), logger)
}
