package chromium_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/limit"
	"github.com/portico-bff/portico/bff/web"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/test/e2e/chromium"
	"github.com/portico-bff/portico/upstream"
)

const sdl = `
"Everything that can be asked for."
type Query {
  "One product."
  product(id: ID!): Product @grpc(method: "shop.catalog.v1.CatalogService/GetProduct", input: {product_id: "{args.id}"})
}
type Subscription {
  boxReadings(boxId: ID!): Reading @grpc(method: "shop.fleet.v1.FleetService/WatchReadings", input: {box_id: "{args.boxId}"})
}
type Product { id: ID! @proto(field: "product_id") title: String! }
type Reading { boxId: ID! celsius: Float! }
`

// shop lets only the bearer of the token "good" see anything. Its readings never end.
type shop struct{}

func (shop) Authenticate(ctx context.Context, cred auth.Credentials) (context.Context, error) {
	if cred.Bearer == "" {
		return ctx, nil
	}
	return auth.NewContext(ctx, &auth.Principal{Subject: cred.Bearer, Kind: auth.User, Authenticated: cred.Bearer == "good"}), nil
}

func (shop) Admit(context.Context, core.Operation, int) (limit.Result, error) {
	return limit.Result{Allowed: true}, nil
}

func (shop) Invoke(ctx context.Context, _ *upstream.Method, _ []byte) (upstream.Reply, error) {
	p := auth.FromContext(ctx)
	if !p.Authenticated {
		return upstream.Reply{}, fault.New(codes.Unauthenticated, "authentication is required")
	}
	message, err := proto.Marshal(&catalogv1.Product{ProductId: "p1", Title: "Tea for " + p.Subject})
	return upstream.Reply{Message: message}, err
}

func (shop) Open(ctx context.Context, _ *upstream.Method) (upstream.Stream, error) {
	if !auth.FromContext(ctx).Authenticated {
		return nil, fault.New(codes.Unauthenticated, "authentication is required")
	}
	return &readings{ctx: ctx}, nil
}

type readings struct {
	ctx context.Context //nolint:containedctx // the stream's own life
	n   int
}

func (r *readings) Send([]byte) error            { return nil }
func (r *readings) CloseSend() error             { return nil }
func (r *readings) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (r *readings) Trailer() metadata.MD         { return nil }
func (r *readings) Recv() ([]byte, error) {
	select {
	case <-r.ctx.Done():
		return nil, io.EOF
	case <-time.After(100 * time.Millisecond):
		r.n++
		return proto.Marshal(&fleetv1.Reading{BoxId: "b1", Celsius: 20.5 + float64(r.n)})
	}
}

// bearer is what the HTTP middleware does: it tells the door who asks.
func bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		ctx, err := shop{}.Authenticate(r.Context(), auth.Credentials{Bearer: token})
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func serveDoor(t *testing.T) string {
	t.Helper()
	descriptors, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../../protos/gen/shop.binpb"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.New([]schema.Source{{Name: "test.graphqls", Text: []byte(sdl)}}, descriptors, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	door, err := web.New(web.Config{Schema: []string{"test.graphqls"}, Playground: true, Introspection: true}, web.Options{
		Schema: s, Core: shop{}, Logger: slog.New(slog.DiscardHandler), Queries: []web.Query{
			{Query: "query Tea {\n  product(id: \"p1\") {\n    id\n    title\n  }\n}\n"},
			{Query: "subscription Readings {\n  boxReadings(boxId: \"b1\") {\n    celsius\n  }\n}\n"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(bearer(door))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := door.Close(ctx); err != nil {
			t.Errorf("close the door: %v", err)
		}
		server.Close()
	})
	return server.URL
}

// The playground is complete: it needs nobody else's files, passes the token on in both transports, runs saved
// operations and shows events as they come.
func TestGraphiQL(t *testing.T) {
	t.Parallel()
	site := serveDoor(t)
	page := chromium.Start(t).Open(site + "/graphql")
	ui := chromium.GraphiQL(page)

	ui.SelectTab("Tea")
	ui.Run()
	ui.WaitForResult("UNAUTHENTICATED", time.Minute)

	ui.SetHeaders(`{"Authorization": "Bearer good"}`)
	ui.Run()
	ui.WaitForResult(`"title": "Tea for good"`, time.Minute)

	ui.SetQuery("query ($id: ID!) {\n  again: product(id: $id) {\n    title\n  }\n}")
	ui.SetVariables(`{"id": "p1"}`)
	ui.Run()
	ui.WaitForResult(`{"data": {"again": {"title": "Tea for good"}}}`, time.Minute)

	ui.SelectTab("Readings")
	ui.SetHeaders(`{"Authorization": "Bearer good"}`)
	ui.Run()
	ui.WaitForResult(`"celsius": 22.5`, time.Minute)
	ui.WaitForResult(`"celsius": 25.5`, time.Minute)
	ui.Run() // stops

	if errs := page.Errors(); len(errs) > 0 {
		t.Errorf("the page complains: %q", errs)
	}
	host, _ := url.Parse(site)
	for _, request := range page.Requests() {
		u, err := url.Parse(request)
		if err != nil || u.Host != host.Host {
			t.Errorf("the page asks somebody else: %s", request)
		}
	}
}
