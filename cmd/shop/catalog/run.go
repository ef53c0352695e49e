package catalog

import (
	"context"
	"path/filepath"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/service"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
)

// Run runs the service until ctx ends, and drains it. Its file is catalog.db.
func Run(ctx context.Context, o service.Options) error {
	return service.Run(ctx, o, catalogv1.File_shop_catalog_v1_catalog_proto, func(_ protovalidate.Validator) (*service.Program, error) {
		s, err := Open(ctx, filepath.Join(o.Data, "catalog.db"))
		if err != nil {
			return nil, err
		}
		return &service.Program{
			Register: func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServiceServer(r, s) },
			Close:    s.Close,
		}, nil
	})
}
