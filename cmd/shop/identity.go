package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/mesh"
)

// identityFlags say where a program's identity comes from: at most one of the two.
type identityFlags struct {
	workloadAPI, dir string
}

func (f *identityFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.workloadAPI, "workload-api", "", `address of the SPIFFE Workload API, such as "unix:///run/shop/agent/catalog.sock"`)
	cmd.Flags().StringVar(&f.dir, "identity-dir", "", "folder with tls.crt, tls.key and ca.crt, which something else renews")
	cmd.MarkFlagsMutuallyExclusive("workload-api", "identity-dir")
}

// open waits for the identity until ctx ends.
func (f *identityFlags) open(ctx context.Context, logger *slog.Logger) (mesh.Identity, error) {
	if f.workloadAPI != "" {
		return mesh.WorkloadAPI(ctx, f.workloadAPI)
	}
	if f.dir == "" {
		return nil, errors.New("--identity-dir is empty")
	}
	background := context.WithoutCancel(ctx)
	return mesh.FileIdentity(ctx, mesh.FileOptions{Dir: f.dir, OnError: func(err error) {
		logger.WarnContext(background, "identity files cannot be used", "error", err)
	}})
}
