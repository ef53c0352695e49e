package edge

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// net/http sends an answer that is larger than its buffer of 4 KiB in two pieces at least: the buffer, filled up with the
// beginning of the body, and the rest. Each piece is a system call, a segment, and a client that is woken up. Here the first
// piece waits for the second, and both leave in one call.

// firstPiece is the size of net/http's buffer, and so of the first piece.
const firstPiece = 4 << 10

// Gather makes the connections of a TCP listener send large answers of HTTP/1.1 in one piece, and spend little on deadlines,
// for a server that [Server] has made. Connections of other listeners, such as those with TLS, are left as they are.
func Gather(lis net.Listener) net.Listener { return &gathering{Listener: lis} }

type gathering struct {
	net.Listener
	pieces sync.Pool // of *[]byte
}

// Accept waits for the next connection.
func (g *gathering) Accept() (net.Conn, error) {
	accepted, err := g.Listener.Accept()
	if tcp, ok := accepted.(*net.TCPConn); ok && err == nil {
		return &conn{timedConn: newTimedConn(tcp), tcp: tcp, pieces: &g.pieces}, nil
	}
	return accepted, err
}

// conn is a connection that gathers what is written between hold and release. These and Write are for one goroutine at a
// time, as they are under net/http.
type conn struct {
	*timedConn
	tcp     *net.TCPConn
	pieces  *sync.Pool
	holding bool
	held    *[]byte // the first piece, nil if there is none
	both    [2][]byte
}

// Write writes, or keeps the first piece.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.holding && c.held == nil && len(p) <= firstPiece:
		c.held = c.piece()
		*c.held = append((*c.held)[:0], p...)
		return len(p), nil
	case c.held != nil:
		return c.writeBoth(p)
	default:
		return c.timedConn.Write(p)
	}
}

// CloseWrite ends the sending side, which tells a client that no more will come and lets it read what has.
func (c *conn) CloseWrite() error { return c.tcp.CloseWrite() }

func (c *conn) piece() *[]byte {
	if p, ok := c.pieces.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, 0, firstPiece)
	return &p
}

// writeBoth writes the piece that was kept, and p after it.
func (c *conn) writeBoth(p []byte) (int, error) {
	first := len(*c.held)
	c.both = [2][]byte{*c.held, p}
	n, err := c.writeBuffers(c.both[:])
	c.both = [2][]byte{}
	c.pieces.Put(c.held)
	c.held = nil
	return max(0, n-first), err
}

// writeBuffers writes several pieces in one call.
func (c *conn) writeBuffers(pieces net.Buffers) (int, error) {
	since := c.writes.interrupted.Load()
	for written := 0; ; {
		n, err := pieces.WriteTo(c.tcp)
		if written += int(n); !c.writes.extends(err, since) {
			return written, err
		}
	}
}

// hold begins to gather.
func (c *conn) hold() { c.holding = true }

// release ends it: what was kept leaves.
func (c *conn) release() error {
	c.holding = false
	if c.held == nil {
		return nil
	}
	_, err := c.writeBoth(nil)
	return err
}

// connKey is the key of a connection in the contexts of its requests.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// gatherer returns the connection of a request, if what is written to it can be gathered; otherwise nil.
func gatherer(r *http.Request) *conn {
	if r.ProtoMajor != 1 {
		return nil // the answers of other requests go the same way
	}
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
