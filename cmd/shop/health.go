package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/portico-bff/portico/mesh"
)

func healthCommand() *cobra.Command {
	var (
		identity         identityFlags
		target, expect   string
		service, address string
		timeout          time.Duration
	)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running service whether it is well",
		Long: `Asks a service by gRPC health checking, with the identity that is given; or, with --url, a
plain HTTP server such as the issuer. The exit status is 0 if it is well, 1 if not.`,
		Example: `  shop health --target 127.0.0.1:7001 --identity-dir /run/shop/identity/catalog
  shop health --url http://127.0.0.1:7070/.well-known/jwks.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if address != "" {
				return askHTTP(ctx, address)
			}
			own, err := identity.open(ctx, newLogger(cmd))
			if err != nil {
				return err
			}
			return errors.Join(askGRPC(ctx, own, target, expect, service), own.Close())
		},
	}
	identity.register(cmd)
	cmd.Flags().StringVar(&address, "url", "", "URL that must answer 200")
	cmd.MarkFlagsOneRequired("workload-api", "identity-dir", "url")
	cmd.Flags().StringVar(&target, "target", "127.0.0.1:7001", "gRPC target of the service")
	cmd.Flags().StringVar(&expect, "expect", "", "SPIFFE id that the service must have (default: the same as the own one)")
	cmd.Flags().StringVar(&service, "service", "", "name of the gRPC service (default: the server as a whole)")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return cmd
}

func askGRPC(ctx context.Context, own mesh.Identity, target, expect, service string) (err error) {
	if expect == "" {
		svid, err := own.GetX509SVID()
		if err != nil {
			return fmt.Errorf("own identity: %w", err)
		}
		expect = svid.ID.String()
	}
	joined, err := mesh.New(ctx, mesh.Options{Identity: own})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, joined.Close()) }()
	conn, err := joined.NewClient(target, mesh.ExpectIdentity(expect))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return fmt.Errorf("health of %s: %w", target, err)
	}
	if reply.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("health of %s: %v", target, reply.GetStatus())
	}
	return nil
}

func askHTTP(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return fmt.Errorf("health of %s: %w", address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health of %s: %s", address, resp.Status)
	}
	return nil
}
