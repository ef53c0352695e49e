package upstream

import (
	"time"

	"github.com/portico-bff/portico/bff/config/unit"
)

// The defaults of [Config].
const (
	defaultTimeout    = 10 * time.Second
	defaultMaxMessage = 16 << 20
)

// Config says how one upstream is reached, and which services are behind it.
type Config struct {
	// Target is where the upstream is: a gRPC target such as "dns:///orders:7000" (gRPC Name Resolution).
	Target string `yaml:"target" json:"target" jsonschema_description:"Where the upstream is: a gRPC target such as dns:///orders:7000."`
	// Services are the full names of the services behind this upstream.
	Services []string `yaml:"services" json:"services" jsonschema_description:"Full names of the services behind this upstream."`
	// TLS is how the connection is secured. It must be stated.
	TLS TLS `yaml:"tls" json:"tls" jsonschema_description:"How the connection is secured: {mesh: {identity: SPIFFE-ID}}, system, {ca: FILE, server_name: NAME} or none."`
	// Timeout is the longest time that a unary call may take; 10s if zero. A caller's deadline that ends earlier wins.
	// Streams last as long as their client.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty" jsonschema:"type=string,default=10s" jsonschema_description:"The longest time that a unary call may take."`
	// Headers are the headers that go to this upstream besides Portico's own, and those of its answers that clients see.
	Headers Headers `yaml:"headers" json:"headers,omitzero" jsonschema_description:"Headers that go to this upstream, and those of its answers that clients see."`
	// MaxMessage bounds the size of one message in both directions; 16MiB if zero.
	MaxMessage unit.Bytes `yaml:"max_message" json:"max_message,omitempty" jsonschema:"type=string,default=16MiB" jsonschema_description:"Bound on the size of one message."`
}

// Headers says which headers go to an upstream, and which come back. Package core applies it.
type Headers struct {
	// Forward lists the request headers of the client that are passed on. Grpc-Metadata-NAME is passed on as NAME, and
	// Grpc-Metadata-* stands for all such headers but credentials and those that are set or forwarded otherwise; calls
	// whose answers are for everybody go without them.
	Forward []string `yaml:"forward" json:"forward,omitempty" jsonschema_description:"Request headers of the client that are passed on. Grpc-Metadata-NAME is passed on as NAME; Grpc-Metadata-* stands for all of them but credentials and what is set or forwarded otherwise."`
	// Set holds headers that Portico sets, such as {x-user-id: "{principal.subject}"}. A forwarded header of the same
	// name never replaces them.
	Set map[string]string `yaml:"set" json:"set,omitempty" jsonschema_description:"Headers that Portico sets, from templates such as {principal.subject}."`
	// Respond lists the headers and trailers of the upstream's answers that clients get to see, at the REST door: as
	// response headers, or with a stream's last message. Where answers are cached, they are kept with the answer.
	Respond []string `yaml:"respond" json:"respond,omitempty" jsonschema_description:"Headers and trailers of the upstream's answers that clients of the REST door get to see."`
}

// ResolvePaths replaces every relative file path in c by what rel makes of it.
func (c *Config) ResolvePaths(rel func(string) string) {
	if c.TLS.CA != "" {
		c.TLS.CA = rel(c.TLS.CA)
	}
}

// withDefaults fills what is left out.
func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = defaultMaxMessage
	}
	return c
}
