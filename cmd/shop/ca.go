package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/mesh"
)

func caCommand() *cobra.Command {
	var (
		o              mesh.DevCAOptions
		sockets, files string
		workloads      []string
	)
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Issue the programs' certificates (development only)",
		Long: `Issues short-lived certificates with SPIFFE ids and renews them at half their life, until
interrupted: over the SPIFFE Workload API at one socket a program, as files in one folder
a program, or both. Whoever can open a socket or read a folder is that program, so this
is for development only; SPIRE or cert-manager take its place elsewhere.`,
		Example: `  shop ca --sockets /run/shop/agent
  shop ca --dir ca --files /run/shop/identity --workloads portico,orders --ttl 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := newLogger(cmd)
			ctx := cmd.Context()
			o.OnError = func(err error) { logger.WarnContext(context.WithoutCancel(ctx), "certificate authority", "error", err) }
			ca, err := mesh.NewDevCA(o)
			if err != nil {
				return err
			}
			if sockets != "" {
				err = errors.Join(err, ca.Serve(ctx, sockets, workloads...))
			}
			if files != "" {
				err = errors.Join(err, ca.WriteFiles(ctx, files, workloads...))
			}
			if err == nil {
				logger.InfoContext(ctx, "issuing", "trust_domain", o.TrustDomain, "workloads", workloads, "sockets", sockets, "files", files)
				<-ctx.Done()
			}
			return errors.Join(err, ca.Close())
		},
	}
	cmd.Flags().StringVar(&o.TrustDomain, "trust-domain", policy.TrustDomain, "SPIFFE trust domain")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "folder to keep the root's key in, so that certificates survive a restart (default: in memory)")
	cmd.Flags().DurationVar(&o.TTL, "ttl", time.Hour, "life of a certificate")
	cmd.Flags().StringSliceVar(&workloads, "workloads", policy.Names(), "names of the programs")
	cmd.Flags().StringVar(&sockets, "sockets", "", "folder for one Workload API socket a program: {name}.sock")
	cmd.Flags().StringVar(&files, "files", "", "folder for one folder a program: {name}/tls.crt, tls.key, ca.crt")
	cmd.MarkFlagsOneRequired("sockets", "files")
	return cmd
}
