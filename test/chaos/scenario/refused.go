package scenario

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// refused has a mesh server called by clients that are not what they should be, and a
// mesh client call servers that are not: of a foreign trust domain, of another
// authority that claims the same domain, with a certificate that has ended, that is not
// yet valid (the clocks differ), that names somebody else or nobody, without a
// certificate, in plain text. The server lets every workload of the domain call, so it
// is the handshake that refuses. One good client and one good server show that the rest
// could have worked. The mark is that no decision is wrong, and that no handler ran for
// a refused call.
func refused(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	own, err := lab.NewAuthority(lab.Domain)
	if err != nil {
		return nil, err
	}
	rival, err := lab.NewAuthority(lab.Domain)
	if err != nil {
		return nil, err
	}
	foreign, err := lab.NewAuthority("foreign.test")
	if err != nil {
		return nil, err
	}
	clients, err := refusedClients(ctx, l, own, rival, foreign)
	if err != nil {
		return nil, err
	}
	servers, err := refusedServers(ctx, l, own, rival, foreign)
	if err != nil {
		return nil, err
	}
	wrong := append(clients, servers...)
	if len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return []figure.Figure{figure.Count("wrong_decisions", len(wrong), figure.Zero())}, err
}

// stranger is somebody who calls, or is called.
type stranger struct {
	name   string
	signer *lab.Authority
	leaf   lab.Leaf
	good   bool
}

// strangers are the certificates that are tried on both sides, for the workload named.
func strangers(workload string, own, rival, foreign *lab.Authority) []stranger {
	id := []string{lab.ID(workload)}
	return []stranger{
		{"good", own, lab.Leaf{URIs: id}, true},
		{"foreign trust domain", foreign, lab.Leaf{URIs: []string{"spiffe://foreign.test/" + workload}}, false},
		{"foreign authority, our name", foreign, lab.Leaf{URIs: id}, false},
		{"our authority, a foreign name", own, lab.Leaf{URIs: []string{"spiffe://foreign.test/" + workload}}, false},
		{"another authority of our domain", rival, lab.Leaf{URIs: id}, false},
		{"ended", own, lab.Leaf{URIs: id, From: -time.Hour, Until: -time.Second}, false},
		{"not yet valid", own, lab.Leaf{URIs: id, From: 2 * time.Minute}, false},
		{"a DNS name only", own, lab.Leaf{Names: []string{workload}}, false},
		{"two SPIFFE ids", own, lab.Leaf{URIs: append(id, lab.ID("other"))}, false},
		{"the domain's own name", own, lab.Leaf{URIs: []string{"spiffe://" + lab.Domain}}, false},
	}
}

// refusedClients returns the wrong decisions of a mesh server.
func refusedClients(ctx context.Context, l *lab.Lab, own, rival, foreign *lab.Authority) (wrong []string, err error) {
	serving, err := newHolder(l, lab.Service, own)
	if err != nil {
		return nil, err
	}
	server, err := l.Server(ctx, node.Config{Name: "server", Identity: serving.dir})
	if err != nil {
		return nil, err
	}
	try := func(name string, creds credentials.TransportCredentials, good bool) {
		if err := raw(ctx, server.Address, creds); (err == nil) != good {
			wrong = append(wrong, fmt.Sprintf("client: %s: %v", name, err))
		}
	}
	for _, s := range strangers("client", own, rival, foreign) {
		cert, err := s.signer.Issue(s.leaf)
		if err != nil {
			return nil, err
		}
		try(s.name, showing(&cert), s.good)
	}
	try("no certificate", showing(nil), false)
	try("plain text", plain(), false)
	seen, err := server.Served(ctx)
	if seen.Calls != 1 {
		wrong = append(wrong, fmt.Sprintf("the service was called by %v", seen.Callers))
	}
	return wrong, err
}

// refusedServers returns the wrong decisions of mesh clients.
func refusedServers(ctx context.Context, l *lab.Lab, own, rival, foreign *lab.Authority) (wrong []string, err error) {
	calling, err := newHolder(l, "client", own)
	if err != nil {
		return nil, err
	}
	client, err := l.Start(ctx, node.Config{Name: "client", Identity: calling.dir})
	if err != nil {
		return nil, err
	}
	try := func(name string, creds credentials.TransportCredentials, good bool) error {
		code, calls, err := callStranger(ctx, client, creds)
		if err == nil && (code == "OK" != good || calls > 0 != good) {
			wrong = append(wrong, fmt.Sprintf("server: %s: %s, %d calls came through", name, code, calls))
		}
		return err
	}
	list := append(strangers(lab.Service, own, rival, foreign),
		stranger{name: "another workload of our domain", signer: own, leaf: lab.Leaf{URIs: []string{lab.ID("payments")}}})
	for _, s := range list {
		cert, err := s.signer.Issue(s.leaf)
		if err != nil {
			return nil, err
		}
		creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13})
		if err := try(s.name, creds, s.good); err != nil {
			return nil, err
		}
	}
	return wrong, try("plain text", plain(), false)
}

// callStranger has a mesh client call a server that is made of gRPC alone.
func callStranger(ctx context.Context, client *lab.Process, creds credentials.TransportCredentials) (code string, calls int64, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", 0, err
	}
	service := &bare{}
	server := grpc.NewServer(grpc.Creds(creds))
	testpb.RegisterTestServiceServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		err = errors.Join(err, <-served)
	}()
	answer, err := client.Ask(ctx, node.Call{
		Method: testpb.TestService_UnaryCall_FullMethodName, Timeout: rawTimeout,
		Address: listener.Addr().String(), Expect: lab.ID(lab.Service),
	})
	return answer.Code, service.calls.Load(), err
}

// bare is a service without a mesh, which counts.
type bare struct {
	testpb.UnimplementedTestServiceServer
	calls atomic.Int64
}

// UnaryCall answers.
func (b *bare) UnaryCall(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	b.calls.Add(1)
	return &testpb.SimpleResponse{Payload: &testpb.Payload{Body: []byte("[]")}}, nil
}
