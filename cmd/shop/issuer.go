package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/cmd/shop/issuer"
)

func issuerCommand() *cobra.Command {
	var listen, data string
	cmd := &cobra.Command{
		Use:   "issuer",
		Short: "Serve the keys of the demo's tokens",
		Long: `Serves the key set (JWKS) that the demo's tokens are checked with, at ` + issuer.JWKSPath + `.
The ES256 key is kept in the data folder as ` + issuer.KeyFile + ` (PKCS#8, PEM), and made if it is not there;
"bff token --key" signs with the same file.`,
		Example: "  shop issuer --data data --listen 127.0.0.1:7070",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := issuer.New(data)
			if err != nil {
				return err
			}
			stop, err := serveHTTP(cmd.Context(), listen, "/", keys.Handler(), newLogger(cmd))
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return stop()
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7070", "address of the key set; port 0 picks a free one, which the log tells")
	cmd.PersistentFlags().StringVar(&data, "data", "data", "folder of the key")
	cmd.AddCommand(tokenCommand(&data))
	return cmd
}

func tokenCommand(data *string) *cobra.Command {
	var (
		subject string
		roles   []string
		ttl     time.Duration
		extra   map[string]string
	)
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Sign a token",
		Long: fmt.Sprintf(`Signs a token of the issuer %s for the audience %s, and prints it. Users of the
demo are usr-0001 (admin) and usr-0002 to usr-0020 (customers); boxes are box-0001 to box-0006 (device).`, issuer.ID, issuer.Audience),
		Example: `  shop issuer token --data data --subject usr-0003 --role customer
  shop issuer token --data data --subject box-0002 --role device --ttl 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if strings.TrimSpace(subject) == "" {
				return fmt.Errorf("--subject %q: want whom the token is for", subject)
			}
			if ttl <= 0 {
				return fmt.Errorf("--ttl %v: want more than zero", ttl)
			}
			keys, err := issuer.New(*data)
			if err != nil {
				return err
			}
			claims := map[string]any{}
			for name, value := range extra {
				claims[name] = value
			}
			token, err := keys.Token(subject, roles, ttl, claims)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "whom the token is for, such as usr-0003")
	cmd.Flags().StringSliceVar(&roles, "role", nil, "roles: customer, admin, device, iot; may be repeated")
	cmd.Flags().DurationVar(&ttl, "ttl", 12*time.Hour, "how long it is valid")
	cmd.Flags().StringToStringVar(&extra, "claim", nil, "further claims, name=value; may be repeated")
	return cmd
}
