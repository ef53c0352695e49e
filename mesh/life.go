package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/credentials"
)

// afterlife is how long the end of a connection is remembered, so that its streams
// learn what ended them.
const afterlife = 10 * time.Second

// lives knows when connections end: with the first of the two certificates that
// made them.
//
// A call finds its connection by the address of the peer's certificate in the
// TLSInfo, of which every connection has a list of its own: AuthInfo must stay a
// plain credentials.TLSInfo, and has no room for more.
type lives struct {
	ends sync.Map // **x509.Certificate -> time.Time

	trust trust

	mu    sync.Mutex // guards conns
	conns map[*mortalConn]struct{}
}

// end returns when the connection of a call ends, given its TLSInfo.
func (l *lives) end(info *credentials.TLSInfo) (time.Time, bool) {
	if len(info.State.PeerCertificates) == 0 {
		return time.Time{}, false
	}
	if end, ok := l.ends.Load(&info.State.PeerCertificates[0]); ok {
		at, ok := end.(time.Time)
		return at, ok
	}
	return info.State.PeerCertificates[0].NotAfter, true
}

// knows says whether it limits the connection of that TLSInfo.
func (l *lives) knows(info *credentials.TLSInfo) bool {
	if len(info.State.PeerCertificates) == 0 {
		return false
	}
	_, ok := l.ends.Load(&info.State.PeerCertificates[0])
	return ok
}

// over says whether the connection of a stream has come to its end.
func (l *lives) over(ctx context.Context) bool {
	info, ok := tlsInfo(ctx)
	if !ok {
		return false
	}
	end, ok := l.end(&info)
	return ok && !time.Now().Before(end)
}

// limit closes the connection when the first of the two certificates that made it
// ends. own is nil if we showed none to a server outside of the mesh, or if nobody
// knows it: then the peer's counts.
func (l *lives) limit(conn net.Conn, info credentials.AuthInfo, own *x509.Certificate, r review) (net.Conn, credentials.AuthInfo, error) {
	shown, ok := info.(credentials.TLSInfo)
	if !ok || len(shown.State.PeerCertificates) == 0 || own != nil && shown.SPIFFEID == nil {
		_ = conn.Close()
		return nil, nil, errors.New("mesh: the peer showed no SPIFFE certificate")
	}
	shown.State.PeerCertificates = slices.Clone(shown.State.PeerCertificates)
	limited := &mortalConn{Conn: conn, lives: l, key: &shown.State.PeerCertificates[0]}
	end := earlier(own, shown.State.PeerCertificates[0])
	l.ends.Store(limited.key, end)
	limited.begin(end, shown.State.PeerCertificates, r, nil)
	return limited, shown, nil
}

func (l *lives) add(c *mortalConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[*mortalConn]struct{}{}
	}
	l.conns[c] = struct{}{}
}

func (l *lives) remove(c *mortalConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// all returns the connections there are.
func (l *lives) all() []*mortalConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.conns))
}

// earlier returns when the first of two certificates ends; own may be nil.
func earlier(own, peer *x509.Certificate) time.Time {
	if own != nil && own.NotAfter.Before(peer.NotAfter) {
		return own.NotAfter
	}
	return peer.NotAfter
}

// mortalConn is a connection that closes at its time.
type mortalConn struct {
	net.Conn
	lives *lives
	key   **x509.Certificate // nil if no call asks for its end

	peer   []*x509.Certificate
	domain spiffeid.TrustDomain // of peer; zero outside of the mesh
	review review               // its state is of the reviewing goroutine

	mu     sync.Mutex // guards what follows
	end    time.Time
	timer  *time.Timer // nil before the handshake is over, and after Close
	closed func()      // is told of Close
}

// begin sets the end, and has the connection reviewed until then. closed is told when it
// has closed; it may be nil.
func (c *mortalConn) begin(end time.Time, peer []*x509.Certificate, r review, closed func()) {
	c.peer, c.review = peer, r
	if id, err := x509svid.IDFromCert(peer[0]); err == nil {
		c.domain = id.TrustDomain()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lives.add(c)
	c.end, c.closed = end, closed
	c.timer = time.AfterFunc(time.Until(end), func() { _ = c.Close() })
}

// Close closes the connection and stops its clock.
func (c *mortalConn) Close() error {
	c.mu.Lock()
	timer, closed, end := c.timer, c.closed, c.end
	c.timer, c.closed = nil, nil
	c.mu.Unlock()
	if timer != nil {
		timer.Stop()
		c.lives.remove(c)
		c.forget(end)
	}
	if closed != nil {
		closed()
	}
	return c.Conn.Close()
}

// forget lets go of the connection's end, some time after it.
func (c *mortalConn) forget(end time.Time) {
	switch {
	case c.key == nil:
	case time.Now().Before(end):
		c.lives.ends.Delete(c.key)
	default:
		time.AfterFunc(afterlife, func() { c.lives.ends.Delete(c.key) })
	}
}

// SyscallConn lets gRPC set socket options through the wrapper.
func (c *mortalConn) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := c.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
