package mesh

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// An Identity says who this workload is and whom it trusts: an X.509 SVID
// with its key, and the certificate authorities of its trust domain. It is asked
// at every TLS handshake, so a renewed certificate is used without a restart.
//
// [FileIdentity], [WorkloadAPI] and [DevCA.Identity] make one; anything that has
// go-spiffe's two source interfaces is one too. An Identity is safe for
// concurrent use. Whoever made it closes it, after the [Mesh] that uses it.
type Identity interface {
	x509svid.Source
	x509bundle.Source
	io.Closer
}

// WorkloadAPI returns the identity that a SPIFFE Workload API gives to this
// process: SPIRE's agent, or [DevCA.Serve]. The address is a URL such as
// "unix:///run/spire/agent.sock"; empty means the environment variable
// SPIFFE_ENDPOINT_SOCKET. It waits for the first certificate until ctx ends;
// renewals arrive in the background until Close.
func WorkloadAPI(ctx context.Context, address string) (Identity, error) {
	var opts []workloadapi.X509SourceOption
	if address != "" {
		opts = append(opts, workloadapi.WithClientOptions(workloadapi.WithAddr(address)))
	}
	source, err := workloadapi.NewX509Source(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("asking the workload API at %q for an identity: %w", address, err)
	}
	return source, nil
}

// Peer returns the verified SPIFFE id of the caller, inside a handler of a mesh
// server. It is false elsewhere: outside a call, or on a connection without
// mutual TLS.
func Peer(ctx context.Context) (spiffeid.ID, bool) {
	info, ok := tlsInfo(ctx)
	if !ok || info.SPIFFEID == nil {
		return spiffeid.ID{}, false
	}
	id, err := spiffeid.FromURI(info.SPIFFEID)
	return id, err == nil
}

// tlsInfo returns what the TLS handshake of the call's connection left.
func tlsInfo(ctx context.Context) (credentials.TLSInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return credentials.TLSInfo{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info, ok
}

// life returns how long the certificate of an SVID is valid in all.
func life(svid *x509svid.SVID) time.Duration {
	leaf := svid.Certificates[0]
	return leaf.NotAfter.Sub(leaf.NotBefore)
}
