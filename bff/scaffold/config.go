package scaffold

import (
	"fmt"
	"strconv"
	"strings"
)

// configWriter writes the configuration file.
type configWriter struct {
	Options
	services []service
	open     public
	routes   map[string]guess
	graphQL  bool
	b        strings.Builder
}

func (c *configWriter) printf(format string, args ...any) { fmt.Fprintf(&c.b, format, args...) }

// quote writes a text as a double-quoted scalar of YAML.
func quote(text string) string { return strconv.Quote(printable(text)) }

// remark writes a text so that it stays within a comment's line.
func remark(text string) string { return strings.ReplaceAll(printable(text), "\n", " ") }

func (c *configWriter) text() []byte {
	c.header()
	c.sources()
	c.access()
	c.doors()
	return []byte(c.b.String())
}

func (c *configWriter) header() {
	c.printf(`# Portico's configuration, made by "bff init" from %s.
# It is yours to edit.
#
#   bff check -c portico.yaml    # every mistake, with its line and column
#   bff serve -c portico.yaml
#
# ${VAR} and ${VAR:-default} come from the environment; paths are relative to this file.
version: 1

# Where clients come in, and where you look at health and metrics. Only this machine can reach these addresses.
listen:
  http: ${PORTICO_HTTP:-127.0.0.1:8080}
  admin: ${PORTICO_ADMIN:-127.0.0.1:9090}

`, remark(c.Origin))
}

func (c *configWriter) sources() {
	c.printf("# What your services look like. This is a snapshot")
	if c.Live != "" {
		c.printf("; the line below it reads anew at each start what it was made from")
	}
	c.printf(".\ndescriptors:\n  - {set: %s}\n", SetFile)
	if c.Live != "" {
		c.printf("  # - %s\n", remark(c.Live))
	}
	c.printf(`
# Where your services are, and which of them may be called at all.
upstreams:
  backend:
    target: %s
    tls: %s # or: none | system | {ca: FILE, server_name: NAME} | {mesh: {identity: "spiffe://..."}}
    timeout: 10s
    # What your services learn about the caller; clients cannot set these.
    headers: {set: {x-user-id: "{principal.subject}", x-user-roles: "{principal.roles}"}}
    services:
`, quote(c.Target), c.TLS)
	for _, s := range c.services {
		c.printf("      - %s\n", s.name)
	}
}

func (c *configWriter) access() {
	c.printf(`
# Whose tokens are accepted. This issuer is for trying things out: its private key is in dev-key.pem, and
#
#   bff token --key dev-key.pem --issuer %[1]s --audience %[2]s --subject me
#
# signs a token with it. Put your identity provider here instead, with its jwks_uri, before anybody else can reach the
# server.
auth:
  anonymous: true # clients without a token are let in, but only to what is open below
  jwt:
    - {issuer: %[1]s, audiences: [%[2]s], jwks_file: %[3]s}

`, Issuer, Audience, KeysFile)
	c.printf("# Who may call what: a CEL expression a method. What is not listed is denied to everybody. A method that is open to\n")
	c.printf("# anybody, without a token, has \"true\" here")
	opened := 0
	for _, s := range c.services {
		for _, m := range s.methods {
			if c.open.covers(m) {
				opened++
			}
		}
	}
	if opened == 0 {
		c.printf("; at present that is none")
	} else {
		c.printf("; at present that is %d of them, as --public said", opened)
	}
	c.printf(".\nmethods:\n")
	for _, s := range c.services {
		for _, m := range s.methods {
			allow, note := "principal.authenticated", ""
			if c.open.covers(m) {
				allow, note = "true", " # OPEN to anybody"
			}
			c.printf("  %s: {allow: %q}%s\n", quote(m.Name), allow, note)
		}
	}
}

func (c *configWriter) doors() {
	if c.graphQL {
		c.printf(`
# GraphQL. Open http://127.0.0.1:8080/graphql in a browser for the playground; its headers tab takes the token:
# {"Authorization": "Bearer ..."}. With introspection, anybody who reaches the server can read the schema, but not the data.
web:
  path: /graphql
  schema: [%s]
  playground: true
  introspection: true
`, SchemaFile)
	} else {
		c.printf("\n# There is no GraphQL door (web), because all methods stream and GraphQL needs one that does not.\n")
	}
	c.printf(`
# REST, at the routes of google.api.http annotations and of "http" below. Streams answer with server-sent events if the
# client accepts text/event-stream; methods with streams of requests are WebSockets at /ws/SERVICE/METHOD.
mobile:
  services:
`)
	for _, s := range c.services {
		c.printf("    - %s\n", s.name)
	}
	if len(c.routes) == 0 {
		return
	}
	c.printf(`
# Routes of methods whose protos have no google.api.http annotation, in the form of google.api.Service. They are guessed from
# names; correct them before clients depend on them.
http:
  rules:
`)
	for _, s := range c.services {
		for _, m := range s.methods {
			g, ok := c.routes[m.Name]
			if !ok {
				continue
			}
			body := ""
			if g.body != "" {
				body = ", body: " + quote(g.body)
			}
			c.printf("    - {selector: %s, %s: %s%s} # guessed\n", g.selector, g.verb, quote(g.path), body)
		}
	}
}
