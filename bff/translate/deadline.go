package translate

import (
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// clientTimeout is how long the client says that it will wait for a unary call: Request-Timeout in seconds, or
// Grpc-Timeout as gRPC spells it (such as 500m). It can only shorten what configuration allows. It is 0 if the client
// says nothing. The error is for the client.
func clientTimeout(h http.Header) (time.Duration, error) {
	if fields := h["Request-Timeout"]; len(fields) > 0 {
		seconds, err := strconv.ParseFloat(fields[0], 64)
		if err != nil || !(seconds > 0) || seconds > 1e8 {
			return 0, fault.New(codes.InvalidArgument, "Request-Timeout: expected a number of seconds")
		}
		return max(time.Duration(seconds*float64(time.Second)), 1), nil
	}
	if fields := h["Grpc-Timeout"]; len(fields) > 0 {
		text := fields[0]
		bad := fault.New(codes.InvalidArgument, "Grpc-Timeout: expected digits and a unit such as 500m")
		if len(text) < 2 || len(text) > 9 {
			return 0, bad
		}
		unit, known := map[byte]time.Duration{
			'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
		}[text[len(text)-1]]
		n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
		if err != nil || !known {
			return 0, bad
		}
		if n > uint64(1e8*time.Second/unit) {
			return time.Duration(1e8) * time.Second, nil
		}
		return max(time.Duration(n)*unit, 1), nil
	}
	return 0, nil
}
