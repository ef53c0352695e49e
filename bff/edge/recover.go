package edge

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// recovered turns a handler's panic into an internal error, or into the end of the connection if the answer has begun
// already. [http.ErrAbortHandler] passes: it is how handlers end a connection.
func recovered(logger *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { //nolint:contextcheck // the request carries it
				v := recover()
				if v == nil {
					return
				}
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v) //nolint:forbidigo // net/http asks for it
				}
				logger.ErrorContext(r.Context(), "panic", slog.String("request_id", request.FromContext(r.Context()).ID),
					slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
				f := fault.New(codes.Internal, "", fault.WithCause(fmt.Errorf("panic: %v", v)))
				rec := &exchangeOf(r).record
				rec.Code, rec.Err = f.Code, f
				if begun, ok := w.(*responseWriter); ok && begun.status != 0 { // observed stands right before this
					panic(http.ErrAbortHandler) //nolint:forbidigo // the client must not take half an answer for a whole one
				}
				fault.WriteProblem(w, r, f)
			}()
			next.ServeHTTP(w, r)
		})
	}
}
