package bff

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/upstream"
)

// network is the mesh, as this server uses it.
type network interface {
	upstream.Dialer
	// Transport carries HTTP requests to one service.
	Transport(target string) http.RoundTripper
}

// member is this server in the mesh. It dials upstreams whose TLS is the mesh's.
type member struct {
	mesh     *mesh.Mesh
	identity mesh.Identity
}

var _ network = (*member)(nil)

// join waits for this server's identity and joins the mesh.
func join(ctx context.Context, cfg *config.Mesh, idempotent func(string) bool, logger *slog.Logger, tracer trace.TracerProvider, meter metric.MeterProvider) (*member, error) {
	identity, err := identify(ctx, &cfg.Identity)
	if err != nil {
		return nil, mistake.In(err, "identity")
	}
	background := context.WithoutCancel(ctx)
	m, err := mesh.New(ctx, mesh.Options{
		Identity: identity, PolicyFile: cfg.Policy, Idempotent: idempotent, TracerProvider: tracer,
		MeterProvider: meter, NoCallMetrics: true, // calls upstream are measured by the core
		OnEvent: func(e mesh.Event) { logEvent(background, logger, e) },
	})
	if err != nil {
		return nil, errors.Join(mistake.In(err, "policy"), identity.Close())
	}
	return &member{mesh: m, identity: identity}, nil
}

// logEvent tells what the mesh did on its own. What a caller gets to see as an error anyway is for debugging.
func logEvent(ctx context.Context, logger *slog.Logger, e mesh.Event) {
	var level slog.Level
	switch e.Kind {
	case mesh.PolicyRefused, mesh.EndpointEjected, mesh.RetryRefused, mesh.ConnectionRevoked:
		level = slog.LevelWarn
	case mesh.PolicyLoaded:
		level = slog.LevelInfo
	default:
		level = slog.LevelDebug
	}
	logger.Log(ctx, level, "mesh event", "kind", string(e.Kind), "target", e.Target, "method", e.Method, "endpoint", e.Endpoint, "error", e.Err)
}

func identify(ctx context.Context, cfg *config.Identity) (mesh.Identity, error) {
	if cfg.Files != "" {
		identity, err := mesh.FileIdentity(ctx, mesh.FileOptions{Dir: cfg.Files})
		return identity, mistake.In(err, "files")
	}
	identity, err := mesh.WorkloadAPI(ctx, cfg.WorkloadAPI)
	return identity, mistake.In(err, "workload_api")
}

// NewClient opens a channel to an upstream that must prove to have the identity.
func (m *member) NewClient(target, identity string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return m.mesh.NewClient(target, append(opts, mesh.ExpectIdentity(identity))...)
}

// Transport carries HTTP requests to a service whom the mesh's policy knows.
func (m *member) Transport(target string) http.RoundTripper { return m.mesh.Transport(target) }

// Close leaves the mesh.
func (m *member) Close() error { return errors.Join(m.mesh.Close(), m.identity.Close()) }

// checkMesh finds what is wrong with the mesh section without waiting for an identity.
func checkMesh(cfg *config.Mesh) error {
	if cfg == nil {
		return nil
	}
	_, err := mesh.LoadPolicy(cfg.Policy)
	return mistake.In(err, "mesh", "policy")
}

// unreachable stands for the mesh while a configuration is only checked: nothing is dialed then.
type unreachable struct{}

// NewClient makes a channel that nobody uses.
func (unreachable) NewClient(target, _ string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// Transport carries nothing.
func (u unreachable) Transport(string) http.RoundTripper { return u }

// RoundTrip refuses.
func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the configuration is only checked")
}

// knownMethods answers the mesh's question for methods that are known from descriptors at run time. The mesh is there
// before the descriptors are, since they may have to be asked for through it.
type knownMethods struct {
	descriptors atomic.Pointer[upstream.Descriptors]
}

func (k *knownMethods) store(d *upstream.Descriptors) { k.descriptors.Store(d) }

// idempotent reports whether a method may be called again; before there are descriptors, none is.
func (k *knownMethods) idempotent(fullMethod string) bool {
	d := k.descriptors.Load()
	if d == nil {
		return false
	}
	m, ok := d.Method(strings.TrimPrefix(fullMethod, "/"))
	return ok && m.Idempotency != upstream.IdempotencyUnknown
}
