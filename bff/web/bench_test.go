package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	"github.com/portico-bff/portico/upstream"
)

const benchQuery = `{"query":"{ products(first: 100) { products { id title description } } }"}`

// manyProducts answers with about 10 KB of JSON.
func manyProducts() *stub {
	list := &catalogv1.ListProductsResponse{}
	for i := range 100 {
		list.Products = append(list.Products, &catalogv1.Product{
			ProductId: fmt.Sprintf("prd-%04d", i), Title: "Darjeeling first flush", Description: strings.Repeat("leaf ", 6),
		})
	}
	return &stub{invoke: func(context.Context, *upstream.Method, []byte) (proto.Message, error) { return list, nil }}
}

// discard is a response writer that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func BenchmarkPost(b *testing.B) {
	for _, bc := range []struct{ name, body string }{
		{"10KB", benchQuery}, {"typename", `{"query":"{ __typename }"}`},
	} {
		b.Run(bc.name, func(b *testing.B) {
			door := newDoor(b, manyProducts())
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/graphql", strings.NewReader(bc.body))
				r.Header["Content-Type"] = []string{"application/json"}
				door.ServeHTTP(&discard{header: http.Header{}}, r)
			}
		})
	}
}

// BenchmarkResponse compares our way to write a response of 10 KB with encoding/json's, which gqlgen's transports use.
func BenchmarkResponse(b *testing.B) {
	door := newDoor(b, manyProducts())
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/graphql", strings.NewReader(benchQuery))
	r.Header["Content-Type"] = []string{"application/json"}
	w := httptest.NewRecorder()
	door.ServeHTTP(w, r)
	resp := &graphql.Response{}
	if err := json.Unmarshal(w.Body.Bytes(), resp); err != nil || len(resp.Data) < 9000 {
		b.Fatalf("%v: %.200s", err, w.Body)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(resp.Data)))
		for b.Loop() {
			if text := appendResponse(make([]byte, 0, len(resp.Data)+512), resp); len(text) < 9000 {
				b.Fatal("too short")
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(resp.Data)))
		for b.Loop() {
			if text, err := json.Marshal(resp); err != nil || len(text) < 9000 {
				b.Fatal(err)
			}
		}
	})
}
