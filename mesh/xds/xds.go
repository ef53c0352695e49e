package xds

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/resolver"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/internal/source"
)

// Options configures a [ControlPlane].
type Options struct {
	// Bootstrap is gRPC's bootstrap configuration (gRFC A27), as JSON: where the
	// control plane is and how to talk to it. Nil takes the file that the environment
	// variable GRPC_XDS_BOOTSTRAP names, or else the text of
	// GRPC_XDS_BOOTSTRAP_CONFIG. Both are read by [New], and not again.
	Bootstrap []byte
}

// ControlPlane makes clients, and servers, of a mesh that an xDS server configures. It
// needs no closing: its connections to the server are its clients' and servers', and
// end with them. It is safe for concurrent use.
type ControlPlane struct {
	bootstrap *bootstrapConfig
	honoured  map[string]node

	mu    sync.Mutex // guards views
	views map[*view]struct{}
}

// New checks the bootstrap configuration. It connects to nobody.
func New(o Options) (*ControlPlane, error) {
	text := o.Bootstrap
	if text == nil {
		var err error
		if text, err = environment(); err != nil {
			return nil, err
		}
	}
	config, err := parseBootstrap(text)
	if err != nil {
		return nil, err
	}
	return &ControlPlane{bootstrap: config, honoured: honouredFields(), views: map[*view]struct{}{}}, nil
}

// environment finds the bootstrap configuration where gRPC looks for it.
func environment() ([]byte, error) {
	if file := os.Getenv("GRPC_XDS_BOOTSTRAP"); file != "" {
		text, err := os.ReadFile(file) //nolint:gosec // the file that the environment names
		if err != nil {
			return nil, fmt.Errorf("mesh/xds: reading the bootstrap configuration: %w", err)
		}
		return text, nil
	}
	if text := os.Getenv("GRPC_XDS_BOOTSTRAP_CONFIG"); text != "" {
		return []byte(text), nil
	}
	return nil, errors.New("mesh/xds: no bootstrap configuration: want Options.Bootstrap, or GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG in the environment")
}

// NewClient is [mesh.Mesh.NewClient] for a target "xds:///orders" or
// "xds://authority/orders". All options of the latter do, except transport credentials,
// a balancer, service configs and resolvers. The connection is lazy, and closed by the
// caller.
func (c *ControlPlane) NewClient(m *mesh.Mesh, target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	if !strings.HasPrefix(target, "xds:") {
		return nil, fmt.Errorf("mesh/xds: target %q: want xds:///service", target)
	}
	v := newView(c, target)
	return m.NewClient(target, append(slices.Clip(opts), &source.Source{
		Resolver:    &builder{plane: c, view: v},
		Credentials: clientCredentials,
		Place:       v.place,
		Ignored:     func() []string { return describe(v.ignored()) },
	})...)
}

func clientCredentials(fallback credentials.TransportCredentials) (credentials.TransportCredentials, error) {
	return xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: fallback})
}

// builder is gRPC's xDS resolver, with a view of what it is told.
type builder struct {
	plane *ControlPlane
	view  *view
}

var _ resolver.Builder = (*builder)(nil)

// Scheme is what targets begin with.
func (*builder) Scheme() string { return "xds" }

// Build starts gRPC's resolver, and with it the connection to the xDS server.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	text, session, err := b.plane.bootstrap.watched(b.view)
	if err != nil {
		return nil, err
	}
	defer session.close() // by then the credentials are made
	inner, err := grpcxds.NewXDSResolverWithConfigForTesting(text)
	if err != nil {
		return nil, fmt.Errorf("mesh/xds: target %q: %w", target.String(), err)
	}
	running, err := inner.Build(target, cc, opts)
	if err != nil {
		return nil, fmt.Errorf("mesh/xds: target %q: %w", target.String(), err)
	}
	b.plane.open(b.view)
	return &watching{Resolver: running, close: func() { b.plane.close(b.view) }}, nil
}

// watching is a running resolver.
type watching struct {
	resolver.Resolver
	close func()
}

// Close ends the resolver, and the view with it.
func (w *watching) Close() {
	w.Resolver.Close()
	w.close()
}

func (c *ControlPlane) open(v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.views[v] = struct{}{}
}

func (c *ControlPlane) close(v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.views, v)
}
