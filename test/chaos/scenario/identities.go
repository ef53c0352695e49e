package scenario

import (
	"context"
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/lab"
)

// endpoints is where the servers are.
func endpoints(servers []*lab.Process) []mesh.Endpoint {
	list := make([]mesh.Endpoint, len(servers))
	for i, s := range servers {
		list[i] = s.Endpoint()
	}
	return list
}

// holder is a workload whose identity is kept in files.
type holder struct {
	name string
	dir  string
	cert tls.Certificate
}

// newHolder gives a workload a good identity, and trust in who signed it.
func newHolder(l *lab.Lab, name string, signer *lab.Authority) (*holder, error) {
	dir, err := l.Dir()
	if err != nil {
		return nil, err
	}
	h := &holder{name: name, dir: dir}
	if err := h.show(signer); err != nil {
		return nil, err
	}
	return h, h.trust(signer)
}

// show takes a certificate of that authority, which trust then writes.
func (h *holder) show(signer *lab.Authority) (err error) {
	h.cert, err = signer.Issue(lab.Leaf{URIs: []string{lab.ID(h.name)}})
	return err
}

// trust writes the files.
func (h *holder) trust(trusted ...*lab.Authority) error {
	return lab.WriteIdentity(h.dir, h.cert, trusted...)
}

// rawTimeout is the longest that a call of a stranger may take.
const rawTimeout = 5 * time.Second

// raw makes a call as somebody would who does not use the mesh, and who takes any server.
func raw(ctx context.Context, address string, creds credentials.TransportCredentials) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, rawTimeout)
	defer cancel()
	_, err = testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{})
	return err
}

// showing is TLS with a client certificate, or without one.
func showing(cert *tls.Certificate) credentials.TransportCredentials {
	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is the client that is on trial
	if cert != nil {
		// Shown whatever authorities the server asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return credentials.NewTLS(config)
}

// plain is no TLS at all.
func plain() credentials.TransportCredentials { return insecure.NewCredentials() }
