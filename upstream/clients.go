package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Keepalive of upstream connections. Servers of grpc-go close connections that ping more often than every five
// minutes (gRFC A8), unless told otherwise.
const (
	keepaliveTime    = 6 * time.Minute
	keepaliveTimeout = 20 * time.Second
)

// Dialer makes connections through the mesh: mutual TLS, with the server's SPIFFE id pinned to identity.
type Dialer interface {
	NewClient(target, identity string, opts ...grpc.DialOption) (*grpc.ClientConn, error)
}

// Clients calls the services behind the configured upstreams over one lazily made connection each. It implements
// [Caller] and is safe for concurrent use; Close it when done.
type Clients struct {
	byName    map[string]*client
	byService map[string]*client
	memory    memory // of replies
}

// client is the connection to one upstream.
type client struct {
	name    string
	conn    *grpc.ClientConn
	timeout time.Duration // of unary calls
	// keeps tells that conn keeps the timeout itself, once it is connected.
	keeps bool
	// metadata tells that somebody wants to see the metadata of answers.
	metadata bool
}

var _ Caller = (*Clients)(nil)

// NewClients prepares a connection for every upstream in cfgs, by name. mesh is used by those with TLSMesh and may be
// nil if there is none. opts are added to every connection, before what cfgs demand.
//
// The error holds a [mistake.Mistake] for everything that is wrong, at paths like ["orders", "target"].
func NewClients(cfgs map[string]Config, d *Descriptors, mesh Dialer, opts ...grpc.DialOption) (*Clients, error) {
	c := &Clients{byName: map[string]*client{}, byService: map[string]*client{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfgs)) {
		if err := c.add(name, cfgs[name].withDefaults(), d, mesh, opts); err != nil {
			errs = append(errs, mistake.In(err, name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, c.Close())...)
	}
	return c, nil
}

// add makes one client.
func (c *Clients) add(name string, cfg Config, d *Descriptors, mesh Dialer, opts []grpc.DialOption) error {
	cl := &client{name: name, timeout: cfg.Timeout, metadata: len(cfg.Headers.Respond) > 0}
	errs := []error{c.route(cl, cfg.Services, d)}
	if cfg.Target == "" {
		errs = append(errs, &mistake.Mistake{Path: []string{"target"}, What: "no target", Expected: "one such as dns:///host:port"})
	}
	if cfg.Timeout < 0 {
		errs = append(errs, mistake.At("the timeout is negative", "timeout"))
	}
	if cfg.MaxMessage < 0 || cfg.MaxMessage > math.MaxInt32 {
		errs = append(errs, &mistake.Mistake{Path: []string{"max_message"}, What: "the size is out of range", Expected: "at most 2GiB"})
	}
	if cl.keeps = cfg.TLS.Mode != TLSMesh; cl.keeps { // service configs are the mesh's, where there is one
		opts = append(slices.Clip(opts), grpc.WithDefaultServiceConfig(unaryTimeout(cfg.Services, d, max(cfg.Timeout, 0))))
	}
	if cfg.Target != "" {
		var err error
		if cl.conn, err = dial(cfg, mesh, nil, opts); err != nil {
			errs = append(errs, err)
		} else {
			c.byName[name] = cl
		}
	}
	return errors.Join(errs...)
}

// route claims services for a client.
func (c *Clients) route(cl *client, services []string, d *Descriptors) error {
	if len(services) == 0 {
		return &mistake.Mistake{Path: []string{"services"}, What: "no services", Expected: "at least one"}
	}
	var errs []error
	for i, s := range services {
		path := []string{"services", strconv.Itoa(i)}
		if d.Methods(s) == nil && !slices.Contains(d.Services(), s) {
			errs = append(errs, &mistake.Mistake{
				Path: path, What: fmt.Sprintf("unknown service %q", s),
				Expected: "a service of the descriptors", Nearest: mistake.Nearest(s, d.Services()),
			})
			continue
		}
		if other, ok := c.byService[s]; ok {
			errs = append(errs, mistake.At(fmt.Sprintf("the service %q is already behind the upstream %q", s, other.name), path...))
			continue
		}
		c.byService[s] = cl
	}
	return errors.Join(errs...)
}

// dial prepares a connection; nothing is sent before the first call. refused, if not nil, is told of every handshake of
// plain TLS that fails.
func dial(cfg Config, mesh Dialer, refused func(error), opts []grpc.DialOption) (*grpc.ClientConn, error) {
	size := int(min(max(cfg.MaxMessage, 0), math.MaxInt32))
	opts = append(slices.Clip(opts),
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(rawCodec{}),
			grpc.MaxCallRecvMsgSize(size),
			grpc.MaxCallSendMsgSize(size),
		))
	switch cfg.TLS.Mode {
	case TLSUnset:
		return nil, &mistake.Mistake{
			Path: []string{"tls"}, What: "how to secure the connection is not said",
			Expected: "{mesh: {identity: SPIFFE-ID}}, system, {ca: FILE, server_name: NAME} or none",
		}
	case TLSMesh:
		if _, err := spiffeid.FromString(cfg.TLS.Identity); err != nil {
			return nil, &mistake.Mistake{
				Path: []string{"tls", "mesh", "identity"}, What: fmt.Sprintf("%q is no SPIFFE id: %v", cfg.TLS.Identity, err),
				Expected: "one such as spiffe://shop.test/orders", Err: err,
			}
		}
		if mesh == nil {
			return nil, &mistake.Mistake{Path: []string{"tls", "mesh"}, What: "no mesh is configured", Expected: "a section mesh with an identity"}
		}
		conn, err := mesh.NewClient(cfg.Target, cfg.TLS.Identity, opts...)
		return conn, targetMistake(err)
	case TLSSystem, TLSFile, TLSNone:
	}
	creds, err := cfg.TLS.credentials()
	if err != nil {
		return nil, mistake.In(err, "tls")
	}
	if refused != nil {
		creds = watched{creds, refused}
	}
	conn, err := grpc.NewClient(cfg.Target, append(opts, grpc.WithTransportCredentials(creds))...)
	return conn, targetMistake(err)
}

func targetMistake(err error) error {
	if err == nil {
		return nil
	}
	return &mistake.Mistake{Path: []string{"target"}, What: err.Error(), Expected: "a target such as dns:///host:port", Err: err}
}

// Upstream returns the name of the upstream behind which m is.
func (c *Clients) Upstream(m *Method) (name string, ok bool) {
	cl, ok := c.byService[m.Service()]
	if !ok {
		return "", false
	}
	return cl.name, true
}

// call is what a unary call needs on the heap, in one piece.
type call struct {
	request []byte
	reply   rawReply
}

// Invoke calls a unary method of the descriptors with the outgoing metadata of ctx. If the upstream's headers.respond lists
// anything, the reply carries all response metadata, whether the call went well or not; otherwise none. The reply may be
// released.
func (c *Clients) Invoke(ctx context.Context, m *Method, req []byte) (Reply, error) {
	cl, err := c.client(m)
	if err != nil {
		return Reply{}, err
	}
	if !m.Unary() {
		return Reply{}, status.Errorf(codes.Internal, "%s is a streaming method", m.Name)
	}
	if !cl.keeps || cl.conn.GetState() != connectivity.Ready {
		// A name that has not been resolved yet is waited for before the connection's own timeout begins.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cl.timeout)
		defer cancel()
	}
	sent := &call{request: req, reply: rawReply{lease: lease{memory: &c.memory}}}
	if cl.metadata {
		var header, trailer metadata.MD
		err = cl.conn.Invoke(ctx, m.path, &sent.request, &sent.reply, grpc.Header(&header), grpc.Trailer(&trailer))
		return Reply{Message: sent.reply.message, Header: header, Trailer: trailer, lease: sent.reply.lent()}, err
	}
	err = cl.conn.Invoke(ctx, m.path, &sent.request, &sent.reply)
	return Reply{Message: sent.reply.message, lease: sent.reply.lent()}, err
}

// Open starts a call of a streaming method with the outgoing metadata of ctx. Only ctx bounds how long it lasts.
func (c *Clients) Open(ctx context.Context, m *Method) (Stream, error) {
	cl, err := c.client(m)
	if err != nil {
		return nil, err
	}
	s, err := cl.conn.NewStream(ctx, &grpc.StreamDesc{
		StreamName:    string(m.Desc.Name()),
		ClientStreams: m.ClientStreaming,
		ServerStreams: m.ServerStreaming,
	}, m.path)
	if err != nil {
		return nil, err
	}
	return &stream{s}, nil
}

func (c *Clients) client(m *Method) (*client, error) {
	cl, ok := c.byService[m.Service()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "no upstream serves %s", m.Service())
	}
	return cl, nil
}

// Ready says for each upstream why it cannot be reached now; nil for those that can, or that were not needed yet. An
// idle connection is told to connect.
func (c *Clients) Ready(ctx context.Context) map[string]error {
	out := make(map[string]error, len(c.byName))
	for name, cl := range c.byName {
		out[name] = nil
		state := cl.conn.GetState()
		if state == connectivity.Idle {
			cl.conn.Connect()
		}
		if state == connectivity.Connecting && cl.conn.WaitForStateChange(ctx, state) {
			state = cl.conn.GetState()
		}
		switch state {
		case connectivity.Idle, connectivity.Ready:
		case connectivity.Connecting, connectivity.TransientFailure, connectivity.Shutdown:
			out[name] = fmt.Errorf("the connection to %s is %s", cl.conn.Target(), state)
		}
	}
	return out
}

// Close ends all connections and the calls on them.
func (c *Clients) Close() error {
	var errs []error
	for _, cl := range c.byName {
		errs = append(errs, cl.conn.Close())
	}
	return errors.Join(errs...)
}

// stream is a [Stream] over a gRPC stream.
type stream struct{ grpc.ClientStream }

// Send sends one message.
func (s *stream) Send(msg []byte) error { return s.SendMsg(&msg) }

// Recv returns the next message.
func (s *stream) Recv() ([]byte, error) {
	var raw rawReply
	if err := s.RecvMsg(&raw); err != nil {
		return nil, err
	}
	return raw.message, nil
}
