// Package config reads Portico's configuration file. [Config] composes the sections that the packages declare for
// themselves; [Load] decodes it strictly, and a [File] remembers where everything stands, so that every mistake, also
// one that a package finds later, is reported with its line and column.
package config

import (
	"time"

	"github.com/portico-bff/portico/bff/admin"
	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/bff/telemetry"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/bff/web"
	"github.com/portico-bff/portico/upstream"
)

// Config is the whole configuration file.
type Config struct {
	// Version is the version of the file's form: 1.
	Version int `yaml:"version" json:"version" jsonschema:"enum=1"`
	// Listen says where the doors listen.
	Listen Listen `yaml:"listen" json:"listen,omitzero"`
	// Descriptors says where the services' protobuf descriptors come from.
	Descriptors []upstream.DescriptorSource `yaml:"descriptors" json:"descriptors" jsonschema:"minItems=1"`
	// Upstreams are the gRPC services, by a name of your choice.
	Upstreams map[string]upstream.Config `yaml:"upstreams" json:"upstreams" jsonschema:"minProperties=1"`
	// Mesh is this server's own identity in the mesh; needed by upstreams with tls: {mesh: ...}.
	Mesh *Mesh `yaml:"mesh" json:"mesh,omitempty"`
	// Auth says whose credentials are accepted.
	Auth auth.Config `yaml:"auth" json:"auth,omitzero"`
	// Methods says which methods may be called by whom, and which answers are cached, by "package.Service/Method",
	// "package.Service/*" or "package.*". A method that no key matches is denied.
	Methods map[string]core.MethodConfig `yaml:"methods" json:"methods,omitempty"`
	// Web is the GraphQL door; without it there is none.
	Web *web.Config `yaml:"web" json:"web,omitempty"`
	// Mobile is the REST door; without it there is none.
	Mobile *mobile.Config `yaml:"mobile" json:"mobile,omitempty"`
	// HTTP gives methods routes at the mobile door that their protos do not.
	HTTP translate.Config `yaml:"http" json:"http,omitzero"`
	// IoT is the MQTT door; without it there is none.
	IoT *iot.Config `yaml:"iot" json:"iot,omitempty"`
	// Limits are rate limits over all doors.
	Limits []limit.Config `yaml:"limits" json:"limits,omitempty"`
	// LimitsHTTP bounds HTTP requests at the web and mobile doors.
	LimitsHTTP edge.Config `yaml:"limits_http" json:"limits_http,omitzero"`
	// Telemetry says where traces go.
	Telemetry telemetry.Config `yaml:"telemetry" json:"telemetry,omitzero"`
	// Drain is how long requests under way may take when the server stops: 10s if 0.
	Drain time.Duration `yaml:"drain" json:"drain,omitempty"`
	// Linger is how long streams and WebSockets may go on after a reload by the configuration that they began with: 10m if
	// 0.
	Linger time.Duration `yaml:"linger" json:"linger,omitempty"`
	// Admin says who may do more at the admin port than ask for health and metrics.
	Admin admin.Config `yaml:"admin" json:"admin,omitzero"`
}

// Mesh is this server's identity in the mesh.
type Mesh struct {
	// Identity says where the certificates come from.
	Identity Identity `yaml:"identity" json:"identity"`
	// Policy is the mesh's policy file.
	Policy string `yaml:"policy" json:"policy" jsonschema:"minLength=1"`
}

// Identity says where this server's SPIFFE certificates come from: exactly one of its keys.
type Identity struct {
	// WorkloadAPI is the address of a SPIFFE Workload API, such as unix:///run/spire/agent.sock.
	WorkloadAPI string `yaml:"workload_api" json:"workload_api,omitempty" jsonschema:"pattern=^$|^(unix|tcp)://,title=an address like unix:///run/spire/agent.sock"`
	// Files is a folder with tls.crt, tls.key and ca.crt that somebody keeps fresh.
	Files string `yaml:"files" json:"files,omitempty"`
}

// choose drops alternatives without a value, so that environment variables can choose between them.
func (c *Config) choose() {
	if otlp := c.Telemetry.OTLP; otlp != nil && otlp.Endpoint == "" {
		c.Telemetry.OTLP = nil
	}
	if c.IoT == nil || c.IoT.Broker.External == nil {
		return
	}
	if broker := &c.IoT.Broker; broker.External.URL == "" {
		broker.External = nil
	} else {
		broker.Embedded = nil
	}
}

// defaults fills in what an empty file would mean.
func (c *Config) defaults() {
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	if c.Linger == 0 {
		c.Linger = 10 * time.Minute
	}
	for listener, address := range map[*Listener]string{
		&c.Listen.HTTP: "127.0.0.1:8080", &c.Listen.MQTT: "127.0.0.1:1883", &c.Listen.Admin: "127.0.0.1:9090",
	} {
		if listener.Address == "" {
			listener.Address = address
		}
	}
}

// resolvePaths makes every relative path in the configuration relative to the file's folder.
func (c *Config) resolvePaths(rel func(string) string) {
	fix := func(paths ...*string) {
		for _, p := range paths {
			if *p != "" {
				*p = rel(*p)
			}
		}
	}
	for i := range c.Descriptors {
		c.Descriptors[i].ResolvePaths(rel)
	}
	for name, u := range c.Upstreams {
		u.ResolvePaths(rel)
		c.Upstreams[name] = u
	}
	if c.Mesh != nil {
		fix(&c.Mesh.Policy, &c.Mesh.Identity.Files)
	}
	c.Auth.ResolvePaths(rel)
	for _, l := range []*Listener{&c.Listen.HTTP, &c.Listen.MQTT, &c.Listen.Admin} {
		if l.TLS != nil {
			fix(&l.TLS.Cert, &l.TLS.Key)
		}
	}
	if c.Web != nil {
		for _, list := range [][]string{c.Web.Schema, c.Web.Queries} {
			for i := range list {
				fix(&list[i])
			}
		}
	}
	if c.Mobile != nil {
		for i := range c.Mobile.Operations {
			fix(&c.Mobile.Operations[i])
		}
	}
	if c.IoT != nil && c.IoT.Broker.Embedded != nil {
		fix(&c.IoT.Broker.Embedded.Store)
	}
	if c.IoT != nil && c.IoT.Broker.External != nil {
		fix(&c.IoT.Broker.External.CA)
	}
}
