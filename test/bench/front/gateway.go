package front

import (
	"context"
	"errors"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	benchv1 "github.com/portico-bff/portico/test/bench/gen/bench/v1"
)

// Gateway makes grpc-gateway with its generated code, as its documentation has it.
func Gateway(target string) (http.Handler, func() error, error) {
	conn, err := dial(target)
	if err != nil {
		return nil, nil, err
	}
	mux := runtime.NewServeMux()
	if err := benchv1.RegisterOrderServiceHandlerClient(context.Background(), mux, benchv1.NewOrderServiceClient(conn)); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return mux, conn.Close, nil
}
