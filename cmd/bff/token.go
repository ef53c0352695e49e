package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/spf13/cobra"
)

// tokenFlags are the claims of a token to be signed.
type tokenFlags struct {
	key, issuer, audience, subject string
	roles                          []string
	ttl                            time.Duration
}

func tokenCommand() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Sign a token for trying things out",
		Long: `Signs a JWT (ES256) with a private key from a PEM file (PKCS #8). It is meant for development: in production
tokens come from an identity provider, and the server itself never signs one.`,
		Example: `  bff token --key issuer.pem --subject usr-0003 --role customer
  bff token --key issuer.pem --subject box-0001 --role device --ttl 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := f.sign(time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "PEM file with the private key (required)")
	flags.StringVar(&f.issuer, "issuer", "https://id.shop.test", "claim iss")
	flags.StringVar(&f.audience, "audience", "portico", "claim aud")
	flags.StringVar(&f.subject, "subject", "", "claim sub: who the token is for (required)")
	flags.StringSliceVar(&f.roles, "role", nil, "claim roles; may be repeated")
	flags.DurationVar(&f.ttl, "ttl", 12*time.Hour, "how long the token is valid")
	_ = cmd.MarkFlagRequired("key")
	_ = cmd.MarkFlagRequired("subject")
	return cmd
}

func (f *tokenFlags) sign(now time.Time) (string, error) {
	if f.ttl <= 0 {
		return "", fmt.Errorf("--ttl %s: expected a duration above 0", f.ttl)
	}
	private, err := readKey(f.key)
	if err != nil {
		return "", err
	}
	key, err := jwk.Import(private)
	if err != nil {
		return "", fmt.Errorf("use the key in %s: %w", f.key, err)
	}
	if err := jwk.AssignKeyID(key); err != nil {
		return "", fmt.Errorf("name the key in %s: %w", f.key, err)
	}
	token, err := jwt.NewBuilder().
		Issuer(f.issuer).Audience([]string{f.audience}).Subject(f.subject).JwtID(uuid.NewString()).
		IssuedAt(now).NotBefore(now).Expiration(now.Add(f.ttl)).
		Claim("roles", f.roles).Build()
	if err != nil {
		return "", fmt.Errorf("build the token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return string(signed), nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block, expected a private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New(path + ": not an ECDSA P-256 key, expected one for ES256")
	}
	return key, nil
}
