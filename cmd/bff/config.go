package main

import (
	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/bff/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Work with configuration files"}
	cmd.AddCommand(&cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file",
		Example: `  bff config schema > portico.schema.json
  # and in the first line of the configuration, for editors:
  # yaml-language-server: $schema=portico.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	})
	return cmd
}
