package translate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// deadline bounds a call by what the client says it will wait: Request-Timeout in seconds, or Grpc-Timeout as gRPC
// spells it (such as 500m). It can only shorten what configuration allows. The error is for the client.
func deadline(r *http.Request) (context.Context, context.CancelFunc, error) {
	limit, ok, err := clientTimeout(r.Header)
	switch {
	case err != nil:
		return nil, nil, fault.New(codes.InvalidArgument, err.Error(), fault.WithCause(err))
	case !ok:
		return r.Context(), func() {}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	return ctx, cancel, nil
}

func clientTimeout(h http.Header) (limit time.Duration, ok bool, err error) {
	if fields := h["Request-Timeout"]; len(fields) > 0 {
		seconds, err := strconv.ParseFloat(fields[0], 64)
		if err != nil || !(seconds > 0) || seconds > 1e8 {
			return 0, false, errors.New("Request-Timeout: expected a number of seconds") //nolint:revive,staticcheck // the name of a header
		}
		return time.Duration(seconds * float64(time.Second)), true, nil
	}
	if fields := h["Grpc-Timeout"]; len(fields) > 0 {
		text := fields[0]
		bad := errors.New("Grpc-Timeout: expected digits and a unit such as 500m") //nolint:revive,staticcheck // the name of a header
		if len(text) < 2 || len(text) > 9 {
			return 0, false, bad
		}
		unit, known := map[byte]time.Duration{
			'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
		}[text[len(text)-1]]
		n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
		if err != nil || !known {
			return 0, false, bad
		}
		if n > uint64(1e8*time.Second/unit) {
			return time.Duration(1e8) * time.Second, true, nil
		}
		return time.Duration(n) * unit, true, nil
	}
	return 0, false, nil
}
