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
	// that reach it are authenticated and within their limits. A reload wraps the next doors with it, too.
	Middleware []func(http.Handler) http.Handler
}

// Server is a server whose listeners are open.
type Server struct {
	logger   *slog.Logger
	metrics  *prometheus.Registry
	env      environment
	ext      Extensions
	mesh     *member
	known    knownMethods
	iot      *iot.Door
	stopping atomic.Bool

	// iotDescriptors are those that the IoT door has begun with; nil without one.
	iotDescriptors *upstream.Descriptors

	// current is the configuration in force; nil only while New runs.
	current atomic.Pointer[runtime]
	reloads *reloadMetrics
	// reloading holds one element while somebody reloads, who alone may change current, and touch lingering.
	reloading chan struct{}
	lingering []*runtime // earlier ones that may not have ended, the oldest first
	retiring  sync.WaitGroup
	life      context.Context //nolint:containedctx // it ends when the server begins to stop
	stop      context.CancelFunc

	http, admin   *http.Server
	listeners     listeners
	shutdownTrace func(context.Context) error
}

// New compiles a configuration and opens the listeners; nothing is answered before [Server.Run]. It waits for this
// server's identity in the mesh until ctx ends. The error is of type [config.Problems] if the configuration is to
// blame.
func New(ctx context.Context, file *config.File, ext Extensions) (_ *Server, err error) {
	cfg := &file.Config
	s := &Server{logger: ext.Logger, ext: ext, metrics: prometheus.NewRegistry(), reloading: make(chan struct{}, 1)}
	s.life, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(ctx))
		}
	}()
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.reloads = newReloadMetrics(s.metrics)
	tracer, shutdown, err := telemetry.New(ctx, cfg.Telemetry, s.logger)
	if err != nil {
		return nil, file.Locate(mistake.In(err, "telemetry"))
	}
	s.shutdownTrace = shutdown
	s.env = environment{logger: s.logger, metrics: s.metrics, tracer: tracer, live: live{s}}
	if cfg.Mesh != nil {
		meter, err := telemetry.NewMeter(s.metrics)
		if err != nil {
			return nil, err
		}
		if s.mesh, err = join(ctx, cfg.Mesh, s.known.idempotent, s.logger, tracer, meter); err != nil {
			return nil, file.Locate(mistake.In(err, "mesh"))
		}
		s.env.mesh = s.mesh
	}
	first, err := s.build(ctx, file, nil)
	if err != nil {
		return nil, file.Locate(err)
	}
	s.current.Store(first)
	s.known.store(first.parts.descriptors)
	if err := s.listeners.open(ctx, &cfg.Listen, cfg.IoT != nil); err != nil {
		return nil, file.Locate(err)
	}
	s.serveHTTP(cfg)
	if cfg.IoT != nil {
		s.iotDescriptors = first.parts.descriptors
		s.iot, err = iot.New(ctx, *cfg.IoT, iot.Options{
			Core: live{s}, Descriptors: s.iotDescriptors, Listeners: []net.Listener{s.listeners.mqtt}, Logger: s.logger, Metrics: s.metrics,
		})
		if err != nil {
			return nil, file.Locate(mistake.In(err, "iot"))
		}
	}
	return s, nil
}

// build compiles a configuration and all that it names, and asks servers that describe themselves. previous are the parts
// that will be replaced; nil at the start. On an error nothing is left open.
func (s *Server) build(ctx context.Context, file *config.File, previous *compiled) (*runtime, error) {
	env := s.env
	env.previous = previous
	descriptors, err := upstream.LoadOnline(ctx, file.Config.Descriptors, env.mesh, env.dial...)
	if err != nil {
		return nil, descriptorMistakes(err)
	}
	parts, err := compile(ctx, &file.Config, descriptors, env)
	if file.Config.IoT != nil {
		err = errors.Join(err, mistake.In(iot.Check(*file.Config.IoT, descriptors), "iot"))
	}
	if err != nil {
		if parts != nil {
			err = errors.Join(err, parts.close())
		}
		return nil, err
	}
	return newRuntime(file, parts, router(&file.Config, parts, s.env, s.ext)), nil
}

// Addresses are where the doors listen. MQTT is nil without an IoT door.
type Addresses struct {
	HTTP, MQTT, Admin net.Addr
}

// Addresses tells where the doors listen, with the ports that were picked.
func (s *Server) Addresses() Addresses { return s.listeners.addresses() }

// Run serves until ctx ends or a listener breaks, then drains: it refuses what is new, ends streams with a stated
// reason and waits for requests under way as long as the configuration's drain says. A Server runs once. Meanwhile,
// [Server.Reload] replaces the configuration.
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
	s.stop()
	s.reloading <- struct{}{} // a reload that is under way gives up; the configuration stays what it is
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.current.Load().file.Config.Drain)
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
	current := s.current.Load()
	if current != nil {
		end(func(ctx context.Context) error { return current.closeDoors(ctx, true) })
	}
	s.stop()
	s.retiring.Wait()
	doors.Wait()
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	errs = append(errs, s.listeners.close())
	if current != nil {
		errs = append(errs, current.parts.close())
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
func (s *Server) Upstreams(ctx context.Context) map[string]error {
	return s.current.Load().parts.clients.Ready(ctx)
}

// ready tells what keeps the server from serving. An upstream that is down does not: it takes its own fields and routes
// with it, and if it took the whole server out of its balancer, it would take everybody else's, too.
func (s *Server) ready(ctx context.Context) map[string]error {
	checks := s.current.Load().parts.core.Ready(ctx)
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
	handler := admin.Handler(admin.Options{
		Metrics: s.metrics, Ready: s.ready, Reload: s.reloadForAdmin,
		Token: func() string { return s.current.Load().file.Config.Admin.Token },
	})
	return &http.Server{
		Handler: handler, MaxHeaderBytes: 16 << 10,
		ReadTimeout: 5 * time.Second, WriteTimeout: reloadTimeout + 10*time.Second, IdleTimeout: 2 * time.Minute,
	}
}

// minTLS is the oldest version of TLS that the doors speak.
const minTLS = tls.VersionTLS12
