package catalog_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portico-bff/portico/cmd/shop/catalog"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
)

func start(t *testing.T) catalogv1.CatalogServiceClient {
	t.Helper()
	s, err := catalog.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return catalogv1.NewCatalogServiceClient(servicetest.Serve(t, catalogv1.File_shop_catalog_v1_catalog_proto,
		func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServiceServer(r, s) }, slog.New(slog.DiscardHandler)))
}

func TestGetProduct(t *testing.T) {
	t.Parallel()
	client := start(t)
	for n, want := range seed.Products(time.Now()) {
		got, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{ProductId: seed.ProductID(n + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	_, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{ProductId: "prd-9999"})
	servicetest.WantCode(t, err, codes.NotFound)
	_, err = client.GetProduct(t.Context(), &catalogv1.GetProductRequest{})
	servicetest.WantFields(t, err, "product_id")
}

func ids(products []*catalogv1.Product) string {
	var all []string
	for _, p := range products {
		all = append(all, strings.TrimPrefix(p.GetProductId(), "prd-00"))
	}
	return strings.Join(all, " ")
}

func TestBatchGetProducts(t *testing.T) {
	t.Parallel()
	reply, err := start(t).BatchGetProducts(t.Context(), &catalogv1.BatchGetProductsRequest{
		ProductIds: []string{"prd-0009", "prd-9999", "prd-0002", "prd-0009", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ids(reply.GetProducts()), "09 02 09"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListProducts(t *testing.T) {
	t.Parallel()
	client := start(t)
	for _, tt := range []struct {
		name string
		req  *catalogv1.ListProductsRequest
		want string
	}{
		{"a category", &catalogv1.ListProductsRequest{Category: catalogv1.Category_CATEGORY_BAKERY}, "17 18 19 20 21 22"},
		{"words, whatever the case", &catalogv1.ListProductsRequest{Query: "GRUYÈRE"}, "12"},
		{"both", &catalogv1.ListProductsRequest{Category: catalogv1.Category_CATEGORY_DRINKS, Query: "apple"}, "44"},
		{"no wildcards", &catalogv1.ListProductsRequest{Query: "%"}, "36"},
		{"nothing", &catalogv1.ListProductsRequest{Query: "bicycle"}, ""},
	} {
		reply, err := client.ListProducts(t.Context(), tt.req)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(reply.GetProducts()); got != tt.want || reply.GetNextPageToken() != "" {
			t.Errorf("%s: got %q, next %q, want %q", tt.name, got, reply.GetNextPageToken(), tt.want)
		}
	}
}

func TestListProductsByPages(t *testing.T) {
	t.Parallel()
	client := start(t)
	for _, size := range []int32{0, 1, 7, 48, 100, 1000} {
		req := &catalogv1.ListProductsRequest{PageSize: size}
		var got []*catalogv1.Product
		for pages := 0; ; pages++ {
			if pages > 60 {
				t.Fatal("the list does not end")
			}
			reply, err := client.ListProducts(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(reply.GetProducts()); size > 0 && n > int(size) || n == 0 {
				t.Errorf("a page of %d has %d", size, n)
			}
			got = append(got, reply.GetProducts()...)
			if req.PageToken = reply.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		if want := ids(seed.Products(time.Now())); ids(got) != want {
			t.Errorf("pages of %d: got %q, want %q", size, ids(got), want)
		}
	}
	_, err := client.ListProducts(t.Context(), &catalogv1.ListProductsRequest{PageToken: "bogus"})
	servicetest.WantFields(t, err, "page_token")
	_, err = client.ListProducts(t.Context(), &catalogv1.ListProductsRequest{PageSize: -1})
	servicetest.WantFields(t, err, "page_size")
}
