package edge

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// net/http sets half a dozen deadlines for each request, and each moves a timer of the runtime. Nearly all of them are
// later than the one before, or none. So a connection keeps the earlier deadline: a later one is noted, and comes into
// force when the earlier has passed.

// timedConn is a connection with such deadlines. It does what the connection in it does.
type timedConn struct {
	net.Conn
	reads, writes deadline
}

func newTimedConn(c net.Conn) *timedConn {
	return &timedConn{Conn: c, reads: deadline{put: c.SetReadDeadline}, writes: deadline{put: c.SetWriteDeadline}}
}

// SetDeadline sets both deadlines.
func (c *timedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets when reading ends, also that which is under way.
func (c *timedConn) SetReadDeadline(t time.Time) error { return c.reads.set(t) }

// SetWriteDeadline sets when writing ends, also that which is under way.
func (c *timedConn) SetWriteDeadline(t time.Time) error { return c.writes.set(t) }

// Read reads until the deadline that was set.
func (c *timedConn) Read(p []byte) (int, error) {
	since := c.reads.interrupted.Load()
	for {
		if n, err := c.Conn.Read(p); n > 0 || !c.reads.extends(err, since) {
			return n, err
		}
	}
}

// Write writes until the deadline that was set.
func (c *timedConn) Write(p []byte) (int, error) {
	since := c.writes.interrupted.Load()
	for written := 0; ; {
		n, err := c.Conn.Write(p[written:])
		if written += n; !c.writes.extends(err, since) {
			return written, err
		}
	}
}

// deadline is when reading or writing ends. It is safe for concurrent use.
type deadline struct {
	put         func(time.Time) error // gives it to the connection
	interrupted atomic.Int64          // how often what was under way was ended

	mu     sync.Mutex // guards what follows
	wanted time.Time  // what was set; zero: none
	given  time.Time  // what the connection has: wanted, or earlier; zero: none
	before time.Time  // what it had before it was interrupted
}

// set notes a deadline, and gives it to the connection if that has none that is as early.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if interrupts(t) {
		d.interrupted.Add(1)
	}
	switch {
	case interrupts(d.given):
		if t.IsZero() {
			t = d.before // which is early enough for the next to be noted only
		}
	case d.given.IsZero() && t.IsZero():
		return nil
	case !d.given.IsZero() && (t.IsZero() || !t.Before(d.given)):
		return nil
	case interrupts(t):
		d.before = d.given
	}
	return d.give(t)
}

func (d *deadline) give(t time.Time) error {
	d.given = t
	return d.put(t)
}

// extends says whether an error of the connection is only the end of an earlier deadline than the one that was set,
// which it then gives to the connection. since is how often it had been interrupted when the reading or writing began.
func (d *deadline) extends(err error, since int64) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.interrupted.Load() != since || !d.wanted.IsZero() && (d.wanted.Equal(d.given) || !time.Now().Before(d.wanted)) {
		return false
	}
	return d.give(d.wanted) == nil
}

// interrupts says whether a deadline was over before the program was written: who sets such a one wants to end what is
// under way, and takes it back then.
func interrupts(t time.Time) bool {
	const longAgo = 1e9 // seconds since 1970
	return !t.IsZero() && t.Unix() < longAgo
}
