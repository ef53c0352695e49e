package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

const (
	httpIdleTimeout = 90 * time.Second
	httpIdleLimit   = 100     // idle connections to an endpoint, where they have one request each
	httpMaxHeader   = 1 << 20 // bytes of an answer's header
)

// httpEndpoint is one place where a service answers.
type httpEndpoint struct {
	transport *httpTransport
	host      *outlier.Host
	open      atomic.Int64 // connections
	down      atomic.Int64 // until when it is asked last, in Unix nanoseconds: no connection could be made

	mu       sync.Mutex // guards what follows, and httpGeneration's guarded fields
	current  *httpGeneration
	failures int // to connect, in a row
}

// httpGeneration is connections to an endpoint that are left together: net/http can
// take single ones out of use only when nothing is on them.
type httpGeneration struct {
	endpoint *httpEndpoint
	settings httpSettings
	http     *http.Transport

	ended bool // guarded by transport.mu: it may make no more connections

	active, served int       // guarded by endpoint.mu: requests
	retired        bool      // guarded by endpoint.mu: it gets no more requests
	leave          time.Time // guarded by endpoint.mu: when it is to retire; zero without connections
}

// httpSettings are the parts of a policy that connections are made by.
type httpSettings struct {
	tls         policy.TLS
	connections int // at a time; zero is any number
}

// unsentError is the end of an attempt for which no connection could be made.
type unsentError struct {
	address string
	cause   error
}

// Error says so.
func (e *unsentError) Error() string {
	return fmt.Sprintf("mesh: connecting to %s: %v", e.address, e.cause)
}

// Unwrap returns the cause.
func (e *unsentError) Unwrap() error { return e.cause }

// acquire returns the connections that a request goes over; of is how many endpoints
// share the policy's maxConnections. [httpGeneration.release] is its counterpart.
func (e *httpEndpoint) acquire(p *plan, of int, now time.Time) *httpGeneration {
	pool := &p.destination.Pool
	settings := httpSettings{tls: p.destination.TLS}
	if pool.MaxConnections > 0 {
		settings.connections = max(1, pool.MaxConnections/of)
	}
	e.mu.Lock()
	g := e.current
	var old *httpGeneration
	if g == nil || g.settings != settings || !g.leave.IsZero() && now.After(g.leave) ||
		pool.MaxRequestsPerConnection > 0 && g.served >= pool.MaxRequestsPerConnection {
		old, g = g, newHTTPGeneration(e, settings)
		e.current = g
	}
	g.served++
	g.active++
	end := old != nil && old.retire()
	e.mu.Unlock()
	if end {
		old.end()
	}
	return g
}

func newHTTPGeneration(e *httpEndpoint, s httpSettings) *httpGeneration {
	g := &httpGeneration{endpoint: e, settings: s}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	g.http = &http.Transport{
		DialTLSContext:         g.dial,
		Protocols:              &protocols,
		MaxConnsPerHost:        s.connections,
		MaxIdleConnsPerHost:    httpIdleLimit,
		IdleConnTimeout:        httpIdleTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: httpMaxHeader,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: clientKeepaliveTime, PingTimeout: keepaliveTimeout},
	}
	return g
}

// retire takes the generation out of use, and says whether nothing is on it any more.
// The endpoint's lock is held.
func (g *httpGeneration) retire() bool {
	g.retired = true
	return g.active == 0
}

// release tells that a request has ended.
func (g *httpGeneration) release() {
	g.endpoint.mu.Lock()
	g.active--
	end := g.retired && g.active == 0
	g.endpoint.mu.Unlock()
	if end {
		g.end()
	}
}

// end closes the generation's connections.
func (g *httpGeneration) end() {
	g.http.CloseIdleConnections()
	g.endpoint.transport.cut(g)
}

// retire takes the endpoint out of use.
func (e *httpEndpoint) retire() {
	e.mu.Lock()
	g := e.current
	e.current = nil
	end := g != nil && g.retire()
	e.mu.Unlock()
	if end {
		g.end()
	}
}

// idle closes the connections that nothing is on.
func (e *httpEndpoint) idle() {
	e.mu.Lock()
	g := e.current
	e.mu.Unlock()
	if g != nil {
		g.http.CloseIdleConnections()
	}
}

// avoid says whether connecting has failed lately.
func (e *httpEndpoint) avoid(now time.Time) bool { return now.UnixNano() < e.down.Load() }

// dial makes a connection, for net/http, which says neither where to nor how: that is
// the endpoint's and the policy's.
func (g *httpGeneration) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	e := g.endpoint
	ch := e.transport.channel
	conn, refused, err := g.connect(ctx)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &unsentError{address: e.host.Address(), cause: err}
		}
		e.mu.Lock()
		wait := min(connectBackoff<<min(e.failures, 16), connectBackoffLimit)
		e.failures++
		e.mu.Unlock()
		e.down.Store(time.Now().Add(wait).UnixNano())
		if refused {
			ch.mesh.onEvent(Event{Kind: HandshakeRefused, Target: ch.target, Endpoint: e.host.Address(), Err: err})
		}
		return nil, &unsentError{address: e.host.Address(), cause: err}
	}
	e.mu.Lock()
	if e.failures > 0 {
		e.host.Start(time.Now())
	}
	e.failures = 0
	e.mu.Unlock()
	e.down.Store(0)
	return conn, nil
}

// connect makes a connection that ends before the first of its certificates does.
// It says whether it was the handshake that failed.
func (g *httpGeneration) connect(ctx context.Context) (conn net.Conn, handshake bool, err error) {
	t := g.endpoint.transport
	ch := t.channel
	side, err := ch.side(t.name)
	if err != nil {
		return nil, true, err
	}
	raw, err := ch.dial(ctx, g.endpoint.host.Address())
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, ch.connectTimeout())
	defer cancel()
	limited := &mortalConn{Conn: raw, lives: &ch.mesh.lives}
	side.config.NextProtos = []string{"h2", "http/1.1"}
	secured := tls.Client(limited, side.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, true, err
	}
	peer := secured.ConnectionState().PeerCertificates
	now, end := time.Now(), earlier(side.own, peer[0])
	if !t.hold(g, limited) {
		_ = raw.Close()
		return nil, false, errors.New("the endpoint is not used any more")
	}
	g.endpoint.open.Add(1)
	limited.begin(end, peer, side.review, func() {
		g.endpoint.open.Add(-1)
		t.drop(limited)
	})
	// As a server of the mesh would have it: see connectionAge.
	left := end.Sub(now)
	age := min(ch.mesh.maxAge, (left-min(time.Second, left/2))*7/10)
	g.endpoint.mu.Lock()
	if leave := now.Add(age); g.leave.IsZero() || leave.Before(g.leave) {
		g.leave = leave
	}
	g.endpoint.mu.Unlock()
	return secured, false, nil
}

// hold notes a connection, unless its generation has ended meanwhile.
func (t *httpTransport) hold(g *httpGeneration, c *mortalConn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.ended || t.over {
		return false
	}
	t.conns[c] = g
	return true
}

func (t *httpTransport) drop(c *mortalConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

// cut closes the connections of a generation; nil is all.
func (t *httpTransport) cut(g *httpGeneration) {
	t.mu.Lock()
	var list []*mortalConn
	for c, of := range t.conns {
		if of == g || g == nil {
			list = append(list, c)
		}
	}
	if g != nil {
		g.ended = true
	} else {
		t.over = true
	}
	t.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
}
