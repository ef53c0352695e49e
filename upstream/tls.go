package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/invopop/jsonschema"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// TLSMode is how a connection is secured.
type TLSMode int

// The ways to secure a connection.
const (
	// TLSUnset is the zero value: nothing was configured, which is a mistake.
	TLSUnset TLSMode = iota
	// TLSMesh is mutual TLS with workload identities; the upstream's identity is pinned.
	TLSMesh
	// TLSSystem is TLS with the certificate authorities of the operating system.
	TLSSystem
	// TLSFile is TLS with the certificate authorities of a file.
	TLSFile
	// TLSNone is plain text.
	TLSNone
)

// TLS is how a connection to an upstream is secured. In YAML it is one of
//
//	tls: {mesh: {identity: "spiffe://shop.test/orders"}}
//	tls: system
//	tls: {ca: FILE, server_name: NAME}
//	tls: none
type TLS struct {
	// Mode is which of them it is.
	Mode TLSMode
	// Identity is the SPIFFE id that the upstream must prove to have, with TLSMesh.
	Identity string
	// CA is a PEM file with the certificate authorities that are trusted, with TLSFile.
	CA string
	// ServerName is the name that the upstream's certificate must carry if it is not the target's host name, with
	// TLSFile.
	ServerName string
}

// UnmarshalYAML reads any of the forms.
func (t *TLS) UnmarshalYAML(decode func(any) error) error {
	const forms = "{mesh: {identity: SPIFFE-ID}}, system, {ca: FILE, server_name: NAME} or none"
	var value any
	if err := decode(&value); err != nil {
		return err
	}
	switch v := value.(type) {
	case string:
		switch v {
		case "system":
			*t = TLS{Mode: TLSSystem}
			return nil
		case "none":
			*t = TLS{Mode: TLSNone}
			return nil
		}
		return &mistake.Mistake{
			What: fmt.Sprintf("unknown kind of TLS %q", v), Expected: forms,
			Nearest: mistake.Nearest(v, []string{"system", "none"}),
		}
	case map[string]any:
		return t.fromMap(v)
	}
	return &mistake.Mistake{What: fmt.Sprintf("%v is no kind of TLS", value), Expected: forms}
}

func (t *TLS) fromMap(m map[string]any) error {
	var errs []error
	_, isMesh := m["mesh"]
	if isMesh {
		*t = TLS{Mode: TLSMesh}
		errs = append(errs, onlyKeys(m, "mesh"))
		inner, ok := m["mesh"].(map[string]any)
		if !ok {
			return errors.Join(append(errs, &mistake.Mistake{Path: []string{"mesh"}, What: "no identity is given", Expected: "{identity: SPIFFE-ID}"})...)
		}
		errs = append(errs, mistake.In(onlyKeys(inner, "identity"), "mesh"), mistake.In(text(inner, "identity", true, &t.Identity), "mesh"))
		return errors.Join(errs...)
	}
	*t = TLS{Mode: TLSFile}
	errs = append(errs, onlyKeys(m, "ca", "server_name", "mesh"), text(m, "ca", true, &t.CA), text(m, "server_name", false, &t.ServerName))
	return errors.Join(errs...)
}

// onlyKeys reports the keys of m that are not allowed.
func onlyKeys(m map[string]any, allowed ...string) error {
	var errs []error
	for key := range m {
		if !slices.Contains(allowed, key) {
			errs = append(errs, &mistake.Mistake{
				Path: []string{key}, Key: true, What: fmt.Sprintf("unknown key %q", key),
				Nearest: mistake.Nearest(key, allowed),
			})
		}
	}
	return errors.Join(errs...)
}

// text copies the string at key.
func text(m map[string]any, key string, required bool, to *string) error {
	v, ok := m[key]
	if !ok && !required {
		return nil
	}
	s, isText := v.(string)
	if !isText || s == "" {
		return &mistake.Mistake{Path: []string{key}, What: key + " is missing or empty", Expected: "a text"}
	}
	*to = s
	return nil
}

// JSONSchema describes the forms.
func (TLS) JSONSchema() *jsonschema.Schema {
	text := func(description string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Description: description}
	}
	object := func(required []string, properties map[string]*jsonschema.Schema) *jsonschema.Schema {
		s := &jsonschema.Schema{Type: "object", Required: required, Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			p := properties[name]
			s.Properties.Set(name, p)
		}
		return s
	}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{"system", "none"}},
		object([]string{"mesh"}, map[string]*jsonschema.Schema{
			"mesh": object([]string{"identity"}, map[string]*jsonschema.Schema{
				"identity": text("The SPIFFE id that the upstream must prove to have."),
			}),
		}),
		object([]string{"ca"}, map[string]*jsonschema.Schema{
			"ca":          text("A PEM file with the certificate authorities that are trusted."),
			"server_name": text("The name in the upstream's certificate, if it is not the target's host name."),
		}),
	}}
}

// credentials makes the transport credentials of every mode but TLSMesh.
func (t TLS) credentials() (credentials.TransportCredentials, error) {
	switch t.Mode {
	case TLSNone:
		return insecure.NewCredentials(), nil
	case TLSSystem:
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), nil
	case TLSFile:
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, &mistake.Mistake{Path: []string{"ca"}, What: "cannot read the certificate authorities: " + err.Error(), Err: err}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, &mistake.Mistake{Path: []string{"ca"}, What: t.CA + " holds no certificate in PEM"}
		}
		return credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}), nil
	case TLSMesh, TLSUnset:
	}
	return nil, mistake.At("these connections are not plain TLS")
}
