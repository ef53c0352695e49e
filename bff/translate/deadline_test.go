package translate_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

func TestDeadline(t *testing.T) {
	t.Parallel()
	var left time.Duration
	rt := router(t, library(t), stub{invoke: func(ctx context.Context, _ *upstream.Method, _ []byte) (upstream.Reply, error) {
		left = 0
		at, bounded := ctx.Deadline()
		if bounded {
			left = time.Until(at)
		}
		if bounded && left < time.Second {
			<-ctx.Done()
			return upstream.Reply{}, status.FromContextError(ctx.Err()).Err()
		}
		return upstream.Reply{}, nil
	}})
	for _, test := range []struct {
		name, value string
		status      int
		want        time.Duration
	}{
		{"X-Other", "1", 200, 0},
		{"Request-Timeout", "7", 200, 7 * time.Second},
		{"Request-Timeout", "2.5", 200, 2500 * time.Millisecond},
		{"Request-Timeout", "0.02", 504, 20 * time.Millisecond},
		{"Grpc-Timeout", "9S", 200, 9 * time.Second},
		{"Grpc-Timeout", "20m", 504, 20 * time.Millisecond},
		{"Grpc-Timeout", "99999999H", 200, 1e8 * time.Second},
		{"Request-Timeout", "0", 400, 0},
		{"Request-Timeout", "-1", 400, 0},
		{"Request-Timeout", "NaN", 400, 0},
		{"Request-Timeout", "5s", 400, 0},
		{"Request-Timeout", "", 400, 0},
		{"Request-Timeout", ".", 400, 0},
		{"Request-Timeout", "1e3", 400, 0},
		{"Request-Timeout", "+5", 400, 0},
		{"Request-Timeout", " 5", 400, 0},
		{"Request-Timeout", "0x1p4", 400, 0},
		{"Request-Timeout", "Inf", 400, 0},
		{"Request-Timeout", "5, 6", 400, 0},
		{"Request-Timeout", "99999999999999999999", 200, 1e8 * time.Second},
		{"Grpc-Timeout", "0m", 504, 0},
		{"Grpc-Timeout", "", 400, 0},
		{"Grpc-Timeout", "-5S", 400, 0},
		{"Grpc-Timeout", "+5S", 400, 0},
		{"Grpc-Timeout", "1.5S", 400, 0},
		{"Grpc-Timeout", "5s", 400, 0},
		{"Grpc-Timeout", "5 S", 400, 0},
		{"Grpc-Timeout", "5", 400, 0},
		{"Grpc-Timeout", "S", 400, 0},
		{"Grpc-Timeout", "5x", 400, 0},
		{"Grpc-Timeout", "123456789S", 400, 0},
	} {
		left = 0
		r := do(t, rt, "GET /v1/books/1", "", test.name, test.value)
		if r.StatusCode != test.status {
			t.Errorf("%s %s: status %d, want %d", test.name, test.value, r.StatusCode, test.status)
		}
		if test.status != http.StatusBadRequest && (left > test.want || left < test.want-5*time.Second) {
			t.Errorf("%s %s: %v are left, want %v", test.name, test.value, left, test.want)
		}
	}
	for _, test := range []struct {
		header []string
		status int
		want   time.Duration
	}{
		{[]string{"Request-Timeout", "9", "Grpc-Timeout", "5S"}, 200, 5 * time.Second},
		{[]string{"Request-Timeout", "5", "Grpc-Timeout", "9S"}, 200, 5 * time.Second},
		{[]string{"Request-Timeout", "5", "Grpc-Timeout", "junk"}, 400, 0},
		{[]string{"Request-Timeout", "5", "Request-Timeout", "6"}, 400, 0},
		{[]string{"Grpc-Timeout", "5S", "Grpc-Timeout", "5S"}, 400, 0},
	} {
		left = 0
		r := do(t, rt, "GET /v1/books/1", "", test.header...)
		if r.StatusCode != test.status || left > test.want || left < test.want-2*time.Second {
			t.Errorf("%v: status %d, %v are left", test.header, r.StatusCode, left)
		}
	}
}

func TestEndpointDeadline(t *testing.T) {
	t.Parallel()
	var left time.Duration
	rt, err := translate.New(nil, translate.Options{Endpoints: []translate.Endpoint{{
		Name: "home", Method: http.MethodGet, Path: "/v1/home",
		Serve: func(_ http.ResponseWriter, r *http.Request, _ []translate.Var) {
			at, _ := r.Context().Deadline()
			left = time.Until(at)
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := do(t, rt, "GET /v1/home", "", "Request-Timeout", "7"); r.StatusCode != http.StatusOK || left <= 0 || left > 7*time.Second {
		t.Errorf("status %d, %v are left", r.StatusCode, left)
	}
	if r := do(t, rt, "GET /v1/home", "", "Request-Timeout", "7s"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", r.StatusCode)
	}
}
