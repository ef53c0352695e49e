package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/portico-bff/portico/mesh"
)

// Server is a server of the mesh whose listener the control plane describes. Register
// services on it, Serve it on a TCP listener, and stop it: until the listener resource
// has come, and after it has been taken back, connections are closed at once. It has
// the standard health service, for which callers need a rule as ever.
type Server struct {
	*grpcxds.GRPCServer
	// Health is the health service, for services that report on their own.
	Health *health.Server
	mesh   *mesh.Mesh
	// closed ends what the control plane's view of the server says.
	closed func()
}

// NewServer returns a server of [mesh.ServerBounds], these options and
// [mesh.Mesh.ServerOptions]. The bootstrap configuration must have a
// server_listener_resource_name_template. It connects to the xDS server at once.
func (c *ControlPlane) NewServer(m *mesh.Mesh, opts ...grpc.ServerOption) (*Server, error) {
	v := newView(c, "server")
	text, session, err := c.bootstrap.watched(v)
	if err != nil {
		return nil, err
	}
	defer session.close() // by then the credentials are made
	inner, err := grpcxds.NewGRPCServer(slices.Concat(mesh.ServerBounds(), opts, m.ServerOptions(), []grpc.ServerOption{grpcxds.BootstrapContentsForTesting(text)})...)
	if !session.used() {
		// Then gRPC logs what is wrong, and takes another from the environment.
		if err == nil {
			inner.Stop()
		}
		return nil, errors.New("mesh/xds: gRPC does not accept the bootstrap configuration")
	}
	if err != nil {
		return nil, fmt.Errorf("mesh/xds: %w", err)
	}
	c.open(v)
	s := &Server{GRPCServer: inner, Health: health.NewServer(), mesh: m, closed: sync.OnceFunc(func() { c.close(v) })}
	grpc_health_v1.RegisterHealthServer(inner, s.Health)
	return s, nil
}

// Drain is [mesh.Server.Drain].
func (s *Server) Drain(ctx context.Context) error {
	defer s.closed()
	return s.mesh.Drain(ctx, s.GRPCServer, s.Health)
}

// Stop ends the server and its calls.
func (s *Server) Stop() {
	s.GRPCServer.Stop()
	s.closed()
}

// GracefulStop turns health to NOT_SERVING, lets running calls end, however long they
// take, and ends the server. Calling Stop meanwhile cuts them off.
func (s *Server) GracefulStop() {
	s.Health.Shutdown()
	s.GRPCServer.GracefulStop()
	s.closed()
}
