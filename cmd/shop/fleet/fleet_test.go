package fleet_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portico-bff/portico/cmd/shop/fleet"
	"github.com/portico-bff/portico/cmd/shop/seed"
	"github.com/portico-bff/portico/cmd/shop/service"
	"github.com/portico-bff/portico/cmd/shop/service/servicetest"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const box = "box-0002"

func customer(ctx context.Context) context.Context {
	return servicetest.As(ctx, seed.CustomerID, "customer")
}

func admin(ctx context.Context) context.Context { return servicetest.As(ctx, seed.AdminID, "admin") }

func iot(ctx context.Context) context.Context { return servicetest.As(ctx, "portico-iot", "iot") }

func nobody(ctx context.Context) context.Context { return ctx }

func anotherProgram(ctx context.Context) context.Context {
	return servicetest.From(admin(ctx), "orders")
}

type client struct {
	fleetv1.FleetServiceClient
	service *fleet.Service
}

// fresh is the file of a first start, made once: a week of readings takes a while under
// the race detector.
var fresh = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := fleet.Open(context.Background(), filepath.Join(dir, "fleet.db"), nil)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "fleet.db"))
})

func start(t *testing.T) client {
	t.Helper()
	file, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fleet.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	validator, err := service.NewValidator(fleetv1.File_shop_fleet_v1_fleet_proto)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fleet.Open(t.Context(), path, validator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	conn := servicetest.Serve(t, fleetv1.File_shop_fleet_v1_fleet_proto,
		func(r grpc.ServiceRegistrar) { fleetv1.RegisterFleetServiceServer(r, s) }, slog.New(slog.DiscardHandler))
	return client{fleetv1.NewFleetServiceClient(conn), s}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	c := start(t)
	reading := &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{{BoxId: box, DedupKey: "a"}}}
	command := &fleetv1.SendCommandRequest{BoxId: box, Kind: fleetv1.CommandKind_COMMAND_KIND_BLINK}
	const ok, denied = codes.OK, codes.PermissionDenied
	for _, tt := range []struct {
		name                                string
		as                                  func(context.Context) context.Context
		read, ingest, send, commands, track codes.Code
	}{
		{"a customer", customer, ok, denied, denied, denied, ok},
		{"an admin", admin, ok, ok, ok, ok, ok},
		{"the IoT door", iot, ok, ok, denied, ok, ok},
		{"nobody", nobody, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated},
		{
			"another program", anotherProgram,
			codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated,
		},
	} {
		t.Log(tt.name)
		ctx, cancel := context.WithCancel(tt.as(t.Context()))
		_, err := c.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: box})
		servicetest.WantCode(t, err, tt.read)
		_, err = c.ListBoxes(ctx, &fleetv1.ListBoxesRequest{})
		servicetest.WantCode(t, err, tt.read)
		_, err = c.BatchGetBoxes(ctx, &fleetv1.BatchGetBoxesRequest{})
		servicetest.WantCode(t, err, tt.read)
		_, err = c.ListReadings(ctx, &fleetv1.ListReadingsRequest{BoxId: box})
		servicetest.WantCode(t, err, tt.read)
		_, err = c.BatchGetLatestReadings(ctx, &fleetv1.BatchGetLatestReadingsRequest{})
		servicetest.WantCode(t, err, tt.read)
		watching, err := c.WatchReadings(ctx, &fleetv1.WatchReadingsRequest{BoxId: box})
		if err != nil {
			t.Fatal(err)
		}
		if header, _ := watching.Header(); (header != nil) != (tt.read == ok) {
			t.Errorf("watching begins with %v", header)
		}
		_, err = c.IngestReadings(ctx, reading)
		servicetest.WantCode(t, err, tt.ingest)
		_, err = c.SendCommand(ctx, command)
		servicetest.WantCode(t, err, tt.send)
		if tt.commands != ok { // the others see the command of the admin, who is no longer first
			commands, err := c.WatchCommands(ctx, &fleetv1.WatchCommandsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = commands.Recv()
			servicetest.WantCode(t, err, tt.commands)
		}
		track, err := c.Track(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := track.Send(&fleetv1.TrackRequest{BoxId: box, Position: &fleetv1.Position{}}); err != nil {
			t.Log(err) // refused already: Recv says why
		}
		_, err = track.Recv()
		servicetest.WantCode(t, err, tt.track)
		cancel()
	}
}

func TestBoxes(t *testing.T) {
	t.Parallel()
	c := start(t)
	ctx := customer(t.Context())
	want := seed.Boxes()
	got, err := c.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: box})
	if diff := cmp.Diff(want[1], got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	_, err = c.GetBox(ctx, &fleetv1.GetBoxRequest{BoxId: "box-9999"})
	servicetest.WantCode(t, err, codes.NotFound)
	batch, err := c.BatchGetBoxes(ctx, &fleetv1.BatchGetBoxesRequest{BoxIds: []string{"box-0005", "x", "box-0001"}})
	if diff := cmp.Diff([]*fleetv1.Box{want[4], want[0]}, batch.GetBoxes(), protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	first, err := c.ListBoxes(ctx, &fleetv1.ListBoxesRequest{PageSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.ListBoxes(ctx, &fleetv1.ListBoxesRequest{PageSize: 4, PageToken: first.GetNextPageToken()})
	if diff := cmp.Diff(want, append(first.GetBoxes(), second.GetBoxes()...), protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if second.GetNextPageToken() != "" {
		t.Error("the last page has a next one")
	}
}

// results writes the results as words.
func results(reply *fleetv1.IngestReadingsResponse) []string {
	var all []string
	for _, r := range reply.GetResults() {
		word := strings.TrimPrefix(r.GetState().String(), "INGEST_STATE_")
		if r.GetReason() != "" {
			word += " " + r.GetReason()
		}
		all = append(all, word)
	}
	return all
}

func TestIngestJudgesEachReading(t *testing.T) {
	t.Parallel()
	c := start(t)
	now := time.Now()
	good := func(key string) *fleetv1.Reading {
		return &fleetv1.Reading{BoxId: box, DedupKey: key, MeasureTime: timestamppb.New(now), Celsius: 4.5, BatteryPercent: 80, Sequence: 700}
	}
	bad := func(change func(*fleetv1.Reading)) *fleetv1.Reading {
		r := good("bad")
		change(r)
		return r
	}
	reply, err := c.IngestReadings(iot(t.Context()), &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{
		good("a"),
		bad(func(r *fleetv1.Reading) { r.BoxId = "box-9999" }),
		bad(func(r *fleetv1.Reading) { r.Celsius = 151 }),
		good("a"), // twice in one batch
		bad(func(r *fleetv1.Reading) { r.Celsius = math.NaN() }),
		bad(func(r *fleetv1.Reading) { r.BatteryPercent, r.Sequence = 101, -1 }),
		bad(func(r *fleetv1.Reading) { r.BoxId = "" }),
		bad(func(r *fleetv1.Reading) { r.DedupKey = strings.Repeat("x", 129) }),
		bad(func(r *fleetv1.Reading) { r.MeasureTime = timestamppb.New(now.Add(48 * time.Hour)) }),
		bad(func(r *fleetv1.Reading) { r.MeasureTime = timestamppb.New(time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)) }),
		bad(func(r *fleetv1.Reading) { r.MeasureTime = &timestamppb.Timestamp{Nanos: -5} }),
		good("b"),
		good("seed-17"), // stored before
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"STORED",
		"REFUSED box_id: no such box",
		"REFUSED celsius: must be greater than or equal to -100 and less than or equal to 150",
		"DUPLICATE",
		"REFUSED celsius: must be greater than or equal to -100 and less than or equal to 150",
		"REFUSED battery_percent: must be greater than or equal to 0 and less than or equal to 100; sequence: must be greater than or equal to 0",
		"REFUSED box_id: must be at least 1 characters",
		"REFUSED dedup_key: must be at most 128 characters",
		"REFUSED measure_time: more than a day ahead",
		"REFUSED measure_time: not a time between 1678 and 2262",
		"REFUSED measure_time: not a time between 1678 and 2262",
		"STORED",
		"DUPLICATE",
	}
	if diff := cmp.Diff(want, results(reply)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = c.IngestReadings(iot(t.Context()), &fleetv1.IngestReadingsRequest{})
	servicetest.WantFields(t, err, "readings")
}

// A box that sends neither key nor time is heard once, however often it says the same.
func TestIngestMakesKeys(t *testing.T) {
	t.Parallel()
	c := start(t)
	for i, want := range []string{"STORED", "DUPLICATE", "STORED"} {
		r := &fleetv1.Reading{BoxId: box, Celsius: 1.25, Sequence: 1000}
		if i == 2 {
			r.Celsius = 1.5
		}
		before := time.Now()
		reply, err := c.IngestReadings(iot(t.Context()), &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{r}})
		if err != nil || results(reply)[0] != want {
			t.Errorf("reading %d: got %v, %v, want %s", i, results(reply), err, want)
		}
		latest, err := c.BatchGetLatestReadings(iot(t.Context()), &fleetv1.BatchGetLatestReadingsRequest{BoxIds: []string{box}})
		if err != nil {
			t.Fatal(err)
		}
		if at := latest.GetReadings()[0].GetMeasureTime().AsTime(); want == "STORED" && (at.Before(before) || at.After(time.Now())) {
			t.Errorf("reading %d was measured at %v, which is not when it came", i, at)
		}
	}
}

func TestListReadings(t *testing.T) {
	t.Parallel()
	c := start(t)
	ctx := customer(t.Context())
	req := &fleetv1.ListReadingsRequest{BoxId: box, PageSize: 300}
	var got []*fleetv1.Reading
	for range 3 {
		reply, err := c.ListReadings(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, reply.GetReadings()...)
		req.PageToken = reply.GetNextPageToken()
	}
	if len(got) != 672 || req.GetPageToken() != "" {
		t.Fatalf("got %d readings, next %q", len(got), req.GetPageToken())
	}
	for i, r := range got {
		if r.GetSequence() != int64(672-i) || r.GetBoxId() != box {
			t.Fatalf("reading %d is %v", i, r)
		}
	}
	for _, tt := range []struct {
		name        string
		start, end  *timestamppb.Timestamp
		first, last int64
	}{
		{"from", got[2].GetMeasureTime(), nil, 672, 670},
		{"until", nil, got[669].GetMeasureTime(), 2, 1},
		{"between", got[5].GetMeasureTime(), got[2].GetMeasureTime(), 669, 667},
	} {
		reply, err := c.ListReadings(ctx, &fleetv1.ListReadingsRequest{BoxId: box, StartTime: tt.start, EndTime: tt.end, PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		all := reply.GetReadings()
		if n := int64(len(all)); n != tt.first-tt.last+1 || all[0].GetSequence() != tt.first || all[n-1].GetSequence() != tt.last {
			t.Errorf("%s: got %d readings: %v", tt.name, n, all)
		}
	}
	_, err := c.ListReadings(ctx, &fleetv1.ListReadingsRequest{BoxId: "box-9999"})
	servicetest.WantCode(t, err, codes.NotFound)
	_, err = c.ListReadings(ctx, &fleetv1.ListReadingsRequest{BoxId: box, EndTime: &timestamppb.Timestamp{Nanos: -1}})
	servicetest.WantFields(t, err, "end_time")
	_, err = c.ListReadings(ctx, &fleetv1.ListReadingsRequest{BoxId: box, PageToken: "bogus"})
	servicetest.WantFields(t, err, "page_token")
}

func TestLatestReadings(t *testing.T) {
	t.Parallel()
	c := start(t)
	now := time.Now()
	// A late arrival of an old measurement is not the latest.
	_, err := c.IngestReadings(iot(t.Context()), &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{
		{BoxId: box, DedupKey: "new", MeasureTime: timestamppb.New(now), Celsius: 3},
		{BoxId: box, DedupKey: "old", MeasureTime: timestamppb.New(now.Add(-time.Hour)), Celsius: 2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := c.BatchGetLatestReadings(customer(t.Context()), &fleetv1.BatchGetLatestReadingsRequest{BoxIds: []string{"box-0003", "x", box}})
	if err != nil {
		t.Fatal(err)
	}
	got := reply.GetReadings()
	if len(got) != 2 || got[0].GetBoxId() != "box-0003" || got[0].GetSequence() != 672 || got[1].GetDedupKey() != "new" {
		t.Errorf("got %v", got)
	}
}

func TestWatchReadings(t *testing.T) {
	t.Parallel()
	c := start(t)
	stream, err := c.WatchReadings(customer(t.Context()), &fleetv1.WatchReadingsRequest{BoxId: box})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil { // from here on nothing is missed
		t.Fatal(err)
	}
	at := timestamppb.Now()
	var want []*fleetv1.Reading
	for i := range 5 {
		r := &fleetv1.Reading{BoxId: box, DedupKey: fmt.Sprint("k", i), MeasureTime: at, Celsius: float64(i)}
		want = append(want, r)
		other := &fleetv1.Reading{BoxId: "box-0001", DedupKey: fmt.Sprint("k", i), MeasureTime: at}
		refused := &fleetv1.Reading{BoxId: box, Celsius: 1000}
		// The second of two equal readings is not news.
		_, err := c.IngestReadings(iot(t.Context()), &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{other, refused, r, r}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range want {
		got, err := stream.Recv()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
			t.Fatalf("%v, (-want +got):\n%s", err, diff)
		}
	}
	c.service.Stop()
	_, err = stream.Recv()
	servicetest.WantReason(t, err, codes.Unavailable, "STOPPING")
	missing, err := c.WatchReadings(customer(t.Context()), &fleetv1.WatchReadingsRequest{BoxId: "box-9999"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = missing.Recv()
	servicetest.WantCode(t, err, codes.NotFound)
}

func TestCommands(t *testing.T) {
	t.Parallel()
	c := start(t)
	send := func(value float64, ttl int32) *fleetv1.Command {
		t.Helper()
		command, err := c.SendCommand(admin(t.Context()), &fleetv1.SendCommandRequest{
			BoxId: box, Kind: fleetv1.CommandKind_COMMAND_KIND_SET_TEMPERATURE, Value: value, TtlSeconds: ttl,
		})
		if err != nil {
			t.Fatal(err)
		}
		return command
	}
	early := send(3, 0)
	if life := early.GetExpireTime().AsTime().Sub(early.GetCreateTime().AsTime()); life != time.Hour || early.GetCommandId() != "cmd-0000009" {
		t.Errorf("got %v, which lives %v", early, life)
	}
	gone := send(4, 1)
	time.Sleep(time.Until(gone.GetExpireTime().AsTime()) + 10*time.Millisecond)
	var want []*fleetv1.Command
	want = append(want, early) // neither the seeded ones nor that which expired
	for i := range 250 {       // more than one batch
		want = append(want, send(float64(i), 60))
	}
	stream, err := c.WatchCommands(iot(t.Context()), &fleetv1.WatchCommandsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	receive := func(want ...*fleetv1.Command) {
		t.Helper()
		for _, want := range want {
			got, err := stream.Recv()
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
				t.Fatalf("%v, (-want +got):\n%s", err, diff)
			}
		}
	}
	receive(want...)
	receive(send(20, 60), send(21, 60))
	c.service.Stop()
	_, err = stream.Recv()
	servicetest.WantReason(t, err, codes.Unavailable, "STOPPING")
}

func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := c.SendCommand(admin(t.Context()), &fleetv1.SendCommandRequest{BoxId: "box-9999", Kind: fleetv1.CommandKind_COMMAND_KIND_LOCK})
	servicetest.WantCode(t, err, codes.NotFound)
	_, err = c.SendCommand(admin(t.Context()), &fleetv1.SendCommandRequest{BoxId: box, TtlSeconds: -1})
	servicetest.WantFields(t, err, "kind", "ttl_seconds")
}

func TestTrack(t *testing.T) {
	t.Parallel()
	c := start(t)
	stream, err := c.Track(customer(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		box                 string
		latitude, longitude float64
		metres              float64
		advice              string
	}{
		// A degree of latitude is 111.195 km on a sphere of that radius.
		{box, 46.3779, 8.5403, 0, "The depot is 111195 m to the north."},
		{"", 47.3779, 8.5403, 111195, "You have arrived at the depot."},
		{box, 47.3779, 8.5403, 111195, "You have arrived at the depot."},
		{"", 47.3779, 8.6403, 118725, "The depot is 7530 m to the west."},
	} {
		err := stream.Send(&fleetv1.TrackRequest{BoxId: step.box, Position: &fleetv1.Position{Latitude: step.latitude, Longitude: step.longitude}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil || math.Abs(got.GetMetres()-step.metres) > 1 || got.GetAdvice() != step.advice {
			t.Errorf("got %v, %v, want %.0f m and %q", got, err, step.metres, step.advice)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTrackRefuses(t *testing.T) {
	t.Parallel()
	c := start(t)
	here := &fleetv1.Position{Latitude: 47, Longitude: 8}
	for _, tt := range []struct {
		name  string
		sent  []*fleetv1.TrackRequest
		code  codes.Code
		field string
	}{
		{"no box", []*fleetv1.TrackRequest{{Position: here}}, codes.InvalidArgument, "box_id"},
		{"no such box", []*fleetv1.TrackRequest{{BoxId: "box-9999", Position: here}}, codes.NotFound, ""},
		{"no position", []*fleetv1.TrackRequest{{BoxId: box}}, codes.InvalidArgument, "position"},
		{"off the earth", []*fleetv1.TrackRequest{{BoxId: box, Position: &fleetv1.Position{Latitude: 91}}}, codes.InvalidArgument, "position.latitude"},
		{"two boxes", []*fleetv1.TrackRequest{{BoxId: box, Position: here}, {BoxId: "box-0001", Position: here}}, codes.InvalidArgument, "box_id"},
	} {
		stream, err := c.Track(customer(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range tt.sent {
			if err := stream.Send(req); err != nil {
				t.Fatal(err)
			}
			_, err = stream.Recv()
		}
		t.Log(tt.name)
		servicetest.WantCode(t, err, tt.code)
		if tt.field != "" {
			servicetest.WantFields(t, err, tt.field)
		}
	}
}
