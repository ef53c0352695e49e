// Package node is one process of a scenario: a server of the mesh, a client of it that
// makes load, or both, built on package mesh as anybody's program would be.
//
// A program turns into a node when it finds a [Config] in its environment; see [Main].
// Whoever started it tells it what to do, and asks what it saw, over its standard input
// and output (net/rpc): the exported methods of [Node] are what can be called. It ends
// when its input does, without ado, and drains first when it gets a SIGTERM.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/mesh/xds"
)

// Variable is the environment variable with a node's Config, in JSON.
const Variable = "CHAOS_NODE"

const (
	startTimeout = 20 * time.Second
	drainTimeout = 10 * time.Second
)

// Config says what a node is.
type Config struct {
	// Name is what its answers call it.
	Name string
	// Identity is a Workload API socket ("unix:///...") or a folder of files.
	Identity string
	// Policy is the policy file, looked at every PolicyInterval; "" is none.
	Policy         string
	PolicyInterval time.Duration

	// Listen is the address to serve at; "" serves nothing.
	Listen string
	// MaxConnectionAge and DrainDelay are the mesh's options.
	MaxConnectionAge, DrainDelay time.Duration

	// Target is what the node calls: by its load, and in every call that it serves.
	// "" is nothing.
	Target string
	// Endpoints is the file where targets "mesh:///..." are looked up.
	Endpoints string
	// Bootstrap is the xDS bootstrap configuration, for targets "xds:///...".
	Bootstrap string
	// Zone is where the node is.
	Zone string

	// Plane makes the node an xDS control plane that serves at Listen.
	Plane bool

	// Namespace is the network namespace it is started in; "" is the lab's own.
	Namespace string
}

// Node is a running node.
type Node struct {
	config   Config
	identity mesh.Identity
	mesh     *mesh.Mesh
	conn     *grpc.ClientConn // nil without a target

	server   *mesh.Server // nil without an address
	listener *countingListener
	service  service

	load atomic.Pointer[load]
	work sync.WaitGroup
}

// Main is the node that the environment asks for. It is false if none is: the program
// is something else, and has to go on.
func Main() (code int, ok bool) {
	text, ok := os.LookupEnv(Variable)
	if !ok {
		return 0, false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, text, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// pipe is standard input and output as one.
type pipe struct {
	io.ReadCloser
	io.Writer
}

func run(ctx context.Context, text string, in io.ReadCloser, out io.Writer) error {
	n := &Node{}
	if err := json.Unmarshal([]byte(text), &n.config); err != nil {
		return fmt.Errorf("reading the node's config: %w", err)
	}
	if n.config.Plane {
		return runPlane(ctx, n.config.Listen, in, out)
	}
	if err := n.start(ctx); err != nil {
		return fmt.Errorf("node %s: %w", n.config.Name, errors.Join(err, n.close()))
	}
	// Only what rpc can call is registered; it passes over the others without a word.
	remote := rpc.NewServer()
	if err := remote.Register(n); err != nil {
		return errors.Join(err, n.close())
	}
	served := make(chan struct{})
	go func() { // until the input ends, or the process
		remote.ServeConn(pipe{in, out})
		close(served)
	}()
	select {
	case <-served:
	case <-ctx.Done():
		if n.server != nil {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
			defer cancel()
			_ = n.server.Drain(bounded) // its error says that the time was up
		}
	}
	return n.close()
}

// start joins the mesh.
func (n *Node) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &n.config
	var err error
	if strings.HasPrefix(c.Identity, "unix:") {
		n.identity, err = mesh.WorkloadAPI(ctx, c.Identity)
	} else {
		n.identity, err = mesh.FileIdentity(ctx, mesh.FileOptions{Dir: c.Identity, Interval: 100 * time.Millisecond})
	}
	if err != nil {
		return err
	}
	options := mesh.Options{
		Identity: n.identity, PolicyFile: c.Policy, PolicyInterval: c.PolicyInterval,
		Idempotent:       func(method string) bool { return method == testpb.TestService_CacheableUnaryCall_FullMethodName },
		MaxConnectionAge: c.MaxConnectionAge, DrainDelay: c.DrainDelay, Zone: c.Zone,
	}
	if c.Endpoints != "" {
		options.Discovery = mesh.FileDiscovery(c.Endpoints)
	}
	if n.mesh, err = mesh.New(ctx, options); err != nil {
		return err
	}
	if c.Target != "" {
		if n.conn, err = n.newClient(); err != nil {
			return err
		}
		n.conn.Connect()
	}
	if c.Listen == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	n.listener = &countingListener{Listener: listener}
	n.service.name = c.Name
	if n.conn != nil {
		n.service.next = testpb.NewTestServiceClient(n.conn)
	}
	n.server = n.mesh.NewServer()
	testpb.RegisterTestServiceServer(n.server, &n.service)
	reflection.Register(n.server)
	n.work.Go(func() { _ = n.server.Serve(n.listener) })
	return nil
}

// newClient makes a client of the target.
func (n *Node) newClient() (*grpc.ClientConn, error) {
	if n.config.Bootstrap == "" {
		return n.mesh.NewClient(n.config.Target)
	}
	plane, err := xds.New(xds.Options{Bootstrap: []byte(n.config.Bootstrap)})
	if err != nil {
		return nil, err
	}
	return plane.NewClient(n.mesh, n.config.Target)
}

// close ends the node at once.
func (n *Node) close() error {
	if l := n.load.Load(); l != nil {
		l.stop()
	}
	var errs []error
	if n.conn != nil {
		errs = append(errs, n.conn.Close())
	}
	if n.server != nil {
		n.server.Stop()
	}
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close())
	}
	if n.identity != nil {
		errs = append(errs, n.identity.Close())
	}
	n.work.Wait()
	return errors.Join(errs...)
}

// None is what a method takes or gives that needs nothing.
type None struct{}

// Address tells where the node serves; "" if it does not.
func (n *Node) Address(_ None, out *string) error {
	if n.listener != nil {
		*out = n.listener.Addr().String()
	}
	return nil
}

// Stats tells what the mesh counts.
func (n *Node) Stats(_ None, out *mesh.Stats) error {
	*out = n.mesh.Stats()
	return nil
}

// countingListener counts connections.
type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

// Accept waits for the next connection.
func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

// certificate tells the end of the peer's certificate.
func certificate(info credentials.AuthInfo) (serial string, end time.Time) {
	shown, ok := info.(credentials.TLSInfo)
	if !ok || len(shown.State.PeerCertificates) == 0 {
		return "", time.Time{}
	}
	leaf := shown.State.PeerCertificates[0]
	return leaf.SerialNumber.String(), leaf.NotAfter
}
