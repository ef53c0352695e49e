package bridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/fault"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func descriptors(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	b, err := os.ReadFile("../../../protos/gen/shop.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(b, set); err != nil {
		tb.Fatal(err)
	}
	d, err := upstream.FromFiles(set, "shop.binpb")
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func compiled(tb testing.TB, edit func(*Uplink)) *uplink {
	tb.Helper()
	cfg := Uplink{
		Topic: "boxes/{box_id}/{sequence}", Method: "shop.fleet.v1.FleetService/IngestReadings", Into: "readings",
		Set:     map[string]string{"box_id": "{topic.box_id}", "sequence": "{topic.sequence}", "lid_open": "true"},
		Dedup:   &Dedup{Into: "dedup_key", From: "dedup_key"},
		Results: &Results{Field: "results", State: "state", Refused: []string{"INGEST_STATE_REFUSED"}, Reason: "reason"},
	}
	edit(&cfg)
	p, err := Compile([]Uplink{cfg}, nil, descriptors(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return p.uplinks[0]
}

// Captures, constants and the key replace what the payload says; all of it ends in one canonical request.
func TestEncode(t *testing.T) {
	t.Parallel()
	payloads := []string{
		`{"celsius": 3.5, "dedup_key": "mine", "box_id": "box-9", "sequence": 99, "lidOpen": false}`,
		`{"celsius": 4}`,
	}
	sum := sha256.Sum256([]byte("boxes/box-1/0\x00" + payloads[1]))
	want := &fleetv1.IngestReadingsRequest{Readings: []*fleetv1.Reading{
		{BoxId: "box-1", DedupKey: "mine", Celsius: 3.5, LidOpen: true},
		{BoxId: "box-1", DedupKey: hex.EncodeToString(sum[:]), Celsius: 4, LidOpen: true},
	}}
	u := compiled(t, func(*Uplink) {})
	var elements [][]byte
	for _, p := range payloads {
		e, err := u.encode("boxes/box-1/0", []string{"box-1", "0"}, []byte(p))
		if err != nil {
			t.Fatal(err)
		}
		elements = append(elements, e)
	}
	request := u.request(elements)
	got := &fleetv1.IngestReadingsRequest{}
	if err := proto.Unmarshal(request, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(canonical, request) {
		t.Errorf("request %x is not canonical %x", request, canonical)
	}
	for _, bad := range []string{"", "null x", "{", `{"celsius": "x"}`, `{"what": 1}`, `[]`, strings.Repeat("[", 100000), "\xff"} {
		if _, err := u.encode("boxes/box-1/0", []string{"box-1", "0"}, []byte(bad)); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	if _, err := u.encode("boxes/box-1/x", []string{"box-1", "x"}, []byte(`{}`)); err == nil {
		t.Error("a capture that is no number is taken for one")
	}
	lenient := compiled(t, func(c *Uplink) { c.UnknownFields = unknownIgnore })
	if _, err := lenient.encode("boxes/box-1/0", []string{"box-1", "0"}, []byte(`{"what": 1}`)); err != nil {
		t.Error(err)
	}
}

// Without into, a payload is a request.
func TestEncodeRequest(t *testing.T) {
	t.Parallel()
	u := compiled(t, func(c *Uplink) {
		*c = Uplink{Topic: "boxes/{box_id}/command", Method: "shop.fleet.v1.FleetService/SendCommand", Set: map[string]string{"box_id": "{topic.box_id}"}}
	})
	e, err := u.encode("boxes/b/command", []string{"b"}, []byte(`{"kind": "COMMAND_KIND_LOCK", "boxId": "c"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := &fleetv1.SendCommandRequest{}
	if err := proto.Unmarshal(u.request([][]byte{e}), got); err != nil {
		t.Fatal(err)
	}
	want := &fleetv1.SendCommandRequest{BoxId: "b", Kind: fleetv1.CommandKind_COMMAND_KIND_LOCK}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	u := compiled(t, func(*Uplink) {})
	stored := &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_STORED}
	refused := &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_REFUSED, Reason: "too hot"}
	silent := &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_REFUSED}
	response, err := proto.Marshal(&fleetv1.IngestReadingsResponse{Results: []*fleetv1.IngestResult{stored, refused, {}, silent}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := u.results.refusals(response, 4)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]string{1: "too hot", 3: "refused"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := u.results.refusals(response, 3); err == nil {
		t.Error("four results for three messages pass")
	}
}

// Every code has its verdict, also beneath what the core made of it.
func TestJudge(t *testing.T) {
	t.Parallel()
	want := map[codes.Code]verdict{
		codes.OK: retry, codes.Canceled: retry, codes.Unknown: isolate, codes.InvalidArgument: poison,
		codes.DeadlineExceeded: retry, codes.NotFound: poison, codes.AlreadyExists: poison,
		codes.PermissionDenied: retry, codes.ResourceExhausted: retry, codes.FailedPrecondition: poison,
		codes.Aborted: retry, codes.OutOfRange: poison, codes.Unimplemented: retry, codes.Internal: isolate,
		codes.Unavailable: retry, codes.DataLoss: isolate, codes.Unauthenticated: retry, codes.Code(99): isolate,
	}
	for code, v := range want {
		if got := judge(code); got != v {
			t.Errorf("%s: %d, want %d", code, got, v)
		}
	}
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{status.Error(codes.NotFound, "x"), codes.NotFound},
		{fmt.Errorf("wrapped: %w", status.Error(codes.NotFound, "x")), codes.NotFound},
		{fault.New(codes.PermissionDenied, "x"), codes.PermissionDenied},
		{fault.FromComposed(status.Error(codes.InvalidArgument, "x")), codes.InvalidArgument},
		{errors.New("x"), codes.Unknown},
	} {
		if got := codeOf(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

// A batch is full by count or bytes, or ends when its first message has waited; a backlog fills it at once.
func TestGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := compiled(t, func(c *Uplink) { c.Batch = Batch{Max: 3, Linger: time.Second} })
		l := &lane{bridge: &Bridge{stop: make(chan struct{})}, uplink: u, in: make(chan *message, 10)}
		gather := func() (int, time.Duration) {
			started := time.Now()
			return len(l.gather(t.Context(), <-l.in)), time.Since(started)
		}
		for range 7 {
			l.in <- &message{payload: []byte("x")}
		}
		for i, want := range []struct {
			n    int
			took time.Duration
		}{{3, 0}, {3, 0}, {1, time.Second}} {
			if n, took := gather(); n != want.n || took != want.took {
				t.Errorf("batch %d: %d messages after %s, want %d after %s", i, n, took, want.n, want.took)
			}
		}
		for range 3 {
			l.in <- &message{payload: make([]byte, maxBatchBytes/2)}
		}
		if n, took := gather(); n != 2 || took != 0 {
			t.Errorf("large messages: %d after %s", n, took)
		}
		go func() {
			time.Sleep(100 * time.Millisecond)
			close(l.bridge.stop)
		}()
		if n, took := gather(); n != 1 || took != 100*time.Millisecond {
			t.Errorf("at the stop: %d after %s", n, took)
		}
	})
}

func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWindow(3, 100)
	for i, step := range []struct {
		size int
		want bool
	}{{200, true}, {0, false}} { // what is larger than the window enters it alone
		if got := w.enter(step.size); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if !w.leave(200) {
		t.Error("not empty")
	}
	for range 3 {
		if !w.enter(10) {
			t.Error("no room for three")
		}
	}
	if w.enter(1) {
		t.Error("room for four")
	}
	if w.leave(10) {
		t.Error("empty with two")
	}
	if w.enter(90) {
		t.Error("room for 110 bytes")
	}
	if count, size := w.size(); count != 2 || size != 20 {
		t.Errorf("%d messages of %d bytes", count, size)
	}
}

// What was written before Close arrives in order; what the peer never reads does not hold Close up for long.
func TestBuffered(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	b := newBuffered(ours)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(theirs)
		got <- all
	}()
	var want bytes.Buffer
	for i := range 20000 {
		line := fmt.Sprintf("line %d with some text to fill the buffer\n", i)
		want.WriteString(line)
		if _, err := b.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if all := <-got; !bytes.Equal(all, want.Bytes()) {
		t.Errorf("%d bytes arrived of %d", len(all), want.Len())
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	ours, theirs = net.Pipe()
	defer theirs.Close()
	b = newBuffered(ours)
	if _, err := b.Write([]byte("nobody reads this")); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_ = b.Close()
	if took := time.Since(started); took > 2*flushTimeout {
		t.Errorf("Close took %s", took)
	}
}

// FuzzEncode: no payload or capture makes a panic; what is taken is a canonical message with our captures in it.
func FuzzEncode(f *testing.F) {
	u := compiled(f, func(*Uplink) {})
	f.Add("box-1", "7", []byte(`{"celsius": 3.5, "measureTime": "2026-01-02T03:04:05Z"}`))
	f.Add("", "-1", []byte(`{"boxId": null, "sequence": "12"}`))
	f.Add("x", "1", []byte("\x00"))
	f.Fuzz(func(t *testing.T, box, sequence string, payload []byte) {
		e, err := u.encode("boxes/"+box+"/"+sequence, []string{box, sequence}, payload)
		if err != nil {
			return
		}
		got := &fleetv1.Reading{}
		if err := proto.Unmarshal(e, got); err != nil {
			t.Fatal(err)
		}
		if got.GetBoxId() != box || got.GetDedupKey() == "" || !got.GetLidOpen() || len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("box %q became %v", box, got)
		}
		canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(got)
		if err != nil || !bytes.Equal(canonical, e) {
			t.Errorf("%x is not canonical", e)
		}
	})
}
