package bff

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portico-bff/portico/bff/config"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/upstream"
)

// unaryConfig is the REST door with all that a product has on the way of a request: tokens, a rule, a limit, the access
// log and metrics.
const unaryConfig = `
version: 1
listen: {http: "127.0.0.1:0", admin: "127.0.0.1:0"}
descriptors: [{set: protos/gen/shop.binpb}]
upstreams:
  orders: {target: "passthrough:///nowhere", services: [shop.orders.v1.OrderService], tls: none, timeout: 10s}
auth:
  jwt: [{issuer: "https://id.shop.test", audiences: [portico], jwks_file: %q}]
methods:
  "shop.orders.v1.OrderService/*": {allow: "principal.authenticated && 'customer' in principal.roles"}
mobile: {services: [shop.orders.v1.OrderService]}
limits: [{per: principal, rate: 1000000/s, burst: 1000000}]
`

// unaryDoor is the whole way of a unary request in this process: all but net/http's server and gRPC's transport.
func unaryDoor(tb testing.TB) (http.Handler, string) {
	tb.Helper()
	return doors(tb, unaryConfig)
}

// doors are the doors of a configuration with a place for the file of an issuer's keys, and a token of that issuer.
func doors(tb testing.TB, text string) (http.Handler, string) {
	tb.Helper()
	jwks, token := testIssuer(tb)
	file, err := config.Parse("../test.yaml", fmt.Appendf(nil, text, jwks), func(string) (string, bool) { return "", false })
	if err != nil {
		tb.Fatal(err)
	}
	descriptors, err := upstream.Load(file.Config.Descriptors)
	if err != nil {
		tb.Fatal(err)
	}
	env := environment{
		logger: slog.New(slog.NewJSONHandler(&sink{}, nil)), metrics: prometheus.NewRegistry(), tracer: noop.NewTracerProvider(),
		dial: []grpc.DialOption{grpc.WithUnaryInterceptor(answers(tb))},
	}
	parts, err := compile(tb.Context(), &file.Config, descriptors, env)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := parts.close(); err != nil {
			tb.Error(err)
		}
	})
	var s Server
	s.current.Store(newRuntime(file, parts, router(&file.Config, parts, env, Extensions{})))
	return http.HandlerFunc(s.dispatch), token
}

// answers answers calls in the service's place, without allocating.
func answers(tb testing.TB) grpc.UnaryClientInterceptor {
	tb.Helper()
	order := &ordersv1.Order{
		OrderId: "ord-0000007", CustomerId: "usr-0007", Note: "Please leave it with the neighbour on the second floor.",
		State: ordersv1.OrderState_ORDER_STATE_SHIPPED, PaymentId: "pay-0000007",
		Total:      &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 13084},
		CreateTime: timestamppb.New(time.Unix(1_770_000_000, 0)), UpdateTime: timestamppb.New(time.Unix(1_770_000_400, 0)),
		Labels: map[string]string{"channel": "mobile", "campaign": "spring"},
	}
	for i := range 8 {
		order.Items = append(order.Items, &ordersv1.OrderItem{
			ProductId: fmt.Sprintf("prd-%05d", i), Quantity: int32(i), UnitPrice: &catalogv1.Money{CurrencyCode: "EUR", MinorUnits: 99},
		})
	}
	page := &ordersv1.ListOrdersResponse{NextPageToken: "after-50"}
	for range 50 {
		page.Orders = append(page.Orders, order)
	}
	byMethod := map[string]mem.BufferSlice{}
	for name, m := range map[string]proto.Message{"GetOrder": order, "ListOrders": page} {
		text, err := proto.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		byMethod["/shop.orders.v1.OrderService/"+name] = mem.BufferSlice{mem.SliceBuffer(text)}
	}
	return func(_ context.Context, method string, _, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		for _, o := range opts {
			if codec, ok := o.(grpc.ForceCodecV2CallOption); ok {
				return codec.CodecV2.Unmarshal(byMethod[method], reply)
			}
		}
		return errors.New("no codec")
	}
}

// testIssuer makes a key set in a file, and a token that its key has signed.
func testIssuer(tb testing.TB) (file, token string) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := jwk.Import(private)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(key.Set(jwk.KeyIDKey, "test"), key.Set(jwk.AlgorithmKey, jwa.ES256())); err != nil {
		tb.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
	if err != nil {
		tb.Fatal(err)
	}
	file = filepath.Join(tb.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	claims, err := jwt.NewBuilder().Issuer("https://id.shop.test").Audience([]string{"portico"}).Subject("usr-0007").
		Claim("roles", []string{"customer"}).IssuedAt(now).Expiration(now.Add(time.Hour)).Build()
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := jwt.Sign(claims, jwt.WithKey(jwa.ES256(), key))
	if err != nil {
		tb.Fatal(err)
	}
	return file, string(signed)
}

// unaryRequest is a request as net/http's server makes it, apart from its context.
func unaryRequest(tb testing.TB, url, token string) *http.Request {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, url, http.NoBody)
	r.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Accept": {"application/json"}, "User-Agent": {"portico-bench"},
	}
	return r
}

// sink is a [http.ResponseWriter] that keeps the status and the size of what is written.
type sink struct {
	header http.Header
	status int
	size   int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	s.size += len(p)
	return len(p), nil
}

// unaryCases are the requests that are measured.
func unaryCases() map[string]string {
	return map[string]string{
		"order": "/v1/orders/ord-0000007",
		"page":  "/v1/orders?page_size=50",
		"five":  "/v1/orders?page_size=50&fields=orders(orderId,state,createTime,total,customerId)",
	}
}

func BenchmarkUnary(b *testing.B) {
	h, token := unaryDoor(b)
	for name, url := range unaryCases() {
		b.Run(name, func(b *testing.B) {
			r := unaryRequest(b, url, token)
			w := &sink{header: http.Header{}}
			h.ServeHTTP(w, r)
			if w.status != 0 || w.size == 0 {
				b.Fatalf("status %d, %d bytes", w.status, w.size)
			}
			b.SetBytes(int64(w.size))
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}

// unaryAllocs is how many allocations a unary request may take from the edge to gRPC and back; net/http and gRPC's transport
// come on top with about a hundred. It may only shrink.
const unaryAllocs = 34

func TestUnaryAllocs(t *testing.T) { //nolint:paralleltest // it counts everybody's allocations
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	h, token := unaryDoor(t)
	for name, url := range unaryCases() {
		r := unaryRequest(t, url, token)
		w := &sink{header: http.Header{}}
		got := testing.AllocsPerRun(500, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		})
		if w.status != 0 || w.size == 0 {
			t.Errorf("%s: status %d, %d bytes", name, w.status, w.size)
		}
		if got > unaryAllocs {
			t.Errorf("%s: %v allocations, want at most %d", name, got, unaryAllocs)
		}
	}
}
