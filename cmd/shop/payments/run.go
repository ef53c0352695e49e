package payments

import (
	"context"
	"path/filepath"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/service"
	paymentsv1 "github.com/portico-bff/portico/protos/gen/shop/payments/v1"
)

// Run runs the service until ctx ends, and drains it. Its file is payments.db.
func Run(ctx context.Context, o service.Options) error {
	return service.Run(ctx, o, paymentsv1.File_shop_payments_v1_payments_proto, func(_ protovalidate.Validator) (*service.Program, error) {
		s, err := Open(ctx, filepath.Join(o.Data, "payments.db"))
		if err != nil {
			return nil, err
		}
		return &service.Program{
			Register: func(r grpc.ServiceRegistrar) { paymentsv1.RegisterPaymentServiceServer(r, s) },
			Close:    s.Close,
		}, nil
	})
}
