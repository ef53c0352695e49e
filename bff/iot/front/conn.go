package front

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/time/rate"

	"github.com/portico-bff/portico/bff/iot/packet"
)

// writeTimeout is how long a device or the broker may leave a packet unread.
const writeTimeout = 10 * time.Second

// conn is one device's connection. Two goroutines serve it: one logs the device in and then carries its packets up to
// the broker, the other carries the broker's down to the device.
type conn struct {
	server *Server
	nc     net.Conn
	in     *packet.Reader
	done   chan struct{} // closed when nothing of the connection is left

	ctx    context.Context //nolint:containedctx // the connection's life
	cancel context.CancelFunc

	// Set by login, before the second goroutine starts.
	device             Device
	broker             net.Conn // set under mu, for close
	fromBroker         *packet.Reader
	publish, subscribe []entry
	limiter            *rate.Limiter
	silence            time.Duration       // longest time without a packet
	filters            map[string]struct{} // subscribed to; of the upward goroutine

	writing sync.Mutex // held while a packet is written to the device

	mu      sync.Mutex // guards the fields below
	closed  bool
	reason  string
	cause   error
	pending map[uint16][]byte // SUBACK codes of filters denied here (0x80) or asked of the broker (unasked)
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server: s, nc: nc, in: packet.NewReader(nc, packet.Client), done: make(chan struct{}),
		filters: make(map[string]struct{}), pending: make(map[uint16][]byte),
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// close ends the connection. The first reason counts.
func (c *conn) close(reason string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed, c.reason, c.cause = true, reason, cause
	c.cancel()
	_ = c.nc.Close()
	if c.broker != nil {
		if reason == reasonDisconnect {
			_ = c.forward(packets.NewControlPacket(packets.Disconnect)) // for the broker's log alone
		}
		_ = c.broker.Close()
	}
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.report()
	reason, err := c.login()
	if err != nil {
		c.close(reason, err)
		return
	}
	if !c.device.Expires.IsZero() {
		expiry := time.AfterFunc(time.Until(c.device.Expires), func() { c.close(reasonExpired, nil) })
		defer expiry.Stop()
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.close(c.down()) })
	c.close(c.up())
	wg.Wait()
}

// report tells how the connection ended.
func (c *conn) report() {
	c.mu.Lock()
	reason, cause := c.reason, c.cause
	c.mu.Unlock()
	c.server.metrics.closed.WithLabelValues(reason).Inc()
	attrs := []any{"device", c.device.ID, "remote", c.nc.RemoteAddr().String(), "reason", reason}
	if cause != nil {
		attrs = append(attrs, "error", cause)
	}
	switch reason {
	case reasonDisconnect, reasonShutdown, reasonDevice:
		c.server.o.Logger.DebugContext(c.server.ctx, "device gone", attrs...)
	default:
		c.server.o.Logger.InfoContext(c.server.ctx, "device disconnected", attrs...)
	}
}

// send writes a packet to the device.
func (c *conn) send(p packets.ControlPacket) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return p.Write(c.nc)
}

// forward writes a packet to the broker.
func (c *conn) forward(p packets.ControlPacket) error {
	if err := c.broker.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return p.Write(c.broker)
}

// readReason tells why reading from the device ended.
func readReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reasonSilent
	case errors.Is(err, packet.ErrMalformed), errors.Is(err, packet.ErrTooLarge), errors.Is(err, packet.ErrVersion),
		errors.Is(err, packet.ErrUnexpected), errors.Is(err, io.ErrUnexpectedEOF):
		return reasonProtocol
	default:
		return reasonDevice
	}
}
