package orders

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/seed"
	catalogv1 "github.com/portico-bff/portico/protos/gen/shop/catalog/v1"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// backendTimeout bounds a call to the catalog or the payment service.
const backendTimeout = 3 * time.Second

// settleTimeout bounds the work that goes on after the caller has left.
const settleTimeout = 5 * time.Second

// CreateOrder implements the service. The order is written down before the charge and
// becomes visible after it, so that a crash in between leaves a trace that
// [Service.Settle] cleans up: a customer never pays for an order that does not exist.
func (s *Service) CreateOrder(ctx context.Context, req *ordersv1.CreateOrderRequest) (*ordersv1.Order, error) {
	who, err := caller.With(ctx, caller.RoleCustomer, caller.RoleAdmin)
	if err != nil {
		return nil, err
	}
	order, err := s.price(ctx, req)
	if err != nil {
		return nil, err
	}
	order.CustomerId = who.Subject
	err = s.db.Write(ctx, func(tx *sql.Tx) error {
		order.OrderId, err = insert(ctx, tx, order)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store order: %w", err)
	}
	payment, err := s.charge(ctx, order)

	// From here on money may have moved. Whether or not the caller waits, it ends well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err != nil {
		s.undo(ctx, order.GetOrderId(), status.Code(err) != codes.FailedPrecondition)
		return nil, answer("payments", err)
	}
	return s.move(ctx, order.GetOrderId(), change{state: ordersv1.OrderState_ORDER_STATE_PAID, payment: payment.GetPaymentId()})
}

func (s *Service) charge(ctx context.Context, order *ordersv1.Order) (*paymentsv1.Payment, error) {
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	return s.backends.Payments.Charge(ctx, &paymentsv1.ChargeRequest{
		OrderId: order.GetOrderId(), CustomerId: order.GetCustomerId(), Amount: order.GetTotal(),
	})
}

func (s *Service) refund(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	_, err := s.backends.Payments.Refund(ctx, &paymentsv1.RefundRequest{OrderId: id})
	return err
}

func (s *Service) products(ctx context.Context, ids []string) (map[string]*catalogv1.Product, error) {
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	reply, err := s.backends.Catalog.BatchGetProducts(ctx, &catalogv1.BatchGetProductsRequest{ProductIds: ids})
	if err != nil {
		return nil, answer("catalog", err)
	}
	products := map[string]*catalogv1.Product{}
	for _, p := range reply.GetProducts() {
		products[p.GetProductId()] = p
	}
	return products, nil
}

// price asks the catalog what the items cost and whether there are enough of them. The
// catalog's stock is a statement, not a reservation: the demo does not count it down.
func (s *Service) price(ctx context.Context, req *ordersv1.CreateOrderRequest) (*ordersv1.Order, error) {
	wanted := map[string]int32{}
	var ids []string
	for _, item := range req.GetItems() {
		if _, ok := wanted[item.GetProductId()]; !ok {
			ids = append(ids, item.GetProductId())
		}
		wanted[item.GetProductId()] += item.GetQuantity()
	}
	products, err := s.products(ctx, ids)
	if err != nil {
		return nil, err
	}
	now := timestamppb.Now()
	order := &ordersv1.Order{
		State: unsettled, Note: req.GetNote(), Labels: req.GetLabels(), CreateTime: now, UpdateTime: now,
		Total: &catalogv1.Money{CurrencyCode: seed.Currency},
	}
	var unknown []*errdetails.BadRequest_FieldViolation
	for i, item := range req.GetItems() {
		p := products[item.GetProductId()]
		if p == nil {
			unknown = append(unknown, &errdetails.BadRequest_FieldViolation{
				Field: fmt.Sprintf("items[%d].product_id", i), Description: "no such product: " + item.GetProductId(),
			})
			continue
		}
		order.Items = append(order.Items, &ordersv1.OrderItem{
			ProductId: p.GetProductId(), Quantity: item.GetQuantity(), UnitPrice: p.GetPrice(),
		})
		order.Total.MinorUnits += int64(item.GetQuantity()) * p.GetPrice().GetMinorUnits()
	}
	if len(unknown) > 0 {
		return nil, refuse.InvalidFields(unknown)
	}
	return order, enough(ids, wanted, products)
}

// enough refuses products of which too few are left.
func enough(ids []string, wanted map[string]int32, products map[string]*catalogv1.Product) error {
	var short []string
	for _, id := range ids {
		if wanted[id] > products[id].GetStock() {
			short = append(short, id)
		}
	}
	if len(short) > 0 {
		return refuse.Precondition("OUT_OF_STOCK", "not enough left of: "+products[short[0]].GetTitle(), short...)
	}
	return nil
}

// answer turns a backend's error into ours. What the payment service refuses is said to
// the customer; that a backend is away is said without saying why; the rest is our fault.
func answer(backend string, err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		return status.Convert(err).Err()
	case codes.Unavailable, codes.ResourceExhausted:
		return status.Error(codes.Unavailable, backend+" cannot be reached")
	case codes.DeadlineExceeded:
		return status.Error(codes.DeadlineExceeded, backend+" did not answer in time")
	case codes.Canceled:
		return status.Error(codes.Canceled, "the caller left")
	default:
		return fmt.Errorf("%s: %w", backend, err)
	}
}
