package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

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
// ends, or the peer's, if nobody knows the process's own (nil).
func (l *lives) limit(conn net.Conn, info credentials.AuthInfo, own *x509svid.SVID) (net.Conn, credentials.AuthInfo, error) {
	shown, ok := info.(credentials.TLSInfo)
	if !ok || len(shown.State.PeerCertificates) == 0 || shown.SPIFFEID == nil {
		_ = conn.Close()
		return nil, nil, errors.New("mesh: the peer showed no SPIFFE certificate")
	}
	shown.State.PeerCertificates = slices.Clone(shown.State.PeerCertificates)
	limited := &mortalConn{
		Conn: conn, lives: l, key: &shown.State.PeerCertificates[0],
		end: shown.State.PeerCertificates[0].NotAfter,
	}
	if own != nil {
		limited.end = earlier(own.Certificates[0], shown.State.PeerCertificates[0])
	}
	l.ends.Store(limited.key, limited.end)
	limited.mu.Lock()
	defer limited.mu.Unlock()
	limited.timer = time.AfterFunc(time.Until(limited.end), func() { _ = limited.Close() })
	return limited, shown, nil
}

func earlier(a, b *x509.Certificate) time.Time {
	if a.NotAfter.Before(b.NotAfter) {
		return a.NotAfter
	}
	return b.NotAfter
}

// mortalConn is a connection that closes at its time.
type mortalConn struct {
	net.Conn
	lives *lives
	key   **x509.Certificate
	end   time.Time

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

// Close closes the connection and stops its clock.
func (c *mortalConn) Close() error {
	c.mu.Lock()
	c.timer.Stop()
	c.mu.Unlock()
	if time.Now().Before(c.end) {
		c.lives.ends.Delete(c.key)
	} else {
		time.AfterFunc(afterlife, func() { c.lives.ends.Delete(c.key) })
	}
	return c.Conn.Close()
}

// SyscallConn lets gRPC set socket options through the wrapper.
func (c *mortalConn) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := c.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
