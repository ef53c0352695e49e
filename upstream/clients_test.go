package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/config/mistake"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream"
)

const (
	orderService = "shop.orders.v1.OrderService"
	fleetService = "shop.fleet.v1.FleetService"
)

// stub is an order and fleet service made of functions.
type stub struct {
	ordersv1.UnimplementedOrderServiceServer
	fleetv1.UnimplementedFleetServiceServer
	getOrder   func(context.Context, *ordersv1.GetOrderRequest) (*ordersv1.Order, error)
	watchOrder func(*ordersv1.WatchOrderRequest, grpc.ServerStreamingServer[ordersv1.Order]) error
	track      func(grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error
}

func (s *stub) GetOrder(ctx context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	return s.getOrder(ctx, r)
}

func (s *stub) WatchOrder(r *ordersv1.WatchOrderRequest, out grpc.ServerStreamingServer[ordersv1.Order]) error {
	return s.watchOrder(r, out)
}

func (s *stub) Track(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error {
	return s.track(stream)
}

// serve starts s in memory and returns clients of it.
func serve(tb testing.TB, s *stub, change func(*upstream.Config)) *upstream.Clients {
	tb.Helper()
	lis := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	ordersv1.RegisterOrderServiceServer(server, s)
	fleetv1.RegisterFleetServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	cfg := upstream.Config{Target: "passthrough:///bufconn", Services: []string{orderService, fleetService}, TLS: upstream.TLS{Mode: upstream.TLSNone}}
	if change != nil {
		change(&cfg)
	}
	c, err := upstream.NewClients(map[string]upstream.Config{"shop": cfg}, shop(tb), nil,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// asked asks for the metadata of answers.
func asked(cfg *upstream.Config) { cfg.Headers.Respond = []string{"x-header"} }

func TestInvoke(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{getOrder: func(ctx context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
		in, _ := metadata.FromIncomingContext(ctx)
		if err := errors.Join(
			grpc.SetHeader(ctx, metadata.Pairs("x-header", in.Get("x-user-id")[0])),
			grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t")),
		); err != nil {
			return nil, err
		}
		return &ordersv1.Order{OrderId: r.GetOrderId(), Note: "hello"}, nil
	}}, asked)
	get := method(t, shop(t), orderService+"/GetOrder")
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("x-user-id", "u1"))
	reply, err := c.Invoke(ctx, get, marshal(t, &ordersv1.GetOrderRequest{OrderId: "o1"}))
	if err != nil {
		t.Fatal(err)
	}
	var order ordersv1.Order
	if err := proto.Unmarshal(reply.Message, &order); err != nil {
		t.Fatal(err)
	}
	if order.GetOrderId() != "o1" || order.GetNote() != "hello" {
		t.Errorf("got %v", &order)
	}
	if reply.Header.Get("x-header")[0] != "u1" || reply.Trailer.Get("x-trailer")[0] != "t" {
		t.Errorf("got %v, %v", reply.Header, reply.Trailer)
	}
	if reply.Freshness != (upstream.Freshness{}) {
		t.Errorf("got %+v", reply.Freshness)
	}
	if name, ok := c.Upstream(get); !ok || name != "shop" {
		t.Errorf("got %q, %t", name, ok)
	}
}

func TestInvokeErrors(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{getOrder: func(ctx context.Context, r *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
		switch r.GetOrderId() {
		case "missing":
			return nil, errors.Join(grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t")), status.Error(codes.NotFound, "no such order"))
		case "slow":
			<-ctx.Done()
			return nil, ctx.Err()
		case "big":
			return &ordersv1.Order{Note: strings.Repeat("x", 2<<10)}, nil
		}
		return &ordersv1.Order{}, nil
	}}, func(c *upstream.Config) { c.Timeout, c.MaxMessage = 300*time.Millisecond, 1<<10 })
	d := shop(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name   string
		ctx    context.Context //nolint:containedctx // a row of a table
		method string
		id     string
		code   codes.Code
	}{
		{"ok", t.Context(), orderService + "/GetOrder", "x", codes.OK},
		{"status", t.Context(), orderService + "/GetOrder", "missing", codes.NotFound},
		{"timeout of the upstream", t.Context(), orderService + "/GetOrder", "slow", codes.DeadlineExceeded},
		{"cancelled", cancelled, orderService + "/GetOrder", "slow", codes.Canceled},
		{"reply too long", t.Context(), orderService + "/GetOrder", "big", codes.ResourceExhausted},
		{"request too long", t.Context(), orderService + "/GetOrder", strings.Repeat("x", 2<<10), codes.ResourceExhausted},
		{"unimplemented there", t.Context(), orderService + "/ListOrders", "x", codes.Unimplemented},
		{"behind no upstream", t.Context(), "shop.users.v1.UserService/GetUser", "x", codes.Unimplemented},
		{"a stream", t.Context(), orderService + "/WatchOrder", "x", codes.Internal},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := c.Invoke(tc.ctx, method(t, d, tc.method), marshal(t, &ordersv1.GetOrderRequest{OrderId: tc.id}))
			if status.Code(err) != tc.code {
				t.Errorf("got %v, want %v", err, tc.code)
			}
		})
	}
}

// TestInvokeCallerDeadline: the caller's deadline wins if it ends earlier.
func TestInvokeCallerDeadline(t *testing.T) {
	t.Parallel()
	left := make(chan time.Duration, 2)
	c := serve(t, &stub{getOrder: func(ctx context.Context, _ *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
		at, _ := ctx.Deadline()
		left <- time.Until(at)
		return &ordersv1.Order{}, nil
	}}, func(c *upstream.Config) { c.Timeout = time.Minute })
	get := method(t, shop(t), orderService+"/GetOrder")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Invoke(ctx, get, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Invoke(t.Context(), get, nil); err != nil {
		t.Fatal(err)
	}
	if short, long := <-left, <-left; short > 20*time.Second || long < 30*time.Second || long > time.Minute {
		t.Errorf("got %v, %v", short, long)
	}
}

// TestTimeoutOnceConnected: the timeout holds before there is a connection and after, for unary calls and no others.
func TestTimeoutOnceConnected(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	c := serve(t, &stub{
		getOrder: func(ctx context.Context, _ *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		watchOrder: func(_ *ordersv1.WatchOrderRequest, out grpc.ServerStreamingServer[ordersv1.Order]) error {
			select {
			case <-out.Context().Done():
				return out.Context().Err()
			case <-time.After(3 * limit):
				return out.Send(&ordersv1.Order{})
			}
		},
	}, func(c *upstream.Config) { c.Timeout = limit })
	d := shop(t)
	for _, state := range []string{"not connected", "connected"} {
		begun := time.Now()
		if _, err := c.Invoke(t.Context(), method(t, d, orderService+"/GetOrder"), nil); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", state, err)
		}
		if took := time.Since(begun); took < limit || took > 10*limit {
			t.Errorf("%s: took %v", state, took)
		}
	}
	s, err := c.Open(t.Context(), method(t, d, orderService+"/WatchOrder"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Send(nil), s.CloseSend()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Errorf("a stream: %v", err)
	}
}

// TestTimeoutOfName: a name that nobody resolves keeps no call for longer than the timeout.
func TestTimeoutOfName(t *testing.T) {
	t.Parallel()
	silent := manual.NewBuilderWithScheme("silent")
	d := shop(t)
	c, err := upstream.NewClients(map[string]upstream.Config{"shop": {
		Target: "silent:///shop", Services: []string{orderService}, TLS: upstream.TLS{Mode: upstream.TLSNone}, Timeout: 100 * time.Millisecond,
	}}, d, nil, grpc.WithResolvers(silent))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if _, err := c.Invoke(t.Context(), method(t, d, orderService+"/GetOrder"), nil); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	}
}

func TestServerStream(t *testing.T) {
	t.Parallel()
	c := serve(t, &stub{watchOrder: func(r *ordersv1.WatchOrderRequest, out grpc.ServerStreamingServer[ordersv1.Order]) error {
		if err := out.SendHeader(metadata.Pairs("x-header", "h")); err != nil {
			return err
		}
		out.SetTrailer(metadata.Pairs("x-trailer", "t"))
		for _, note := range []string{"1", "2", "3"} {
			if err := out.Send(&ordersv1.Order{OrderId: r.GetOrderId(), Note: note}); err != nil {
				return err
			}
		}
		if r.GetOrderId() == "bad" {
			return status.Error(codes.DataLoss, "gone")
		}
		return nil
	}}, nil)
	watch := method(t, shop(t), orderService+"/WatchOrder")
	for _, tc := range []struct {
		id  string
		end codes.Code
	}{{"good", codes.OK}, {"bad", codes.DataLoss}} {
		s, err := c.Open(t.Context(), watch)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Send(marshal(t, &ordersv1.WatchOrderRequest{OrderId: tc.id})), s.CloseSend()); err != nil {
			t.Fatal(err)
		}
		if h, err := s.Header(); err != nil || h.Get("x-header")[0] != "h" {
			t.Fatalf("got %v, %v", h, err)
		}
		var notes strings.Builder
		for {
			var msg []byte
			if msg, err = s.Recv(); err != nil {
				break
			}
			var order ordersv1.Order
			if err := proto.Unmarshal(msg, &order); err != nil {
				t.Fatal(err)
			}
			notes.WriteString(order.GetNote())
		}
		if notes.String() != "123" || (tc.end == codes.OK) != errors.Is(err, io.EOF) || tc.end != codes.OK && status.Code(err) != tc.end {
			t.Errorf("%s: got %q, %v", tc.id, notes.String(), err)
		}
		if s.Trailer().Get("x-trailer")[0] != "t" {
			t.Errorf("got %v", s.Trailer())
		}
	}
}

func TestBidiStream(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 2)
	c := serve(t, &stub{track: func(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error {
		for {
			if _, err := stream.Recv(); errors.Is(err, io.EOF) {
				ended <- nil
				return nil
			} else if err != nil {
				ended <- err
				return err
			}
			if err := stream.Send(&fleetv1.TrackResponse{}); err != nil {
				return err
			}
		}
	}}, nil)
	track := method(t, shop(t), fleetService+"/Track")
	s, err := c.Open(t.Context(), track)
	if err != nil {
		t.Fatal(err)
	}
	buf := marshal(t, &fleetv1.TrackRequest{})
	for range 3 {
		if err := s.Send(buf); err != nil {
			t.Fatal(err)
		}
		clear(buf) // the message may be reused as soon as Send has returned
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if s, err = c.Open(ctx, track); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("the service saw %v", err)
	}
	if _, err := c.Open(t.Context(), method(t, shop(t), "shop.users.v1.UserService/GetUser")); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

// fakeMesh remembers what it was asked for.
type fakeMesh struct{ target, identity string }

func (m *fakeMesh) NewClient(target, identity string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	m.target, m.identity = target, identity
	return grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func TestMesh(t *testing.T) {
	t.Parallel()
	m := new(fakeMesh)
	c, err := upstream.NewClients(map[string]upstream.Config{"orders": {
		Target: "dns:///orders:7000", Services: []string{orderService},
		TLS: upstream.TLS{Mode: upstream.TLSMesh, Identity: "spiffe://shop.test/orders"},
	}}, shop(t), m)
	if err != nil {
		t.Fatal(err)
	}
	if *m != (fakeMesh{"dns:///orders:7000", "spiffe://shop.test/orders"}) {
		t.Errorf("got %+v", m)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestTLSWithCA(t *testing.T) {
	t.Parallel()
	// httptest's certificate is for example.com and signs itself.
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	cert := web.TLS.Certificates[0]
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})))
	ordersv1.RegisterOrderServiceServer(server, &stub{getOrder: func(context.Context, *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
		return &ordersv1.Order{}, nil
	}})
	go func() { _ = server.Serve(lis) }()
	defer server.Stop()
	ca := writeFile(t, "ca.pem", pemOf(web.Certificate().Raw))
	for _, tc := range []struct {
		tls  upstream.TLS
		code codes.Code
	}{
		{upstream.TLS{Mode: upstream.TLSFile, CA: ca, ServerName: "example.com"}, codes.OK},
		{upstream.TLS{Mode: upstream.TLSFile, CA: ca, ServerName: "orders"}, codes.Unavailable},
		{upstream.TLS{Mode: upstream.TLSSystem}, codes.Unavailable},
		{upstream.TLS{Mode: upstream.TLSNone}, codes.Unavailable},
	} {
		c, err := upstream.NewClients(map[string]upstream.Config{"orders": {Target: lis.Addr().String(), Services: []string{orderService}, TLS: tc.tls}}, shop(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Invoke(t.Context(), method(t, shop(t), orderService+"/GetOrder"), nil)
		if status.Code(err) != tc.code {
			t.Errorf("%+v: got %v", tc.tls, err)
		}
		ready := c.Ready(t.Context())["orders"]
		if (ready == nil) != (tc.code == codes.OK) {
			t.Errorf("%+v: ready is %v", tc.tls, ready)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewClientsMistakes(t *testing.T) {
	t.Parallel()
	none := upstream.TLS{Mode: upstream.TLSNone}
	good := upstream.Config{Target: "dns:///x:1", Services: []string{orderService}, TLS: none}
	with := func(change func(*upstream.Config)) upstream.Config {
		c := good
		change(&c)
		return c
	}
	cases := []struct {
		name string
		cfgs map[string]upstream.Config
		want []string
	}{
		{"nothing given", map[string]upstream.Config{"a": {}}, []string{"a.services: no services", "a.target: no target"}},
		{
			"unknown service",
			map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.Services = []string{"shop.orders.v1.OrderServise"} })},
			[]string{`a.services.0: unknown service "shop.orders.v1.OrderServise", expected a service of the descriptors, did you mean "shop.orders.v1.OrderService"?`},
		},
		{"service twice", map[string]upstream.Config{"a": good, "b": good}, []string{`b.services.0: the service "shop.orders.v1.OrderService" is already behind the upstream "a"`}},
		{"no tls", map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.TLS = upstream.TLS{} })}, []string{"a.tls: how to secure the connection is not said"}},
		{"no mesh", map[string]upstream.Config{"a": with(func(c *upstream.Config) {
			c.TLS = upstream.TLS{Mode: upstream.TLSMesh, Identity: "spiffe://shop.test/orders"}
		})}, []string{"a.tls.mesh: no mesh is configured"}},
		{
			"bad identity",
			map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.TLS = upstream.TLS{Mode: upstream.TLSMesh, Identity: "orders"} })},
			[]string{`a.tls.mesh.identity: "orders" is no SPIFFE id`},
		},
		{
			"no CA file",
			map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.TLS = upstream.TLS{Mode: upstream.TLSFile, CA: "nope.pem"} })},
			[]string{"a.tls.ca: cannot read the certificate authorities: open nope.pem"},
		},
		{"no CA", map[string]upstream.Config{"a": with(func(c *upstream.Config) {
			c.TLS = upstream.TLS{Mode: upstream.TLSFile, CA: writeFile(t, "x.pem", []byte("x"))}
		})}, []string{"holds no certificate in PEM"}},
		{"bad target", map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.Target = "\x7f" })}, []string{"a.target: "}},
		{
			"negative",
			map[string]upstream.Config{"a": with(func(c *upstream.Config) { c.Timeout, c.MaxMessage = -1, -1 })},
			[]string{"a.timeout: the timeout is negative", "a.max_message: the size is out of range"},
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := upstream.NewClients(tc.cfgs, shop(t), nil)
			list := mistake.List(err)
			if len(list) != len(tc.want) {
				t.Fatalf("got %d mistakes: %v", len(list), err)
			}
			for i, m := range list {
				if !strings.Contains(m.Error(), tc.want[i]) {
					t.Errorf("got %q, want %q in it", m.Error(), tc.want[i])
				}
			}
		})
	}
}
