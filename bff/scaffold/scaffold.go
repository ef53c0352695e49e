// Package scaffold writes a first configuration for services that it knows nothing about but their descriptors: which
// methods there are and who may call them, routes where the protos have no google.api.http annotations, and a GraphQL
// schema over everything that GraphQL can call. What it writes passes a check and serves; it is meant to be edited.
//
// Start with [New]. The package makes texts and writes no files.
package scaffold

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/upstream"
)

// The files that belong to the configuration, which names them.
const (
	// SetFile holds [Output.Set].
	SetFile = "descriptors.binpb"
	// SchemaFile holds [Output.Schema].
	SchemaFile = "schema.graphqls"
	// KeysFile holds the public key of tokens for trying out, as a JSON Web Key Set.
	KeysFile = "dev-jwks.json"
	// Issuer is the issuer of those tokens.
	Issuer = "portico-dev"
	// Audience is their audience.
	Audience = "portico"
)

// Options says what to write a configuration for. Descriptors, Target and TLS are required.
type Options struct {
	// Descriptors knows the services.
	Descriptors *upstream.Descriptors
	// Origin says in words where the descriptors came from.
	Origin string
	// Live is the source of the descriptors as YAML, shown as an alternative to the snapshot; empty for none.
	Live string
	// Target is the gRPC target of the services.
	Target string
	// TLS is how connections to it are secured, as YAML.
	TLS string
	// Public says which methods anybody may call: "reads" for those that change nothing, "all", or patterns such as
	// shop.v1.Catalog/* and shop.v1.Catalog/GetItem.
	Public []string
}

// Output is what was written.
type Output struct {
	// Config is the configuration file.
	Config []byte
	// Schema is the SDL; nil if there is no method that GraphQL can call.
	Schema []byte
	// Set is the serialized descriptor set.
	Set []byte
	// Open lists the methods that anybody may call.
	Open []string
}

// New writes a configuration.
func New(o Options) (*Output, error) {
	services := servicesOf(o.Descriptors)
	if len(services) == 0 {
		return nil, errors.New("there are no services in the descriptors")
	}
	open, err := newPublic(o.Public, services)
	if err != nil {
		return nil, err
	}
	set, err := proto.MarshalOptions{Deterministic: true}.Marshal(o.Descriptors.Set())
	if err != nil {
		return nil, fmt.Errorf("encode the descriptor set: %w", err)
	}
	out := &Output{Set: set, Schema: newSDL(services).text()}
	for _, s := range services {
		for _, m := range s.methods {
			if open.covers(m) {
				out.Open = append(out.Open, m.Name)
			}
		}
	}
	c := configWriter{Options: o, services: services, open: open, routes: guessRoutes(services, o.Descriptors), graphQL: out.Schema != nil}
	out.Config = c.text()
	return out, nil
}

// service is a service with its methods.
type service struct {
	name    string
	methods []*upstream.Method
}

// servicesOf lists the services that clients are to reach.
func servicesOf(d *upstream.Descriptors) []service {
	var list []service
	for _, name := range d.Services() {
		if methods := d.Methods(name); len(methods) > 0 && !upstream.Infrastructure(name) {
			list = append(list, service{name, methods})
		}
	}
	return list
}

// public tells which methods anybody may call.
type public struct {
	all, reads bool
	patterns   []string
}

// newPublic checks the words of [Options.Public].
func newPublic(words []string, services []service) (public, error) {
	var p public
	var errs []error
	for _, word := range words {
		switch {
		case word == "all":
			p.all = true
		case word == "reads":
			p.reads = true
		case !slices.ContainsFunc(services, func(s service) bool {
			return slices.ContainsFunc(s.methods, func(m *upstream.Method) bool { return fitsPattern(word, m.Name) })
		}):
			errs = append(errs, fmt.Errorf("no method fits %q, expected reads, all, package.Service/* or package.Service/Method", word))
		default:
			p.patterns = append(p.patterns, word)
		}
	}
	return p, errors.Join(errs...)
}

func (p public) covers(m *upstream.Method) bool {
	return p.all || p.reads && readOnly(m) || slices.ContainsFunc(p.patterns, func(pattern string) bool { return fitsPattern(pattern, m.Name) })
}

func fitsPattern(pattern, method string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == method || wild && strings.HasPrefix(method, prefix) && (strings.HasSuffix(prefix, "/") || strings.HasSuffix(prefix, "."))
}

// readOnly reports whether a method says that it changes nothing, by its option, its route or its name.
func readOnly(m *upstream.Method) bool {
	if m.ClientStreaming {
		return false
	}
	if m.Idempotency == upstream.NoSideEffects {
		return true
	}
	if rule := annotated(m); rule != nil {
		return rule.GetGet() != ""
	}
	w := words(string(m.Desc.Name()))
	switch strings.ToLower(w[0]) {
	case "get", "list", "search", "watch":
		return true
	case "batch":
		return len(w) > 1 && strings.EqualFold(w[1], "get")
	default:
		return false
	}
}
