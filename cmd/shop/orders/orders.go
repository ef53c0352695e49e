// Package orders is the demo's order service. Customers see their own orders, admins
// everybody's; somebody else's order does not exist. Creating an order asks the catalog
// for prices and the payment service for money. [Open] makes it, [Run] runs it as a program.
package orders

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/page"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/store"
	"github.com/portico-bff/portico/cmd/shop/watch"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

const maxPage = 100

//go:embed migrations/*.sql
var migrations embed.FS

// Backends are the services that orders are made with.
type Backends struct {
	Catalog  catalogv1.CatalogServiceClient
	Payments paymentsv1.PaymentServiceClient
}

// Service implements shop.orders.v1.OrderService. It is safe for concurrent use. Close it.
type Service struct {
	ordersv1.UnimplementedOrderServiceServer
	db       *store.DB
	backends Backends
	readers  []spiffeid.ID
	logger   *slog.Logger
	changes  *watch.Hub[*ordersv1.Order]
}

var _ ordersv1.OrderServiceServer = (*Service)(nil)

// Open opens the orders in their file; a new file gets the demo's orders. The readers are
// programs that see all orders without a user, such as the payment service.
func Open(ctx context.Context, path string, backends Backends, logger *slog.Logger, readers ...spiffeid.ID) (*Service, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, path, store.Schema{Migrations: files, Seed: fill})
	if err != nil {
		return nil, err
	}
	return &Service{
		db: db, backends: backends, readers: readers, logger: logger,
		// A watcher wants the latest state, not the way there.
		changes: watch.NewHub[*ordersv1.Order](1),
	}, nil
}

// Stop ends all streams, so that a drain need not wait for their readers.
func (s *Service) Stop() { s.changes.Close() }

// Close stops the service and closes the file.
func (s *Service) Close() error {
	s.Stop()
	return s.db.Close()
}

// A view is what a caller may see: all orders, or those of one customer.
type view struct {
	all      bool
	customer string
}

// view is what the caller may see.
func (s *Service) view(ctx context.Context) (view, error) {
	if peer := caller.FromContext(ctx).Peer; !peer.IsZero() && slices.Contains(s.readers, peer) {
		return view{all: true}, nil
	}
	return userView(ctx)
}

// userView is what the user on whose behalf the call is made may see, and change.
func userView(ctx context.Context) (view, error) {
	who, err := caller.User(ctx)
	return view{all: who.Admin(), customer: who.Subject}, err
}

// GetOrder implements the service.
func (s *Service) GetOrder(ctx context.Context, req *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	return s.get(ctx, v, req.GetOrderId())
}

// BatchGetOrders implements the service.
func (s *Service) BatchGetOrders(ctx context.Context, req *ordersv1.BatchGetOrdersRequest) (*ordersv1.BatchGetOrdersResponse, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, v, req.GetOrderIds())
	if err != nil {
		return nil, err
	}
	return &ordersv1.BatchGetOrdersResponse{Orders: found}, nil
}

// ListOrders implements the service.
func (s *Service) ListOrders(ctx context.Context, req *ordersv1.ListOrdersRequest) (*ordersv1.ListOrdersResponse, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	var before int64
	continued, err := page.Keys(req, &before)
	if err != nil {
		return nil, err
	}
	size := page.Size(req, maxPage)
	rows, err := s.db.Query(ctx, selectOrders+` WHERE state > 0 AND (? OR customer_id = ?)
		AND (? = 0 OR state = ?) AND (NOT ? OR number < ?) ORDER BY number DESC LIMIT ?`,
		v.all, v.customer, req.GetState(), req.GetState(), continued, before, size+1)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	reply := &ordersv1.ListOrdersResponse{}
	if len(found) > size {
		found = found[:size]
		reply.NextPageToken = page.Token(req, found[size-1].number)
	}
	reply.Orders = bare(found)
	return reply, nil
}

// get returns one order, or NOT_FOUND.
func (s *Service) get(ctx context.Context, v view, id string) (*ordersv1.Order, error) {
	found, err := s.find(ctx, v, []string{id})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, refuse.NotFound("Order", id)
	}
	return found[0], nil
}

// find returns the orders that exist and may be seen, in the order of the ids.
func (s *Service) find(ctx context.Context, v view, ids []string) ([]*ordersv1.Order, error) {
	list, err := store.JSON(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT `+columns+` FROM json_each(?) AS wanted JOIN orders ON order_id = wanted.value
		WHERE state > 0 AND (? OR customer_id = ?) ORDER BY wanted.key`, list, v.all, v.customer)
	found, err := store.Collect(rows, err, scan)
	if err != nil {
		return nil, fmt.Errorf("find orders: %w", err)
	}
	return bare(found), nil
}
