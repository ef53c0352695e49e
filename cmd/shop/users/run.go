package users

import (
	"context"
	"path/filepath"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"

	"github.com/portico-bff/portico/cmd/shop/service"
	usersv1 "github.com/portico-bff/portico/protos/gen/shop/users/v1"
)

// Run runs the service until ctx ends, and drains it. Its file is users.db.
func Run(ctx context.Context, o service.Options) error {
	return service.Run(ctx, o, usersv1.File_shop_users_v1_users_proto, func(_ protovalidate.Validator) (*service.Program, error) {
		s, err := Open(ctx, filepath.Join(o.Data, "users.db"))
		if err != nil {
			return nil, err
		}
		return &service.Program{
			Register: func(r grpc.ServiceRegistrar) { usersv1.RegisterUserServiceServer(r, s) },
			Close:    s.Close,
		}, nil
	})
}
