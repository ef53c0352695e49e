package mesh

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// side is the client's side of a handshake.
type side struct {
	config *tls.Config
	own    *x509.Certificate // what we show; nil outside of the mesh
	review review
}

// side returns how the next connection of the channel is secured, if one may be made
// that asks for this authority: as the mesh does, where only the identities that are
// expected of the server will do, whoever else is of the trust domain; or, where the
// policy says so by name, as everybody does.
func (ch *channel) side(authority string) (side, error) {
	name, _, err := net.SplitHostPort(authority)
	if err != nil {
		name = authority
	}
	settings := ch.plan().destination.TLS
	review := ch.mesh.lives.reviewed(func(peer []*x509.Certificate) error { return ch.trusts(settings, peer) })
	if settings.ServerName != "" {
		name = settings.ServerName
	}
	if err := ch.permitted(name); err != nil {
		return side{}, err
	}
	if settings.Mode == policy.SimpleTLS {
		roots, err := authorities(settings.Authorities)
		if err != nil {
			return side{}, fmt.Errorf("mesh: the policy's caCertificates for %s: %w", ch.target, err)
		}
		return side{config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, RootCAs: roots}, review: review}, nil
	}
	expected, err := ch.expected()
	if err != nil {
		return side{}, err
	}
	svid, err := ch.mesh.identity.GetX509SVID()
	if err != nil {
		return side{}, fmt.Errorf("mesh: asking for the process's identity: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name}
	tlsconfig.HookMTLSClientConfig(config, svid, ch.mesh.identity, tlsconfig.AuthorizeOneOf(expected...))
	config.MinVersion = tls.VersionTLS13
	return side{config: config, own: svid.Certificates[0], review: review}, nil
}

// authorities reads a PEM file, anew for each connection; "" is the system's roots.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // which is what crypto/tls calls the system's
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", path)
	}
	return pool, nil
}

func (ch *channel) connectTimeout() time.Duration {
	return cmp.Or(ch.plan().destination.Pool.ConnectTimeout, policy.DefaultConnectTimeout)
}

// dial connects to an endpoint: host:port, or unix:/path.
func (ch *channel) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ch.connectTimeout())
	defer cancel()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", strings.TrimPrefix(path, "//")
	} else if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "\x00") {
		network = "unix"
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}
