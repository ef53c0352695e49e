package config

import (
	"errors"
	"maps"
	"slices"

	"github.com/invopop/jsonschema"
)

// Listen says where the doors listen.
type Listen struct {
	// HTTP is the web and the mobile door: 127.0.0.1:8080 if absent.
	HTTP Listener `yaml:"http" json:"http,omitzero"`
	// MQTT is the IoT door: 127.0.0.1:1883 if absent.
	MQTT Listener `yaml:"mqtt" json:"mqtt,omitzero"`
	// Admin is for health checks and metrics, and not for clients: 127.0.0.1:9090 if absent.
	Admin Listener `yaml:"admin" json:"admin,omitzero"`
}

// Listener is an address, and the certificate for TLS. In YAML it is "host:port" or {address: "host:port", tls: {...}}.
type Listener struct {
	// Address is host:port; port 0 picks a free one.
	Address string `yaml:"address" json:"address"`
	// TLS makes the listener speak TLS; plain text without it.
	TLS *Certificate `yaml:"tls" json:"tls,omitempty"`
}

// Certificate names the PEM files of a certificate chain and its key.
type Certificate struct {
	// Cert is the file with the certificate chain.
	Cert string `yaml:"cert" json:"cert" jsonschema:"minLength=1"`
	// Key is the file with the private key.
	Key string `yaml:"key" json:"key" jsonschema:"minLength=1"`
}

// addressPattern is host:port; the host may be empty, a name or an IP address.
const addressPattern = `^(\[[0-9a-fA-F:.%]+\]|[^:\[\]\s]*):[0-9]{1,5}$`

// UnmarshalYAML reads either form.
func (l *Listener) UnmarshalYAML(decode func(any) error) error {
	type full Listener
	return errors.Join(decodeEither(decode, &l.Address, (*full)(l)))
}

// decodeEither decodes into a text, or, if the value is none, into another form.
func decodeEither(decode func(any) error, text *string, other any) error {
	if err := decode(text); err == nil {
		return nil
	}
	return decode(other)
}

// JSONSchema describes either form.
func (Listener) JSONSchema() *jsonschema.Schema {
	address := &jsonschema.Schema{
		Type: "string", Pattern: addressPattern, Title: "an address like 127.0.0.1:8080",
		Description: "Address as host:port; port 0 picks a free one.",
	}
	file := func(description string) *jsonschema.Schema {
		one := uint64(1)
		return &jsonschema.Schema{Type: "string", MinLength: &one, Description: description}
	}
	tls := object(map[string]*jsonschema.Schema{
		"cert": file("PEM file with the certificate chain."), "key": file("PEM file with the private key."),
	}, "cert", "key")
	return &jsonschema.Schema{Title: address.Title, OneOf: []*jsonschema.Schema{
		address, object(map[string]*jsonschema.Schema{"address": address, "tls": tls}, "address"),
	}}
}

// object describes a mapping with exactly these keys.
func object(properties map[string]*jsonschema.Schema, required ...string) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Properties: jsonschema.NewProperties(), Required: required, AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		s.Properties.Set(name, properties[name])
	}
	return s
}
