package core

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
	"github.com/portico-bff/portico/upstream"
)

const (
	getUser       = "shop.users.v1.UserService/GetUser"
	batchGetUsers = "shop.users.v1.UserService/BatchGetUsers"
	getProduct    = "shop.catalog.v1.CatalogService/GetProduct"
	getOrder      = "shop.orders.v1.OrderService/GetOrder"
	watchReadings = "shop.fleet.v1.FleetService/WatchReadings"
	track         = "shop.fleet.v1.FleetService/Track"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// services stands for the services: functions, and a record of the calls.
type services struct {
	invoke func(context.Context, *upstream.Method, []byte) (upstream.Reply, error)
	open   func(context.Context, *upstream.Method) (upstream.Stream, error)

	mu    sync.Mutex
	calls []call
}

type call struct {
	method string
	md     metadata.MD
	req    string
}

func (s *services) record(ctx context.Context, m *upstream.Method, req []byte) {
	md, _ := metadata.FromOutgoingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call{m.Name, md.Copy(), string(req)})
}

func (s *services) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	s.record(ctx, m, req)
	if s.invoke != nil {
		return s.invoke(ctx, m, req)
	}
	// By default a service answers with the identity that it was told.
	md, _ := metadata.FromOutgoingContext(ctx)
	reply := upstream.Reply{Header: metadata.Pairs("server", "internal-7"), Trailer: metadata.Pairs("x", "y")}
	for _, id := range md.Get("x-user-id") {
		reply.Message = append(reply.Message, id...)
	}
	return reply, nil
}

func (s *services) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	s.record(ctx, m, nil)
	return s.open(ctx, m)
}

func (s *services) seen() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]call(nil), s.calls...)
}

// echo is a stream that sends back what it gets, until it is half-closed or its context ends.
type echo struct {
	ctx  context.Context //nolint:containedctx // a stream lives as long as its context
	msgs chan []byte
}

func newEcho(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
	return &echo{ctx: ctx, msgs: make(chan []byte, 16)}, nil
}

func (e *echo) Send(msg []byte) error {
	e.msgs <- msg
	return nil
}

func (e *echo) CloseSend() error {
	close(e.msgs)
	return nil
}

func (e *echo) Recv() ([]byte, error) {
	select {
	case msg, ok := <-e.msgs:
		if !ok {
			return nil, io.EOF
		}
		return msg, nil
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
}

func (e *echo) Header() (metadata.MD, error) { return metadata.Pairs("server", "internal-7"), nil }
func (e *echo) Trailer() metadata.MD         { return metadata.Pairs("server", "internal-7") }

// shop is a core before the demo's services.
type shop struct {
	*Core
	next *services
	desc *upstream.Descriptors
}

func (s *shop) method(tb testing.TB, name string) *upstream.Method {
	tb.Helper()
	m, ok := s.desc.Method(name)
	if !ok {
		tb.Fatalf("no method %s", name)
	}
	return m
}

// get invokes a method.
func (s *shop) get(ctx context.Context, tb testing.TB, name, req string) (upstream.Reply, error) {
	tb.Helper()
	return s.Invoke(ctx, s.method(tb, name), []byte(req))
}

func loadShop(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// shopOptions are the demo's settings, more or less.
func shopOptions(tb testing.TB) Options {
	tb.Helper()
	headers := upstream.Headers{
		Forward: []string{"Accept-Language", "Authorization", "X-Trace-Bin"},
		Set:     map[string]string{"x-user-id": "{principal.subject}", "x-user-role": "{principal.roles}", "x-call": "{request.id}"},
	}
	return Options{
		Descriptors: loadShop(tb),
		Methods: map[string]MethodConfig{
			"shop.catalog.v1.CatalogService/*": {Allow: "true", Cache: &cache.Config{MaxAge: 30 * time.Second, Scope: cache.Public}},
			"shop.users.v1.UserService/*":      {Allow: "principal.authenticated", Cache: &cache.Config{MaxAge: 30 * time.Second}},
			"shop.orders.v1.OrderService/*":    {Allow: "principal.authenticated"},
			"shop.fleet.v1.FleetService/*":     {Allow: "principal.authenticated"},
			track:                              {Allow: `request.message.box_id.startsWith("box-")`},
		},
		Upstreams: map[string]upstream.Config{
			"catalog": {Services: []string{"shop.catalog.v1.CatalogService"}, Headers: headers},
			"users":   {Services: []string{"shop.users.v1.UserService"}, Headers: headers},
			"orders":  {Services: []string{"shop.orders.v1.OrderService"}, Headers: headers},
			"fleet":   {Services: []string{"shop.fleet.v1.FleetService"}, Headers: headers},
		},
	}
}

// newShop makes a core; change may alter its options.
func newShop(tb testing.TB, change func(*Options)) *shop {
	tb.Helper()
	o := shopOptions(tb)
	next := &services{open: newEcho}
	o.Next = next
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &shop{c, next, o.Descriptors}
}

// as is a request of a user; an empty name is nobody.
func as(ctx context.Context, subject string, headers ...string) context.Context {
	info := &request.Info{Door: request.Mobile, ID: "req-" + subject, Header: http.Header{}, Remote: netip.MustParseAddr("192.0.2.7")}
	for i := 0; i < len(headers); i += 2 {
		info.Header.Add(headers[i], headers[i+1])
	}
	ctx = request.NewContext(ctx, info)
	if subject == "" {
		return ctx
	}
	return auth.NewContext(ctx, &auth.Principal{
		Subject: subject, Kind: auth.User, Authenticated: true, Roles: []string{"customer"}, Issuer: "https://id.shop.test",
	})
}

func codeOf(tb testing.TB, err error) codes.Code {
	tb.Helper()
	if err == nil {
		return codes.OK
	}
	f, ok := err.(*fault.Error) //nolint:errorlint // the core promises this very type
	if !ok {
		tb.Fatalf("%T is no *fault.Error: %v", err, err)
	}
	return f.Code
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func orderRequest(tb testing.TB, id string) string {
	tb.Helper()
	return string(marshal(tb, &ordersv1.GetOrderRequest{OrderId: id}))
}

func userRequest(tb testing.TB, id string) string {
	tb.Helper()
	return string(marshal(tb, &usersv1.GetUserRequest{UserId: id}))
}
