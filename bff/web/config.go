package web

import (
	"cmp"
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/config/unit"
)

// Config is the GraphQL door's section of the configuration.
type Config struct {
	// Path is where the door answers: /graphql if empty.
	Path string `yaml:"path" json:"path,omitempty" jsonschema:"pattern=^/[^{}*?#]*[^{}*?#/]$,title=a path like /graphql"`
	// Schema names the SDL files; globs are allowed.
	Schema []string `yaml:"schema" json:"schema" jsonschema:"required,minItems=1"`
	// Playground serves GraphiQL to browsers at Path.
	Playground bool `yaml:"playground" json:"playground,omitempty"`
	// Queries names files with operations that the playground offers, a tab for each file; globs are allowed.
	Queries []string `yaml:"queries" json:"queries,omitempty"`
	// Introspection lets clients ask for the schema, and answers slips of the pen with suggestions.
	Introspection bool `yaml:"introspection" json:"introspection,omitempty"`
	// Tokens is how many lexical tokens an operation may have: 10000 if 0.
	Tokens int `yaml:"tokens" json:"tokens,omitempty" jsonschema:"minimum=0"`
	// Subscriptions bounds WebSocket connections.
	Subscriptions Subscriptions `yaml:"subscriptions" json:"subscriptions,omitempty"` //nolint:modernize // the JSON Schema is generated from omitempty
}

// Subscriptions bounds WebSocket connections and what each of them may do.
type Subscriptions struct {
	// Connections is how many connections may be open at once: 10000 if 0.
	Connections int `yaml:"connections" json:"connections,omitempty" jsonschema:"minimum=0"`
	// PerConnection is how many operations may run at once on a connection: 100 if 0.
	PerConnection int `yaml:"per_connection" json:"per_connection,omitempty" jsonschema:"minimum=0"`
	// Message is the size of the largest message that a client may send: 1MiB if 0.
	Message unit.Bytes `yaml:"message" json:"message,omitempty"`
	// Origins are the hosts besides the server's own whose pages may connect; * matches any part of a name.
	Origins []string `yaml:"origins" json:"origins,omitempty"`
	// InitTimeout is how long a client may take to introduce itself: 5s if 0.
	InitTimeout time.Duration `yaml:"init_timeout" json:"init_timeout,omitempty"`
	// Ping is the time between pings: 25s if 0.
	Ping time.Duration `yaml:"ping" json:"ping,omitempty"`
}

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	c.Path = cmp.Or(c.Path, "/graphql")
	c.Tokens = cmp.Or(c.Tokens, 10_000)
	c.Subscriptions.Connections = cmp.Or(c.Subscriptions.Connections, 10_000)
	c.Subscriptions.PerConnection = cmp.Or(c.Subscriptions.PerConnection, 100)
	c.Subscriptions.Message = cmp.Or(c.Subscriptions.Message, 1<<20)
	c.Subscriptions.InitTimeout = cmp.Or(c.Subscriptions.InitTimeout, 5*time.Second)
	c.Subscriptions.Ping = cmp.Or(c.Subscriptions.Ping, 25*time.Second)
	return c
}

// validate returns everything that is wrong, joined.
func (c Config) validate() error {
	var errs []error
	wrong := func(what, expected string, at ...string) {
		errs = append(errs, &mistake.Mistake{Path: at, What: what, Expected: expected})
	}
	if !strings.HasPrefix(c.Path, "/") || c.Path == "/" || path.Clean(c.Path) != c.Path || strings.ContainsAny(c.Path, "{}*?#") {
		wrong("the path "+strconv.Quote(c.Path)+" cannot be served", "a path like /graphql", "path")
	}
	if len(c.Schema) == 0 {
		wrong("there is no schema", "SDL files, like [schema/*.graphqls]", "schema")
	}
	if c.Tokens < 0 {
		wrong("the number of tokens is negative", "a positive number", "tokens")
	}
	s := c.Subscriptions
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"connections", int64(s.Connections)},
		{"per_connection", int64(s.PerConnection)},
		{"message", int64(s.Message)},
		{"init_timeout", int64(s.InitTimeout)},
		{"ping", int64(s.Ping)},
	} {
		if n.value < 0 {
			wrong(n.key+" is negative", "a positive value", "subscriptions", n.key)
		}
	}
	for i, pattern := range s.Origins {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			wrong("the origin "+strconv.Quote(pattern)+" is no pattern", "a host like shop.example or *.shop.example",
				"subscriptions", "origins", strconv.Itoa(i))
		}
	}
	return errors.Join(errs...)
}
