package mesh

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

const (
	sniffTimeout = 5 * time.Second // for the first byte of a connection

	tlsHandshake = 0x16 // RFC 8446, section 5.1: the type of the first record
	http2Preface = 'P'  // RFC 9113, section 3.4: "PRI * HTTP/2.0..."
)

// permissive says whether the workload's servers take plaintext at a port, by the first
// document that is about it.
func (p *Policy) permissive(self spiffeid.ID, port string) bool {
	document := p.peerAuthentication(self)
	return document != nil && document.Allows(port)
}

// anyPermissive says whether they do at some port.
func (p *Policy) anyPermissive(self spiffeid.ID) bool {
	document := p.peerAuthentication(self)
	return document != nil && document.Any()
}

// permissiveAt says whether one of the servers that a target may have takes plaintext
// there.
func (p *Policy) permissiveAt(servers []spiffeid.ID, target string) bool {
	ports := policy.Ports(target)
	return slices.ContainsFunc(servers, func(id spiffeid.ID) bool {
		if len(ports) == 0 {
			return p.anyPermissive(id)
		}
		return slices.ContainsFunc(ports, func(port string) bool { return p.permissive(id, port) })
	})
}

func (p *Policy) peerAuthentication(self spiffeid.ID) *policy.PeerAuthentication {
	workload := authz.Principal{TrustDomain: self.TrustDomain().Name(), Path: self.Path()}
	for i := range p.file.Peers {
		if p.file.Peers[i].Covers(workload) {
			return &p.file.Peers[i]
		}
	}
	return nil
}

// plaintextInfo is what is known of a caller without TLS: nothing. It knows the port
// it came to, since the policy may change while it is connected.
type plaintextInfo struct{ port string }

var _ credentials.AuthInfo = plaintextInfo{}

// AuthType is what gRPC calls it.
func (plaintextInfo) AuthType() string { return "insecure" }

// GetCommonAuthInfo says that the connection is not secure.
func (plaintextInfo) GetCommonAuthInfo() credentials.CommonAuthInfo {
	return credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}
}

// plaintext says whether a call came without TLS over a port that the policy in force
// lets it.
func (m *Mesh) plaintext(ctx context.Context, inForce *Policy) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := p.AuthInfo.(plaintextInfo)
	return ok && inForce.permissive(m.self, info.port)
}

// portOf returns the port of an address, "" if it has none.
func portOf(address net.Addr) string {
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return ""
	}
	return port
}

// sniff waits for the first byte of a connection and says whether it begins a TLS
// handshake. It returns a connection that has the byte still to give. The deadline that
// it sets for the rest of the handshake is lifted by gRPC, as its own is.
func sniff(raw net.Conn) (net.Conn, bool, error) {
	if err := raw.SetReadDeadline(time.Now().Add(sniffTimeout)); err != nil {
		return nil, false, fmt.Errorf("mesh: waiting for a connection's first byte: %w", err)
	}
	var first [1]byte
	if _, err := raw.Read(first[:]); err != nil {
		return nil, false, fmt.Errorf("mesh: waiting for a connection's first byte: %w", err)
	}
	if first[0] != tlsHandshake && first[0] != http2Preface {
		return nil, false, fmt.Errorf("mesh: the connection begins with byte %#x, want TLS or HTTP/2", first[0])
	}
	if err := raw.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, false, fmt.Errorf("mesh: waiting for a handshake: %w", err)
	}
	return &sniffedConn{Conn: raw, first: first[:]}, first[0] == tlsHandshake, nil
}

// sniffedConn is a connection whose first byte has been read.
type sniffedConn struct {
	net.Conn

	first []byte
}

// Read reads the first byte, and then the rest.
func (c *sniffedConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
