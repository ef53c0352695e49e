// Package front is where devices connect: a relay that speaks MQTT 3.1.1 with each device and, on its behalf and with
// Portico's own credentials, with the broker behind. It reads every packet strictly and with bounded memory, checks
// who connects, binds the client id to that identity, lets a device use its own topics only, and slows down the fast
// ones. So policy is the same whichever broker stands behind, and no malformed packet reaches it.
//
// A device is refused with CONNACK 1 (another protocol than MQTT 3.1.1), 2 (a client id that is not the device's), 3
// (the door is not open yet, or something needed is down), 4 (bad credentials) or 5 (no credentials, no device, or a
// will). A filter that it may not subscribe to is answered with 0x80 in the SUBACK. MQTT 3.1.1 has no answer for a
// PUBLISH that is not allowed: it closes the connection, and the log tells why. QoS 2 publishing and retained messages
// are refused so too; a subscription with QoS 2 is granted QoS 1.
//
// Start with [New] and [Server.Serve].
package front

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portico-bff/portico/bff/iot/topic"
)

// Gate decides about devices. It is safe for concurrent use. Its errors tell by package fault's codes what the device
// is answered.
type Gate interface {
	// Open reports why no device may be let in now, or nil.
	Open() error
	// Login finds out who connects.
	Login(ctx context.Context, c Credentials) (Device, error)
}

// Credentials are what a CONNECT shows.
type Credentials struct {
	ClientID, Username, Password string
	// Certificates is the verified chain of the TLS connection, leaf first; nil without one.
	Certificates []*x509.Certificate
	Remote       netip.Addr
}

// Device is who has connected.
type Device struct {
	// ID is the identity: also its client id, and {device} in the ACL.
	ID string
	// Expires is when it is disconnected; zero for never.
	Expires time.Time
	// Admit takes one message to name, which the ACL entry with the text entry allows, off the device's limits. An
	// error with code RESOURCE_EXHAUSTED slows the device down; any other disconnects it.
	Admit func(ctx context.Context, entry, name string) error
}

// Limits bound connections. All of them are required.
type Limits struct {
	Connections               int
	ConnectTimeout            time.Duration
	ConnectBytes, PacketBytes int
	Keepalive                 time.Duration
	Rate                      rate.Limit
	Burst                     int
	Subscriptions             int
}

// Options configure [New]. All of them are required.
type Options struct {
	Limits Limits
	// Publish and Subscribe are the ACL: filters with the variable {device}.
	Publish, Subscribe []*topic.Template
	// Dial connects to the broker; User and Password log in there.
	Dial           func(context.Context) (net.Conn, error)
	User, Password string
	Gate           Gate
	Logger         *slog.Logger
	Metrics        prometheus.Registerer
}

// Server serves devices. It is safe for concurrent use.
type Server struct {
	o       Options
	metrics *metrics

	ctx    context.Context //nolint:containedctx // the server's life, which connections share
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	closed    bool
	listeners []net.Listener
	conns     map[*conn]struct{}
	devices   map[string]*conn // those that have logged in, by device id
}

// New returns a server that serves nobody yet.
func New(o Options) (*Server, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		o: o, metrics: m, ctx: ctx, cancel: cancel,
		conns: make(map[*conn]struct{}), devices: make(map[string]*conn),
	}, nil
}

// Serve accepts devices from lis until [Server.Close], which also closes lis. It returns nil after Close,
// and an error if somebody else has closed lis.
func (s *Server) Serve(lis net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return lis.Close()
	}
	s.listeners = append(s.listeners, lis)
	s.mu.Unlock()
	var delay time.Duration
	for {
		nc, err := lis.Accept()
		if err == nil {
			delay = 0
			s.take(nc)
			continue
		}
		if s.ctx.Err() != nil {
			return nil //nolint:nilerr // that is how Close ends it
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors, most likely: some will come back.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.o.Logger.ErrorContext(s.ctx, "accepting a device", "error", err, "retry_in", delay)
		if !sleep(s.ctx, delay) {
			return nil
		}
	}
}

// take starts to serve a connection, unless there are too many.
func (s *Server) take(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.o.Limits.Connections
	refused := full || s.closed
	if !refused {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if refused {
		if full {
			s.metrics.closed.WithLabelValues(reasonFull).Inc()
		}
		_ = nc.Close()
		return
	}
	s.metrics.connections.Inc()
	go func() {
		defer s.wg.Done()
		defer s.drop(c)
		c.serve()
	}()
}

func (s *Server) drop(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if c.device.ID != "" && s.devices[c.device.ID] == c {
		delete(s.devices, c.device.ID)
	}
	s.mu.Unlock()
	s.metrics.connections.Dec()
	close(c.done)
}

// enter makes c the connection of its device. One that is there already is closed first (section 3.1.4).
func (s *Server) enter(ctx context.Context, c *conn) error {
	for {
		s.mu.Lock()
		old := s.devices[c.device.ID]
		if old == nil {
			s.devices[c.device.ID] = c
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		old.close(reasonTakenOver, nil)
		select {
		case <-old.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close stops accepting, disconnects every device and returns when that is done. What devices have published without
// an acknowledgement, they send again. A second call does nothing.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.close(reasonShutdown, nil)
	}
	s.cancel()
	for _, lis := range s.listeners {
		_ = lis.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
