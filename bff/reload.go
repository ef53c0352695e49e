package bff

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/admin"
	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/config"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/upstream"
)

const (
	// reloadTimeout bounds a reload, the wait for another one included.
	reloadTimeout = 30 * time.Second
	// keysTimeout bounds the wait for the keys of issuers.
	keysTimeout = 10 * time.Second
)

// Reasons for which [Server.Reload] changes nothing, besides mistakes.
var (
	// ErrStopping is that the server stops.
	ErrStopping = errors.New("the server is stopping")
	// ErrReloading is that another reload takes too long.
	ErrReloading = errors.New("another reload is under way")
)

// Reload reads the configuration file and everything it names once more, asks those servers again that describe
// themselves, and puts the result in the place of what was compiled before: whole, or, on an error, not at all. The error
// is of type [config.Problems] if the files are to blame, and holds all their mistakes.
//
// Requests, streams and connections are not disturbed. Requests under way finish by the configuration that they began
// with; so do streams and WebSockets, for as long as the earlier configuration's Linger says, and then they end with a
// stated reason. Counts of limits, answers in the cache, event logs, signing keys and counters of metrics are kept as far
// as their settings are; MQTT sessions are always.
//
// The sections listen, mesh, iot and telemetry, and the limits of the HTTP server itself, cannot change without a
// restart: that is a mistake. Certificates of listeners are read anew. The warnings tell what holds on to earlier
// descriptors until then.
//
// Reload is safe for concurrent use: reloads come one after the other. It needs a file of [config.Load], and ends with
// ctx, after 30 s, or when the server stops.
func (s *Server) Reload(ctx context.Context) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)() //nolint:contextcheck // whichever ends first
	select {
	case s.reloading <- struct{}{}:
		defer func() { <-s.reloading }()
		warnings, err = s.reload(ctx)
	case <-ctx.Done():
		err = ErrReloading
	}
	if s.life.Err() != nil && err != nil {
		err = ErrStopping
	}
	s.reloads.note(err)
	if err != nil {
		s.logger.ErrorContext(ctx, "the configuration was not reloaded, nothing has changed", "error", err)
		return nil, err
	}
	s.logger.InfoContext(ctx, "the configuration was reloaded")
	for _, w := range warnings {
		s.logger.WarnContext(ctx, "the configuration needs a restart", "warning", w)
	}
	return warnings, nil
}

// reload makes the next runtime and puts it in its place. Only one goroutine at a time may call it.
func (s *Server) reload(ctx context.Context) ([]string, error) {
	old := s.current.Load()
	file, err := old.file.Again()
	if err != nil {
		return nil, err
	}
	before, cfg := &old.file.Config, &file.Config
	next, err := s.build(ctx, file, old.parts)
	certificates, err2 := loadCertificates(&cfg.Listen)
	err = errors.Join(needsRestart(before, cfg), err, err2, checkMesh(cfg.Mesh))
	if err == nil {
		err = mistake.In(awaitKeys(ctx, next.parts.auth), "auth")
	}
	late := ctx.Err()
	if err != nil || late != nil {
		if next != nil {
			err = errors.Join(err, next.parts.close())
		}
		if late != nil {
			return nil, fmt.Errorf("the reload was given up: %w", late)
		}
		return nil, file.Locate(err)
	}
	s.listeners.renew(certificates)
	s.known.store(next.parts.descriptors)
	s.current.Store(next)
	if next.parts.mobile != nil && old.parts.mobile != nil {
		next.parts.mobile.TakeOver(old.parts.mobile)
	}
	s.retire(old) //nolint:contextcheck // it outlives the reload
	return iotWarnings(cfg.IoT, s.iotDescriptors, next.parts.descriptors), nil
}

// needsRestart reports sections that have changed and cannot while the server runs.
func needsRestart(before, after *config.Config) error {
	a, b := before.LimitsHTTP.WithDefaults(), after.LimitsHTTP.WithDefaults()
	var errs []error
	for _, one := range []struct {
		before, after any
		path          []string
	}{
		{before.Listen, after.Listen, []string{"listen"}},
		{before.Mesh, after.Mesh, []string{"mesh"}},
		{before.IoT, after.IoT, []string{"iot"}},
		{before.Telemetry, after.Telemetry, []string{"telemetry"}},
		{a.Header, b.Header, []string{"limits_http", "header"}},
		{a.ReadTimeout, b.ReadTimeout, []string{"limits_http", "read_timeout"}},
		{a.WriteTimeout, b.WriteTimeout, []string{"limits_http", "write_timeout"}},
		{a.IdleTimeout, b.IdleTimeout, []string{"limits_http", "idle_timeout"}},
	} {
		if !reflect.DeepEqual(one.before, one.after) {
			name := one.path[len(one.path)-1]
			errs = append(errs, mistake.At(name+" has changed and cannot while the server runs: it needs a restart", one.path...))
		}
	}
	return errors.Join(errs...)
}

// awaitKeys waits until tokens of all issuers can be judged.
func awaitKeys(ctx context.Context, a *auth.Authenticator) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// iotWarnings tells which methods of the IoT door have other messages now than when it began: it goes on to read and
// write those of then, which protobuf lets services do that were changed with care.
func iotWarnings(cfg *iot.Config, before, now *upstream.Descriptors) []string {
	if cfg == nil {
		return nil
	}
	var names []string
	for i := range cfg.Uplinks {
		names = append(names, cfg.Uplinks[i].Method)
	}
	for i := range cfg.Downlinks {
		names = append(names, cfg.Downlinks[i].Method)
	}
	var warnings []string
	for _, name := range names {
		a, okBefore := before.Method(name)
		b, okNow := now.Method(name)
		if !okBefore || !okNow {
			continue // neither compiles
		}
		seen := map[protoreflect.FullName]bool{}
		if !sameMessage(a.Desc.Input(), b.Desc.Input(), seen) || !sameMessage(a.Desc.Output(), b.Desc.Output(), seen) {
			warnings = append(warnings, fmt.Sprintf("the messages of %s have changed: the section iot keeps to those of the start until a restart", name))
		}
	}
	return warnings
}

// sameMessage reports whether two messages, and all below them, have the same fields. seen are those found the same.
func sameMessage(a, b protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[a.FullName()] {
		return true
	}
	seen[a.FullName()] = true
	if a.FullName() != b.FullName() || !proto.Equal(protodesc.ToDescriptorProto(a), protodesc.ToDescriptorProto(b)) {
		return false
	}
	for i := range a.Fields().Len() {
		x, y := a.Fields().Get(i), b.Fields().Get(i)
		switch {
		case x.Message() != nil && !sameMessage(x.Message(), y.Message(), seen):
			return false
		case x.Enum() != nil && !proto.Equal(protodesc.ToEnumDescriptorProto(x.Enum()), protodesc.ToEnumDescriptorProto(y.Enum())):
			return false
		}
	}
	return true
}

// reloadMetrics are named as Prometheus names its own.
type reloadMetrics struct {
	total              *prometheus.CounterVec
	successful, latest prometheus.Gauge
}

// newReloadMetrics registers the metrics and notes the start as a success.
func newReloadMetrics(r prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portico_config_reloads_total", Help: "Reloads of the configuration, by result: success, or failure, which changes nothing.",
		}, []string{"result"}),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portico_config_last_reload_successful", Help: "Whether the last reload of the configuration was successful.",
		}),
		latest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portico_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was loaded.",
		}),
	}
	for _, result := range []string{"success", "failure"} {
		m.total.WithLabelValues(result)
	}
	m.successful.Set(1)
	m.latest.SetToCurrentTime()
	r.MustRegister(m.total, m.successful, m.latest)
	return m
}

func (m *reloadMetrics) note(err error) {
	if err != nil {
		m.total.WithLabelValues("failure").Inc()
		m.successful.Set(0)
		return
	}
	m.total.WithLabelValues("success").Inc()
	m.successful.Set(1)
	m.latest.SetToCurrentTime()
}

// reloadForAdmin reloads and tells what came of it.
func (s *Server) reloadForAdmin(ctx context.Context) admin.Outcome {
	warnings, err := s.Reload(ctx)
	if err == nil {
		return admin.Outcome{Reloaded: true, Warnings: warnings}
	}
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		return admin.Outcome{Error: err.Error()}
	}
	var out admin.Outcome
	for _, p := range problems {
		out.Mistakes = append(out.Mistakes, admin.Mistake{File: p.File, Line: p.Line, Column: p.Col, Text: p.Text})
	}
	return out
}
