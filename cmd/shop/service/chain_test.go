package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/cmd/shop/caller"
	"github.com/portico-bff/portico/cmd/shop/refuse"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub answers with function fields.
type stub struct {
	fleetv1.UnimplementedFleetServiceServer
	getBox func(context.Context, *fleetv1.GetBoxRequest) (*fleetv1.Box, error)
	track  func(grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error
}

func (s *stub) GetBox(ctx context.Context, req *fleetv1.GetBoxRequest) (*fleetv1.Box, error) {
	return s.getBox(ctx, req)
}

func (s *stub) Track(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error {
	return s.track(stream)
}

func serve(t *testing.T, s *stub, logger *slog.Logger) fleetv1.FleetServiceClient {
	t.Helper()
	return fleetv1.NewFleetServiceClient(servicetest.Serve(t, fleetv1.File_shop_fleet_v1_fleet_proto,
		func(r grpc.ServiceRegistrar) { fleetv1.RegisterFleetServiceServer(r, s) }, logger))
}

// lockedBuffer is a buffer for a logger that several goroutines use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		code codes.Code
		text string
		log  string
	}{
		{"a refusal", refuse.Denied("admins only"), codes.PermissionDenied, "admins only", ""},
		{"a fault", errors.New("disk on fire"), codes.Internal, "internal error", "disk on fire"},
		{"a wrapped status of another service", fmt.Errorf("ask: %w", status.Error(codes.NotFound, "secret")), codes.Internal, "internal error", "secret"},
		{"a deadline of our own", fmt.Errorf("ask: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "context deadline exceeded", ""},
	} {
		var log lockedBuffer
		s := &stub{
			getBox: func(context.Context, *fleetv1.GetBoxRequest) (*fleetv1.Box, error) { return nil, tt.err },
			track:  func(grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error { return tt.err },
		}
		client := serve(t, s, slog.New(slog.NewTextHandler(&log, nil)))
		_, unary := client.GetBox(t.Context(), &fleetv1.GetBoxRequest{BoxId: "b"})
		stream, err := client.Track(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, streamed := stream.Recv()
		for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
			if got := status.Convert(err); got.Code() != tt.code || got.Message() != tt.text {
				t.Errorf("%s, %s: got %v", tt.name, kind, err)
			}
		}
		if got := log.String(); (got != "") != (tt.log != "") || !strings.Contains(got, tt.log) {
			t.Errorf("%s: logged %q", tt.name, got)
		}
	}
}

// Whatever a handler says when its caller has left, it is neither a fault nor a log line.
func TestCallerLeft(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	entered, left := make(chan struct{}), make(chan struct{})
	client := serve(t, &stub{getBox: func(ctx context.Context, _ *fleetv1.GetBoxRequest) (*fleetv1.Box, error) {
		close(entered)
		<-ctx.Done()
		defer close(left)
		return nil, errors.New("interrupted")
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := client.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: "b"})
	servicetest.WantCode(t, err, codes.Canceled)
	<-left
	if got := log.String(); got != "" {
		t.Errorf("logged %q", got)
	}
}

func TestHandlersSeeCheckedRequestsAndTheCaller(t *testing.T) {
	t.Parallel()
	var got caller.Caller
	client := serve(t, &stub{
		getBox: func(ctx context.Context, _ *fleetv1.GetBoxRequest) (*fleetv1.Box, error) {
			got = caller.FromContext(ctx)
			return &fleetv1.Box{}, nil
		},
		track: func(stream grpc.BidiStreamingServer[fleetv1.TrackRequest, fleetv1.TrackResponse]) error {
			got = caller.FromContext(stream.Context())
			_, err := stream.Recv()
			return err
		},
	}, slog.New(slog.DiscardHandler))
	ctx := servicetest.As(t.Context(), "usr-0003", "customer")

	if _, err := client.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: "b"}); err != nil || got.Subject != "usr-0003" {
		t.Errorf("the caller is %v, %v", got, err)
	}
	got = caller.Caller{}
	_, err := client.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: strings.Repeat("x", 65)})
	servicetest.WantFields(t, err, "box_id")
	if got.Subject != "" {
		t.Error("the handler saw a bad request")
	}
	stream, err := client.Track(ctx)
	if err != nil {
		t.Fatal(err)
	}
	bad := &fleetv1.TrackRequest{Position: &fleetv1.Position{Latitude: -91, Longitude: 181}}
	if err := stream.Send(bad); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	servicetest.WantFields(t, err, "position.latitude", "position.longitude")
	if got.Subject != "usr-0003" {
		t.Errorf("the caller is %v", got)
	}
}
