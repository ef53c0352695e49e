package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSDL binds a few methods of the shop.
const testSDL = `
type Query {
  product(id: ID!): Product @grpc(method: "shop.catalog.v1.CatalogService/GetProduct", input: {product_id: "{args.id}"})
  needed(id: ID!): Product! @grpc(method: "shop.catalog.v1.CatalogService/GetProduct", input: {product_id: "{args.id}"})
  products(first: Int = 20): ProductPage!
    @grpc(method: "shop.catalog.v1.CatalogService/ListProducts", input: {page_size: "{args.first}"})
  order(id: ID!): Order @grpc(method: "shop.orders.v1.OrderService/GetOrder", input: {order_id: "{args.id}"})
}
type Mutation {
  cancelOrder(id: ID!): Order @grpc(method: "shop.orders.v1.OrderService/CancelOrder", input: {order_id: "{args.id}"})
}
type Subscription {
  boxReadings(boxId: ID!): Reading @grpc(method: "shop.fleet.v1.FleetService/WatchReadings", input: {box_id: "{args.boxId}"})
}
type ProductPage { products: [Product!]! }
type Product { id: ID! @proto(field: "product_id") title: String! description: String! stock: Int! }
type Order { id: ID! @proto(field: "order_id") note: String! }
type Reading { boxId: ID! celsius: Float! }
`

// stub is the core and the services behind it, made of functions.
type stub struct {
	invoke       func(ctx context.Context, m *upstream.Method, req []byte) (proto.Message, error)
	open         func(ctx context.Context, m *upstream.Method) (upstream.Stream, error)
	authenticate func(ctx context.Context, cred auth.Credentials) (context.Context, error)
	admit        func(ctx context.Context, op core.Operation) error
}

func (s *stub) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	if s.invoke == nil {
		return upstream.Reply{}, errors.New("unexpected call of " + m.Name)
	}
	answer, err := s.invoke(ctx, m, req)
	if err != nil {
		return upstream.Reply{}, err
	}
	message, err := proto.Marshal(answer)
	return upstream.Reply{Message: message}, err
}

func (s *stub) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	return s.open(ctx, m)
}

func (s *stub) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	if s.authenticate == nil {
		return ctx, nil
	}
	return s.authenticate(ctx, cred)
}

func (s *stub) Identify(ctx context.Context, cred auth.Credentials) (*auth.Principal, error) {
	ctx, err := s.Authenticate(ctx, cred)
	if err != nil {
		return nil, err
	}
	return auth.FromContext(ctx), nil
}

func (s *stub) Admit(ctx context.Context, op core.Operation, _ int) (limit.Result, error) {
	if s.admit == nil {
		return limit.Result{Allowed: true}, nil
	}
	return limit.Result{}, s.admit(ctx, op)
}

// shop is a stub whose answers depend on the id that is asked for.
func shop() *stub {
	return &stub{
		invoke: func(ctx context.Context, m *upstream.Method, req []byte) (proto.Message, error) {
			id := requestID(req)
			switch id {
			case "nobody":
				return nil, fault.New(codes.Unauthenticated, "authentication is required")
			case "forbidden":
				return nil, fault.New(codes.PermissionDenied, "not allowed")
			case "missing":
				return nil, fault.New(codes.NotFound, "no such thing")
			case "broken":
				return nil, fault.Wrap(codes.Internal, "something went wrong on our side", errors.New("secret table is gone"))
			case "away":
				return nil, fault.Wrap(codes.Unavailable, "temporarily unavailable", errors.New("secret address refuses"))
			case "panic":
				panic("secret panic") //nolint:forbidigo // stands for a bug
			case "slow":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			switch m.Desc.Name() {
			case "ListProducts":
				return &catalogv1.ListProductsResponse{Products: []*catalogv1.Product{{ProductId: "p1", Title: "Tea"}}}, nil
			case "GetProduct":
				return &catalogv1.Product{ProductId: id, Title: "Tea \"green\"", Stock: 7}, nil
			default:
				return &ordersv1.Order{OrderId: id, Note: "ring twice"}, nil
			}
		},
	}
}

// requestID reads the first field of a request, which is an id wherever tests look at it.
func requestID(req []byte) string {
	var r catalogv1.GetProductRequest
	if proto.Unmarshal(req, &r) != nil {
		return ""
	}
	return r.GetProductId()
}

// stream is a server stream that yields what is put into events, and then ends with err.
type stream struct {
	ctx    context.Context //nolint:containedctx // the stream's own life
	events <-chan float64
	err    error
}

func (s *stream) Send([]byte) error            { return nil }
func (s *stream) CloseSend() error             { return nil }
func (s *stream) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (s *stream) Trailer() metadata.MD         { return nil }
func (s *stream) Recv() ([]byte, error) {
	select {
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	case celsius, ok := <-s.events:
		if !ok {
			if s.err == nil {
				return nil, io.EOF
			}
			return nil, s.err
		}
		return proto.Marshal(&fleetv1.Reading{BoxId: "b1", Celsius: celsius})
	}
}

// testSchema compiles testSDL; it is the same for all tests.
var testSchema = sync.OnceValues(func() (*schema.Schema, error) {
	descriptors, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		return nil, err
	}
	return schema.New([]schema.Source{{Name: "test.graphqls", Text: []byte(testSDL)}}, descriptors, schema.Options{})
})

// logBuffer takes log lines of concurrent operations.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// lines returns the lines at a level.
func (b *logBuffer) lines(level string) []string {
	var out []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, `"level":"`+level+`"`) {
			out = append(out, line)
		}
	}
	return out
}

// harness is a door that listens.
type harness struct {
	door *Door
	log  *logBuffer
	url  string
}

// serve starts a door. change may alter its configuration; wrap may put middleware around it.
func serve(tb testing.TB, c Core, change func(*Config), wrap ...func(http.Handler) http.Handler) *harness {
	tb.Helper()
	s, err := testSchema()
	if err != nil {
		tb.Fatalf("compile the schema: %v", err)
	}
	config := Config{Schema: []string{"test.graphqls"}, Introspection: true}
	if change != nil {
		change(&config)
	}
	log := &logBuffer{}
	door, err := New(config, Options{
		Schema: s, Core: c, Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Queries: []Query{{Query: "query Saved { products { products { title } } }"}},
	})
	if err != nil {
		tb.Fatalf("make the door: %v", err)
	}
	var handler http.Handler = door
	for _, w := range wrap {
		handler = w(handler)
	}
	server := httptest.NewServer(handler)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := door.Close(ctx); err != nil {
			tb.Errorf("close the door: %v", err)
		}
		server.Close()
	})
	return &harness{door: door, log: log, url: server.URL + door.Path()}
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	header http.Header
	text   string
	body   struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message    string         `json:"message"`
			Path       []any          `json:"path"`
			Extensions map[string]any `json:"extensions"`
		} `json:"errors"`
	}
}

// do sends a request and reads the answer.
func (h *harness) do(tb testing.TB, method, url, body string, header ...string) *answer {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("read the answer: %v", err)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && method != http.MethodHead {
		_ = json.Unmarshal(text, &a.body) // callers look at the text where it is no response
	}
	return a
}

// post sends an operation.
func (h *harness) post(tb testing.TB, query string, header ...string) *answer {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"query": query})
	if err != nil {
		tb.Fatal(err)
	}
	return h.do(tb, http.MethodPost, h.url, string(body), append([]string{"Content-Type", "application/json"}, header...)...)
}
