package bff

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/portico-bff/portico/bff/admin"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/edge"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/telemetry"
	"github.com/portico-bff/portico/upstream"
)

// Extensions is what a Go program adds to the server. The zero value adds nothing.
type Extensions struct {
	// Logger takes the server's log, access log included. Without it nothing is logged.
	Logger *slog.Logger
	// Middleware wraps the web and the mobile door, the first one outermost, inside Portico's own middleware: requests
	// that reach it are authenticated and within their limits.
	Middleware []func(http.Handler) http.Handler
}

// Server is a server whose listeners are open.
type Server struct {
	logger   *slog.Logger
	drain    time.Duration
	metrics  *prometheus.Registry
	parts    *compiled
	mesh     *member
	iot      *iot.Door
	stopping atomic.Bool

	http, admin   *http.Server
	listeners     listeners
	shutdownTrace func(context.Context) error
}

// New compiles a configuration and opens the listeners; nothing is answered before [Server.Run]. It waits for this
// server's identity in the mesh until ctx ends. The error is of type [config.Problems] if the configuration is to
// blame.
func New(ctx context.Context, file *config.File, ext Extensions) (_ *Server, err error) {
	cfg := &file.Config
	s := &Server{logger: ext.Logger, drain: cfg.Drain, metrics: prometheus.NewRegistry()}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(ctx))
		}
	}()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	tracer, shutdown, err := telemetry.New(ctx, cfg.Telemetry, s.logger)
	if err != nil {
		return nil, file.Locate(mistake.In(err, "telemetry"))
	}
	s.shutdownTrace = shutdown
	env := environment{logger: s.logger, metrics: s.metrics, tracer: tracer}
	var known knownMethods
	if cfg.Mesh != nil {
		meter, err := telemetry.NewMeter(s.metrics)
		if err != nil {
			return nil, err
		}
		if s.mesh, err = join(ctx, cfg.Mesh, known.idempotent, s.logger, tracer, meter); err != nil {
			return nil, file.Locate(mistake.In(err, "mesh"))
		}
		env.mesh = s.mesh
	}
	descriptors, err := upstream.LoadOnline(ctx, cfg.Descriptors, env.mesh, env.dial...)
	if err != nil {
		return nil, file.Locate(descriptorMistakes(err))
	}
	known.store(descriptors)
	if s.parts, err = compile(ctx, cfg, descriptors, env); err != nil {
		return nil, file.Locate(err)
	}
	if err := s.listeners.open(ctx, &cfg.Listen, cfg.IoT != nil); err != nil {
		return nil, file.Locate(err)
	}
	s.serveHTTP(cfg, ext, tracer)
	if cfg.IoT != nil {
		s.iot, err = iot.New(ctx, *cfg.IoT, iot.Options{
			Core: s.parts.core, Descriptors: s.parts.descriptors, Listeners: []net.Listener{s.listeners.mqtt}, Logger: s.logger, Metrics: s.metrics,
		})
		if err != nil {
			return nil, file.Locate(mistake.In(err, "iot"))
		}
	}
	return s, nil
}

// Addresses are where the doors listen. MQTT is nil without an IoT door.
type Addresses struct {
	HTTP, MQTT, Admin net.Addr
}

// Addresses tells where the doors listen, with the ports that were picked.
func (s *Server) Addresses() Addresses { return s.listeners.addresses() }

// Run serves until ctx ends or a listener breaks, then drains: it refuses what is new, ends streams with a stated
// reason and waits for requests under way as long as the configuration's drain says. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 2)
	var serving sync.WaitGroup
	for _, one := range []struct {
		server *http.Server
		lis    net.Listener
	}{{s.http, edge.Gather(s.listeners.http)}, {s.admin, s.listeners.admin}} {
		serving.Go(func() {
			if err := one.server.Serve(one.lis); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", one.lis.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stopping.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	err = errors.Join(err, s.release(drain))
	serving.Wait()
	return err
}

// release ends everything that New has started, in the order of dependence: doors first, the mesh last.
func (s *Server) release(ctx context.Context) error {
	var errs []error
	var doors sync.WaitGroup
	var mu sync.Mutex
	end := func(f func(context.Context) error) {
		doors.Go(func() {
			err := f(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	if s.iot != nil {
		end(s.iot.Close)
	}
	if s.http != nil {
		end(func(ctx context.Context) error { return shutdown(ctx, s.http) })
	}
	if s.parts != nil && s.parts.web != nil {
		end(s.parts.web.Close)
	}
	if s.parts != nil && s.parts.mobile != nil {
		end(s.parts.mobile.Close)
	}
	doors.Wait()
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	errs = append(errs, s.listeners.close())
	if s.parts != nil {
		errs = append(errs, s.parts.close())
	}
	if s.mesh != nil {
		errs = append(errs, s.mesh.Close())
	}
	if s.shutdownTrace != nil {
		errs = append(errs, s.shutdownTrace(ctx))
	}
	return errors.Join(errs...)
}

// shutdown waits for requests under way, and cuts them off when ctx ends.
func shutdown(ctx context.Context, server *http.Server) error {
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(errors.New("requests were cut off at the end of the drain time"), server.Close())
	}
	return err
}

// Upstreams tries to reach the upstreams and tells, by name, which are out of reach; a nil error is one that answers.
func (s *Server) Upstreams(ctx context.Context) map[string]error { return s.parts.clients.Ready(ctx) }

// ready tells what keeps the server from serving. An upstream that is down does not: it takes its own fields and routes
// with it, and if it took the whole server out of its balancer, it would take everybody else's, too.
func (s *Server) ready(ctx context.Context) map[string]error {
	checks := s.parts.core.Ready(ctx)
	checks["server"] = nil
	if s.stopping.Load() {
		checks["server"] = errors.New("stopping")
	}
	if s.iot != nil {
		checks["iot"] = s.iot.Ready()
	}
	return checks
}

// adminServer makes the server of the admin port.
func (s *Server) adminServer() *http.Server {
	return &http.Server{Handler: admin.Handler(s.metrics, s.ready), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
}

// minTLS is the oldest version of TLS that the doors speak.
const minTLS = tls.VersionTLS12
