package core

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/auth"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/upstream"
)

func TestStream(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := newShop(t, func(o *Options) { o.Metrics = reg })
	stream, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, watchReadings))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(s.metrics.streams.WithLabelValues("mobile", watchReadings)); got != 1 {
		t.Errorf("%v streams are open", got)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if msg, err := stream.Recv(); err != nil || string(msg) != "a" {
		t.Errorf("got %q, %v", msg, err)
	}
	if md, err := stream.Header(); err != nil || len(md) != 0 {
		t.Errorf("headers %v, %v", md, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) || len(stream.Trailer()) != 0 {
		t.Errorf("got %v", err)
	}
	if got := s.next.seen()[0].md.Get("x-user-id"); len(got) != 1 || got[0] != "usr-0001" {
		t.Errorf("x-user-id %q", got)
	}
	want := `
# HELP portico_calls_total Calls of methods, by the door they came through and the code they ended with.
# TYPE portico_calls_total counter
portico_calls_total{code="OK",door="mobile",rpc="` + watchReadings + `"} 1
# HELP portico_streams_open Streams to services that are open.
# TYPE portico_streams_open gauge
portico_streams_open{door="mobile",rpc="` + watchReadings + `"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "portico_calls_total", "portico_streams_open"); err != nil {
		t.Error(err)
	}
}

func TestStreamIsDenied(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	if _, err := s.Open(as(t.Context(), ""), s.method(t, watchReadings)); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	if _, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, getOrder)); codeOf(t, err) != codes.Internal {
		t.Errorf("a unary method: %v", err)
	}
	if got := len(s.next.seen()); got != 0 {
		t.Errorf("%d calls", got)
	}
}

func TestRuleReadsEveryMessageOfAStream(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	good, bad := marshal(t, &fleetv1.TrackRequest{BoxId: "box-1"}), marshal(t, &fleetv1.TrackRequest{BoxId: "tank-1"})

	// Denied by the first message: the service is never called, and who waits for an answer learns why.
	stream, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, track))
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan error)
	go func() {
		_, err := stream.Recv()
		received <- err
	}()
	if err := stream.Send(bad); codeOf(t, err) != codes.PermissionDenied {
		t.Errorf("Send: %v", err)
	}
	if err := <-received; codeOf(t, err) != codes.PermissionDenied {
		t.Errorf("Recv: %v", err)
	}
	if err := stream.Send(good); codeOf(t, err) != codes.PermissionDenied {
		t.Errorf("Send after a denial: %v", err)
	}
	if got := len(s.next.seen()); got != 0 {
		t.Errorf("%d calls", got)
	}

	// Denied later: the service's stream is cancelled.
	stream, err = s.Open(as(t.Context(), ""), s.method(t, track))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(good); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(bad); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("Send: %v", err)
	}
	if _, err := stream.Recv(); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("Recv: %v", err)
	}

	// Without any message there is nothing that the rule allows.
	stream, err = s.Open(as(t.Context(), ""), s.method(t, track))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); codeOf(t, err) != codes.Unauthenticated {
		t.Errorf("CloseSend: %v", err)
	}
	if got := len(s.next.seen()); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
}

func TestStreamEndsWithItsContextAndCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, nil)
		ctx := auth.NewContext(as(t.Context(), ""), &auth.Principal{Subject: "u", Authenticated: true, Expires: time.Now().Add(time.Minute)})
		start := time.Now()
		stream, err := s.Open(ctx, s.method(t, watchReadings))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); codeOf(t, err) != codes.Unauthenticated || time.Since(start) != time.Minute+auth.Leeway {
			t.Errorf("after %v: %v", time.Since(start), err)
		}

		ctx, cancel := context.WithCancel(as(t.Context(), "usr-0001"))
		if _, err = s.Open(ctx, s.method(t, watchReadings)); err != nil {
			t.Fatal(err)
		}
		gauge := s.metrics.streams.WithLabelValues("mobile", watchReadings)
		if got := testutil.ToFloat64(gauge); got != 1 {
			t.Errorf("%v streams are open", got)
		}
		cancel() // and nobody receives any more
		synctest.Wait()
		if got := testutil.ToFloat64(gauge); got != 0 {
			t.Errorf("%v streams are open after the end of their context", got)
		}
		s.cache.Close()
	})
}

func TestStreamErrors(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	s.next.open = func(context.Context, *upstream.Method) (upstream.Stream, error) {
		return nil, status.Error(codes.Unavailable, "10.0.0.7: refused")
	}
	if _, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, watchReadings)); codeOf(t, err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	stream, err := s.Open(as(t.Context(), "usr-0001"), s.method(t, track))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(marshal(t, &fleetv1.TrackRequest{BoxId: "box-1"})); codeOf(t, err) != codes.Unavailable {
		t.Errorf("Send: %v", err)
	}
	if _, err := stream.Header(); codeOf(t, err) != codes.Unavailable {
		t.Errorf("Header: %v", err)
	}
	if _, err := stream.Recv(); codeOf(t, err) != codes.Unavailable {
		t.Errorf("Recv: %v", err)
	}
}
