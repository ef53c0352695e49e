package orders

import (
	"errors"

	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/watch"
	ordersv1 "github.com/portico-bff/portico/protos/gen/shop/orders/v1"
)

// WatchOrder implements the service. The stream ends when its reader leaves, or with
// UNAVAILABLE when the service stops. A slow reader skips states, but never the latest.
func (s *Service) WatchOrder(req *ordersv1.WatchOrderRequest, stream grpc.ServerStreamingServer[ordersv1.Order]) error {
	ctx := stream.Context()
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	// Listen first, then read: a change in between comes by both ways, and counts once.
	sub, err := s.changes.Subscribe(req.GetOrderId())
	switch {
	case errors.Is(err, watch.ErrClosed):
		return refuse.Stopping()
	case err != nil:
		return refuse.Exhausted(err.Error())
	}
	defer sub.Close()
	order, err := s.get(ctx, v, req.GetOrderId())
	if err != nil {
		return err
	}
	for {
		if err := stream.Send(order); err != nil {
			return err
		}
		sent := order.GetUpdateTime().AsTime()
		for !order.GetUpdateTime().AsTime().After(sent) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.changes.Done():
				return refuse.Stopping()
			case order = <-sub.C():
			}
		}
	}
}
