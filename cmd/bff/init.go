package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/spf13/cobra"

	"github.com/portico-bff/portico/bff"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/scaffold"
	"github.com/portico-bff/portico/upstream"
)

// The files that init writes beside those that package scaffold names.
const (
	configFile = "portico.yaml"
	keyFile    = "dev-key.pem"
	ignoreFile = ".gitignore"
)

// initFlags say where descriptors come from and what to make of them.
type initFlags struct {
	set, protos, reflect  string
	imports, files        []string
	target, out           string
	plaintext, force      bool
	ca, serverName        string
	metadata              map[string]string
	timeout               time.Duration
	public                []string
	fromStdout            io.Writer
	lookupEnv             func(string) (string, bool)
	tls                   upstream.TLS
	tlsYAML, live, origin string
}

func initCommand(s streams) *cobra.Command {
	f := initFlags{lookupEnv: s.lookupEnv}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration for your services",
		Long: `Writes a configuration, a descriptor set and a GraphQL schema for services that are described by a descriptor set, by
proto files or by a server with reflection. The result passes "bff check" and serves; it is yours to edit.

No method is open: each needs a token, and a key to sign tokens for trying out is written, too. --public opens methods to
anybody: "reads" those that change nothing, "all" all of them, and patterns such as shop.v1.Catalog/* some.

Routes of methods without google.api.http annotations are guessed from their names and marked so.`,
		Example: `  bff init --reflect localhost:50051 --plaintext
  bff init --set my.binpb --target dns:///orders:7000 --plaintext --out deploy
  bff init --protos proto --import third_party --plaintext --public reads`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.fromStdout = cmd.OutOrStdout()
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.set, "set", "", "descriptor set file, of buf build -o or protoc --include_imports -o")
	flags.StringVar(&f.protos, "protos", "", "folder with .proto files")
	flags.StringSliceVar(&f.imports, "import", nil, "more folders in which the files of --protos find imports")
	flags.StringSliceVar(&f.files, "files", nil, "which files of --protos to compile, as patterns; all by default")
	flags.StringVar(&f.reflect, "reflect", "", "address of a server with reflection (grpc.reflection.v1)")
	flags.StringVar(&f.target, "target", "", "gRPC target of the services (that of --reflect, or dns:///localhost:50051)")
	flags.BoolVar(&f.plaintext, "plaintext", false, "the services speak without TLS")
	flags.StringVar(&f.ca, "ca", "", "PEM file with the certificate authorities of the services (the system's by default)")
	flags.StringVar(&f.serverName, "server-name", "", "name in the services' certificate, with --ca")
	flags.StringToStringVar(&f.metadata, "metadata", nil, "headers to send along with --reflect, as name=value")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long --reflect may take")
	flags.StringSliceVar(&f.public, "public", nil, "methods that anybody may call: reads, all, or patterns")
	flags.StringVar(&f.out, "out", ".", "folder to write to")
	flags.BoolVar(&f.force, "force", false, "overwrite files that are there")
	cmd.MarkFlagsOneRequired("set", "protos", "reflect")
	cmd.MarkFlagsMutuallyExclusive("set", "protos", "reflect")
	cmd.MarkFlagsMutuallyExclusive("plaintext", "ca")
	return cmd
}

func (f *initFlags) run(ctx context.Context) error {
	if err := f.secure(); err != nil {
		return err
	}
	descriptors, err := upstream.LoadOnline(ctx, []upstream.DescriptorSource{f.source()}, nil)
	if err != nil {
		return f.advise(err)
	}
	made, err := scaffold.New(scaffold.Options{
		Descriptors: descriptors, Origin: f.origin, Live: f.live, Target: f.target, TLS: f.tlsYAML, Public: f.public,
	})
	if err != nil {
		return err
	}
	if err := f.write(made); err != nil {
		return err
	}
	file, err := config.Load(filepath.Join(f.out, configFile), f.lookupEnv)
	if err != nil {
		return fmt.Errorf("what was written is wrong, which is a defect of init:\n%w", err)
	}
	warnings, err := bff.Check(ctx, file)
	if err != nil {
		return fmt.Errorf("what was written is wrong, which is a defect of init:\n%w", err)
	}
	return f.report(made, warnings)
}

// advise says which flag may help against an error of --reflect.
func (f *initFlags) advise(err error) error {
	_, record := errors.AsType[tls.RecordHeaderError](err)
	plain := record || errors.Is(err, upstream.ErrSpeaksPlain)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case plain:
		return fmt.Errorf("%w\nif the server speaks without TLS, add --plaintext", err)
	case untrusted:
		return fmt.Errorf("%w\nif the certificate is of an authority of your own, name its file with --ca", err)
	case errors.Is(err, upstream.ErrSpeaksTLS):
		return fmt.Errorf("%w\nleave out --plaintext", err)
	case f.reflect != "" && f.plaintext && strings.Contains(err.Error(), "error reading server preface"):
		return fmt.Errorf("%w\nif the server speaks TLS, leave out --plaintext", err)
	}
	return err
}

// secure reads the flags about TLS and targets.
func (f *initFlags) secure() error {
	switch {
	case f.plaintext:
		f.tls, f.tlsYAML = upstream.TLS{Mode: upstream.TLSNone}, "none"
	case f.ca != "":
		ca, err := filepath.Abs(f.ca)
		if err != nil {
			return err
		}
		f.tls = upstream.TLS{Mode: upstream.TLSFile, CA: ca, ServerName: f.serverName}
		f.tlsYAML = "{ca: " + strconv.Quote(ca)
		if f.serverName != "" {
			f.tlsYAML += ", server_name: " + strconv.Quote(f.serverName)
		}
		f.tlsYAML += "}"
	case f.serverName != "":
		return errors.New("--server-name needs --ca")
	default:
		f.tls, f.tlsYAML = upstream.TLS{Mode: upstream.TLSSystem}, "system"
	}
	if f.target == "" {
		f.target = "dns:///localhost:50051"
		if f.reflect != "" {
			f.target = f.reflect
		}
	}
	if !strings.Contains(f.target, ":///") && !strings.HasPrefix(f.target, "unix:") {
		f.target = "dns:///" + f.target
	}
	return nil
}

// source is where the descriptors come from, and notes it for the configuration.
func (f *initFlags) source() upstream.DescriptorSource {
	relative := func(path string) string { // to the folder that is written to
		abs, err := filepath.Abs(path)
		out, outErr := filepath.Abs(f.out)
		if err != nil || outErr != nil {
			return path
		}
		if rel, err := filepath.Rel(out, abs); err == nil {
			return filepath.ToSlash(rel)
		}
		return abs
	}
	list := func(paths []string) string {
		quoted := make([]string, len(paths))
		for i, p := range paths {
			quoted[i] = strconv.Quote(p)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	switch {
	case f.set != "":
		f.origin = "the descriptor set " + f.set
		return upstream.DescriptorSource{Set: f.set}
	case f.protos != "":
		f.origin = "the proto files in " + f.protos
		f.live = "{protos: " + strconv.Quote(relative(f.protos))
		if len(f.imports) > 0 {
			dirs := make([]string, len(f.imports))
			for i, dir := range f.imports {
				dirs[i] = relative(dir)
			}
			f.live += ", imports: " + list(dirs)
		}
		if len(f.files) > 0 {
			f.live += ", files: " + list(f.files)
		}
		f.live += "}"
		return upstream.DescriptorSource{Protos: f.protos, Imports: f.imports, Files: f.files}
	default:
		f.origin = "the reflection of " + f.reflect
		f.live = "{reflect: " + strconv.Quote(f.reflect) + ", tls: " + f.tlsYAML
		if len(f.metadata) > 0 {
			f.live += ", metadata: {" // their values may be secrets, which belong into the environment
			for i, key := range slices.Sorted(maps.Keys(f.metadata)) {
				if i > 0 {
					f.live += ", "
				}
				f.live += key + ": ..."
			}
			f.live += "}"
		}
		f.live += "}"
		return upstream.DescriptorSource{Reflect: f.reflect, TLS: f.tls, Metadata: f.metadata, Timeout: f.timeout}
	}
}

// write writes all files, or none if one of them is there already.
func (f *initFlags) write(made *scaffold.Output) error {
	key, keys, err := developmentKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		configFile: made.Config, scaffold.SetFile: made.Set, keyFile: key, scaffold.KeysFile: keys,
		ignoreFile: []byte("# Private: signs tokens for trying out.\n" + keyFile + "\n"),
	}
	if made.Schema != nil {
		files[scaffold.SchemaFile] = made.Schema
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil { //nolint:gosec // a folder of the user's project
		return err
	}
	_, err = os.Stat(filepath.Join(f.out, ignoreFile))
	if hasIgnore := err == nil; hasIgnore {
		delete(files, ignoreFile) // it is the user's; the report tells what to add
	}
	names := slices.Sorted(maps.Keys(files))
	if !f.force {
		var errs []error
		for _, name := range names {
			if _, err := os.Lstat(filepath.Join(f.out, name)); err == nil {
				errs = append(errs, fmt.Errorf("%s is there already; --force overwrites it", filepath.Join(f.out, name)))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	for _, name := range names {
		mode := os.FileMode(0o644)
		if name == keyFile {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(f.out, name), files[name], mode); err != nil {
			return err
		}
	}
	return nil
}

// developmentKey makes a key that signs tokens for trying out: the private key as PEM, and the public one as a JWKS.
func developmentKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	pub, err := jwk.Import(key.Public())
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(jwk.AssignKeyID(pub), pub.Set(jwk.AlgorithmKey, jwa.ES256()), pub.Set(jwk.KeyUsageKey, jwk.ForSignature))
	set := jwk.NewSet()
	if err = errors.Join(err, set.AddKey(pub)); err != nil {
		return nil, nil, err
	}
	public, err = json.MarshalIndent(set, "", "  ")
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), append(public, '\n'), err
}

// report says what is there now and what to do with it.
func (f *initFlags) report(made *scaffold.Output, warnings []string) error {
	at := func(name string) string { return filepath.Join(f.out, name) }
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintln(&b, "warning:", w)
	}
	fmt.Fprintf(&b, "%s: ok, for the services at %s\n", at(configFile), f.target)
	if len(made.Open) == 0 {
		fmt.Fprintln(&b, "Nothing is open: every method needs a token (see --public).")
	} else {
		fmt.Fprintf(&b, "OPEN to anybody who reaches the server, without a token: %s\n", strings.Join(made.Open, ", "))
	}
	fmt.Fprintf(&b, "\n  bff serve -c %s\n", at(configFile))
	fmt.Fprintf(&b, "  bff token --key %s --issuer %s --audience %s --subject me\n", at(keyFile), scaffold.Issuer, scaffold.Audience)
	fmt.Fprintf(&b, "\n%s is for development alone; keep it out of version control.\n", at(keyFile))
	_, err := io.WriteString(f.fromStdout, b.String())
	return err
}
