package bff

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/events"
	"github.com/portico-bff/portico/bff/mobile"
	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/bff/web"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

// environment is what compiled parts share with the process around them.
type environment struct {
	logger  *slog.Logger
	metrics prometheus.Registerer
	tracer  trace.TracerProvider
	mesh    network // nil without a mesh section
	dial    []grpc.DialOption

	live     live      // calls by the configuration of the moment
	previous *compiled // what the compiled parts will replace; nil at the start
}

// compiled is everything that follows from a configuration and its files, before anything listens.
type compiled struct {
	descriptors *upstream.Descriptors
	clients     *upstream.Clients
	auth        *auth.Authenticator
	identities  *identities // who has auth
	core        *core.Core
	schema      *schema.Schema
	web         *web.Door
	mobile      *mobile.Door
}

// compile builds every part that it can, so that all mistakes are reported at once. On an error nothing is left open.
func compile(ctx context.Context, cfg *config.Config, descriptors *upstream.Descriptors, env environment) (_ *compiled, err error) {
	c := &compiled{descriptors: descriptors}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	var errs []error
	section := func(err error, path ...string) { errs = append(errs, mistake.In(err, path...)) }

	c.clients, err = upstream.NewClients(cfg.Upstreams, c.descriptors, env.mesh, env.dial...)
	section(err, "upstreams")
	section(c.compileAuth(ctx, cfg, env), "auth")
	var previous *core.Core
	if env.previous != nil {
		previous = env.previous.core
	}
	c.core, err = core.New(core.Options{
		Descriptors: c.descriptors, Next: c.clients, Methods: cfg.Methods, Upstreams: cfg.Upstreams, Limits: cfg.Limits,
		Auth: c.auth, Logger: env.logger, Metrics: env.metrics, Tracer: env.tracer, Previous: previous,
	})
	section(err)
	section(cfg.LimitsHTTP.Validate(), "limits_http")
	rules, err := cfg.HTTP.Compile(c.descriptors)
	section(err, "http")
	if cfg.Web != nil {
		section(c.compileWeb(cfg.Web, env), "web")
	}
	if cfg.Mobile != nil {
		section(c.compileMobile(cfg, rules, env), "mobile")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// identities are who may be called who, and how many compiled parts know them so. Its last owner closes it.
type identities struct {
	*auth.Authenticator

	config auth.Config
	owners atomic.Int32
}

// compileAuth keeps what the previous parts have if its settings are the same, with the keys and the tokens that it knows.
// Files with keys are read anew.
func (c *compiled) compileAuth(ctx context.Context, cfg *config.Config, env environment) error {
	if p := env.previous; p != nil && reflect.DeepEqual(p.identities.config, cfg.Auth) &&
		!slices.ContainsFunc(cfg.Auth.JWT, func(j auth.JWT) bool { return j.JWKSFile != "" }) {
		c.identities = p.identities
	} else {
		options := auth.Options{Logger: env.logger}
		if env.mesh != nil {
			options.Mesh = env.mesh.Transport
		}
		made, err := auth.New(ctx, cfg.Auth, options)
		if err != nil {
			return err
		}
		c.identities = &identities{Authenticator: made, config: cfg.Auth}
	}
	c.identities.owners.Add(1)
	c.auth = c.identities.Authenticator
	return nil
}

func (c *compiled) compileWeb(cfg *web.Config, env environment) error {
	sources, err := readSources(cfg.Schema)
	if err != nil {
		return mistake.In(err, "schema")
	}
	c.schema, err = schema.New(sources, c.descriptors, schema.Options{Lookup: lookup})
	if err != nil {
		return placed(err, sources)
	}
	queries, err := readQueries(cfg.Queries)
	if err != nil {
		return mistake.In(err, "queries")
	}
	var previous *web.Door
	if env.previous != nil {
		previous = env.previous.web
	}
	// Without a core there are mistakes already; what is made here is then only looked at.
	c.web, err = web.New(*cfg, web.Options{Schema: c.schema, Core: c.core, Logger: env.logger, Queries: queries, Previous: previous})
	return err
}

func (c *compiled) compileMobile(cfg *config.Config, rules map[string]translate.Configured, env environment) error {
	stored, err := c.stored(cfg)
	if err != nil {
		return err
	}
	// Event logs outlive configurations, so their calls go through the one of the moment, where there is one.
	var caller events.Caller = c.core
	if env.live.server != nil {
		caller = env.live
	}
	var previous *mobile.Door
	if env.previous != nil {
		previous = env.previous.mobile
	}
	c.mobile, err = mobile.New(*cfg.Mobile, mobile.Options{
		Descriptors: c.descriptors, Caller: c.core, Operations: restOperations(stored, c.schema, c.core),
		Rules: rules, MaxBody: int64(cfg.LimitsHTTP.WithDefaults().Body), Origins: cfg.LimitsHTTP.Origins(),
		Gate:   c.core,
		Events: caller, Metrics: env.metrics, Previous: previous,
	})
	return err
}

// stored compiles the stored operations.
func (c *compiled) stored(cfg *config.Config) ([]*schema.Stored, error) {
	if len(cfg.Mobile.Operations) == 0 {
		return nil, nil
	}
	sources, err := readSources(cfg.Mobile.Operations)
	switch {
	case err != nil:
		return nil, mistake.In(err, "operations")
	case cfg.Web == nil:
		return nil, mistake.At("stored operations need the schema of a section web", "operations")
	case c.schema == nil:
		return nil, nil // the schema's mistakes are reported already
	}
	list, err := c.schema.Stored(sources)
	return list, placed(err, sources)
}

// warnings tells what works but costs.
func (c *compiled) warnings() []string {
	if c.schema == nil {
		return nil
	}
	list := c.schema.Warnings()
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = w.String()
	}
	return out
}

// close releases what was opened.
func (c *compiled) close() error {
	var errs []error
	if c.core != nil {
		errs = append(errs, c.core.Close())
	}
	if c.identities != nil && c.identities.owners.Add(-1) == 0 {
		c.auth.Close()
	}
	if c.clients != nil {
		errs = append(errs, c.clients.Close())
	}
	return errors.Join(errs...)
}

// readQueries reads the playground's operations, one a file.
func readQueries(patterns []string) ([]web.Query, error) {
	sources, err := readSources(patterns)
	if err != nil {
		return nil, err
	}
	queries := make([]web.Query, len(sources))
	for i, s := range sources {
		queries[i] = web.Query{Query: string(s.Text)}
	}
	return queries, nil
}
