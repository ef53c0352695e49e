package orders

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/policy"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/mesh"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// Options are what the order service is run with.
type Options struct {
	service.Options
	// Catalog and Payments are the targets of the services that orders are made with,
	// such as "dns:///catalog:7000". Whoever answers there must prove to be the catalog
	// and the payment service of the shop.
	Catalog, Payments string
}

// Run runs the service until ctx ends, and drains it. Its file is orders.db.
func Run(ctx context.Context, o Options) error {
	return service.Run(ctx, o.Options, ordersv1.File_shop_orders_v1_orders_proto, func(protovalidate.Validator) (*service.Program, error) {
		return open(ctx, o)
	})
}

// open connects the service with its backends, opens it, and begins to settle what an
// earlier run left behind.
func open(ctx context.Context, o Options) (*service.Program, error) {
	catalog, err := o.Mesh.NewClient(o.Catalog, mesh.ExpectIdentity(policy.ID(policy.Catalog).String()))
	if err != nil {
		return nil, err
	}
	payments, err := o.Mesh.NewClient(o.Payments, mesh.ExpectIdentity(policy.ID(policy.Payments).String()))
	if err != nil {
		return nil, errors.Join(err, catalog.Close())
	}
	backends := Backends{
		Catalog:  catalogv1.NewCatalogServiceClient(catalog),
		Payments: paymentsv1.NewPaymentServiceClient(payments),
	}
	s, err := Open(ctx, filepath.Join(o.Data, "orders.db"), backends, o.Logger, policy.ID(policy.Payments))
	if err != nil {
		return nil, errors.Join(err, catalog.Close(), payments.Close())
	}
	settling, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.settleLoop(settling) })
	return &service.Program{
		Register: func(r grpc.ServiceRegistrar) { ordersv1.RegisterOrderServiceServer(r, s) },
		Stop:     s.Stop,
		Close: func() error {
			stop()
			wg.Wait()
			return errors.Join(s.Close(), catalog.Close(), payments.Close())
		},
	}, nil
}
