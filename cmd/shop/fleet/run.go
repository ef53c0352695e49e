package fleet

import (
	"context"
	"path/filepath"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/service"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

// Run runs the service until ctx ends, and drains it. Its file is fleet.db.
func Run(ctx context.Context, o service.Options) error {
	return service.Run(ctx, o, fleetv1.File_shop_fleet_v1_fleet_proto, func(validator protovalidate.Validator) (*service.Program, error) {
		s, err := Open(ctx, filepath.Join(o.Data, "fleet.db"), validator)
		if err != nil {
			return nil, err
		}
		return &service.Program{
			Register: func(r grpc.ServiceRegistrar) { fleetv1.RegisterFleetServiceServer(r, s) },
			Stop:     s.Stop,
			Close:    s.Close,
		}, nil
	})
}
