package translate

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// maxTimeout is the longest time that a client can ask for; more is taken for this.
const maxTimeout = 1e8 * time.Second

// clientTimeout is how long the client says that it will wait for a call: Request-Timeout in seconds, or Grpc-Timeout as
// gRPC spells it (such as 500m); of both the shorter. It can only shorten what configuration allows. It is 0 if the
// client says nothing. The error is for the client.
func clientTimeout(h http.Header) (time.Duration, error) {
	plain, spelled := h["Request-Timeout"], h["Grpc-Timeout"]
	if len(plain) == 0 && len(spelled) == 0 {
		return 0, nil
	}
	limit := time.Duration(math.MaxInt64)
	for _, field := range plain {
		d, ok := parseSeconds(field)
		if !ok || len(plain) > 1 {
			return 0, fault.New(codes.InvalidArgument, "Request-Timeout: expected one number of seconds")
		}
		limit = min(limit, d)
	}
	for _, field := range spelled {
		d, ok := parseGRPCTimeout(field)
		if !ok || len(spelled) > 1 {
			return 0, fault.New(codes.InvalidArgument, "Grpc-Timeout: expected one time in digits and a unit, such as 500m")
		}
		limit = min(limit, d)
	}
	return limit, nil
}

// parseSeconds parses a positive decimal number of seconds.
func parseSeconds(text string) (time.Duration, bool) {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && c != '.' {
			return 0, false
		}
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds <= 0 {
		return 0, false
	}
	return max(time.Duration(min(seconds, maxTimeout.Seconds())*float64(time.Second)), 1), true
}

// parseGRPCTimeout parses at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
func parseGRPCTimeout(text string) (time.Duration, bool) {
	if len(text) < 2 || len(text) > 9 {
		return 0, false
	}
	var unit time.Duration
	switch text[len(text)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	if n > uint64(maxTimeout/unit) {
		return maxTimeout, true
	}
	return max(time.Duration(n)*unit, 1), true
}
