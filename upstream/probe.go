package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
)

// What [LoadOnline] finds out about a server whose connection is to be secured in another way.
var (
	// ErrSpeaksTLS tells that a connection in plain text leads to a server that speaks TLS.
	ErrSpeaksTLS = errors.New("the server speaks TLS, and the connection is in plain text")
	// ErrSpeaksPlain tells that a connection with TLS leads to a server that speaks HTTP/2 in plain text.
	ErrSpeaksPlain = errors.New("the server speaks plain text, and the connection is with TLS")
)

// probeTimeout bounds asking a server in the other way.
const probeTimeout = 3 * time.Second

// watched are credentials that tell which connections fail at their beginning, and why: gRPC itself goes on to try, and
// keeps only the text.
type watched struct {
	credentials.TransportCredentials
	refused func(error)
}

// ClientHandshake tells of an error, too. Without TLS there is none yet: it shows in what the server sends first.
func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	switch {
	case err == nil && w.Info().SecurityProtocol == "insecure":
		conn = &watchedConn{Conn: conn, ctx: ctx, refused: w.refused}
	case err != nil:
		if !hopeless(err) && speaksPlain(ctx, raw.RemoteAddr()) {
			err = errors.Join(ErrSpeaksPlain, err)
		}
		w.refused(err)
	}
	return conn, info, err
}

// Clone keeps watching.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.refused}
}

// watchedConn is a connection without TLS whose first bytes tell whether the server wanted some.
type watchedConn struct {
	net.Conn
	ctx     context.Context //nolint:containedctx // of the handshake, which lasts until the first bytes are read
	refused func(error)
	begun   bool // of its one reader
}

// Read looks at what comes first. A server of HTTP/2 sends SETTINGS (RFC 9113, section 3.4). One of TLS sends an alert, a
// page of HTTP/1 or nothing before it closes; so may others, such as a proxy whose server is not up yet. Only one
// that answers a handshake speaks TLS for sure.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun {
		return n, err
	}
	c.begun = true
	const kind = 3 // where a frame's type is (RFC 9113, section 4.1)
	settings := n > kind && http2.FrameType(p[kind]) == http2.FrameSettings
	if (n > kind || n == 0 && err != nil) && !settings && speaksTLS(c.ctx, c.RemoteAddr()) {
		c.refused(ErrSpeaksTLS)
	}
	return n, err
}

// speaksTLS reports whether a server answers a TLS handshake, with whatever certificate or alert.
func speaksTLS(ctx context.Context, addr net.Addr) bool {
	return probe(ctx, addr, func(conn net.Conn) bool {
		err := tls.Client(conn, &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // nothing is sent or believed: the connection is closed at once
			MinVersion:         tls.VersionTLS12, NextProtos: []string{"h2"},
		}).HandshakeContext(ctx)
		op, ok := errors.AsType[*net.OpError](err)
		return err == nil || ok && op.Op == "remote error" // an alert
	})
}

// speaksPlain reports whether a server answers the preface of HTTP/2 in plain text with SETTINGS.
func speaksPlain(ctx context.Context, addr net.Addr) bool {
	return probe(ctx, addr, func(conn net.Conn) bool {
		if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
			return false
		}
		framer := http2.NewFramer(conn, conn)
		if err := framer.WriteSettings(); err != nil {
			return false
		}
		frame, err := framer.ReadFrame()
		return err == nil && frame.Header().Type == http2.FrameSettings
	})
}

// probe asks a server something, on a connection of its own.
func probe(ctx context.Context, addr net.Addr, ask func(net.Conn) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return ask(conn)
}

// hopeless reports whether a connection fails for good: the server does not speak what it is to speak, or its certificate
// is not one to trust.
func hopeless(err error) bool {
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return plain || untrusted || errors.Is(err, ErrSpeaksTLS) || errors.Is(err, ErrSpeaksPlain)
}
