package mesh

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc/credentials"
)

// secure is the transport security of the mesh: mutual TLS 1.3 with SPIFFE
// certificates on both sides, on connections that end with the certificates
// they were made with. (TLS itself never looks at a certificate again after the
// handshake.)
//
// The AuthInfo of its connections is a plain credentials.TLSInfo: grpc's own
// authorization engine and others look for exactly that type.
type secure struct {
	mesh    *Mesh
	channel *channel // nil at a server
}

var _ credentials.TransportCredentials = (*secure)(nil)

// ClientHandshake pins the server: only the identities that are expected of it
// will do, whoever else is of the trust domain.
func (s *secure) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := s.clientHandshake(ctx, authority, raw)
	if err != nil && ctx.Err() == nil {
		s.mesh.onEvent(Event{Kind: HandshakeRefused, Target: s.channel.target, Err: err})
	}
	return conn, info, err
}

func (s *secure) clientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	side, err := s.channel.side(authority) // with what it is trusted by as of now
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.channel.connectTimeout())
	defer cancel()
	conn, info, err := credentials.NewTLS(side.config).ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	return s.mesh.lives.limit(conn, info, side.own, side.review)
}

// ServerHandshake takes any caller whose certificate the trusted authorities
// have signed; authorization decides what it may call.
func (s *secure) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := s.serverHandshake(raw)
	if err != nil {
		s.mesh.onEvent(Event{Kind: HandshakeRefused, Err: err})
	}
	return conn, info, err
}

func (s *secure) serverHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if s.mesh.policy.Load().permissive(s.mesh.self, portOf(raw.LocalAddr())) {
		sniffed, tls, err := sniff(raw)
		if err != nil {
			return nil, nil, err
		}
		if !tls {
			s.mesh.onEvent(Event{Kind: PlaintextAccepted, Endpoint: raw.RemoteAddr().String()})
			return sniffed, plaintextInfo{port: portOf(raw.LocalAddr())}, nil
		}
		raw = sniffed
	}
	trusted := s.mesh.lives.reviewed(s.mesh.vouched)
	svid, err := s.mesh.identity.GetX509SVID()
	if err != nil {
		return nil, nil, fmt.Errorf("mesh: asking for the process's identity: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	tlsconfig.HookMTLSServerConfig(config, svid, s.mesh.identity, tlsconfig.AuthorizeAny())
	config.MinVersion = tls.VersionTLS13
	// A resumed session would skip the checks of the caller's certificate.
	config.SessionTicketsDisabled = true
	conn, info, err := credentials.NewTLS(config).ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return s.mesh.lives.limit(conn, info, svid.Certificates[0], trusted)
}

// Info names the protocol.
func (s *secure) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns itself: it is immutable.
func (s *secure) Clone() credentials.TransportCredentials { return s }

// OverrideServerName does nothing: servers are known by their SPIFFE ids.
func (s *secure) OverrideServerName(string) error { return nil }
