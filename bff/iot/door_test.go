package iot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot"
	"github.com/portico-bff/portico/bff/iot/bridge"
	"github.com/portico-bff/portico/bff/limit"
	fleetv1 "github.com/portico-bff/portico/protos/gen/shop/fleet/v1"
	"github.com/portico-bff/portico/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet stands for the core and the fleet service behind it. Tokens are words: "device box-0001 2s".
type fleet struct {
	mu       sync.Mutex
	fail     error // of every call, if it is set
	stumble  int64 // sequence over which calls fail; none if 0
	readings map[string]*fleetv1.Reading
	calls    int
	largest  int
	seen     []*auth.Principal
	admit    func(op core.Operation) error
	commands chan *fleetv1.Command
}

func newFleet() *fleet {
	return &fleet{readings: make(map[string]*fleetv1.Reading), commands: make(chan *fleetv1.Command)}
}

func (f *fleet) Authenticate(ctx context.Context, c auth.Credentials) (context.Context, error) {
	words := strings.Fields(c.Bearer)
	if len(words) < 2 {
		return ctx, fault.New(codes.Unauthenticated, "bad token")
	}
	p := &auth.Principal{Kind: auth.Kind(words[0]), Subject: words[1], Authenticated: true}
	if len(words) > 2 {
		life, err := time.ParseDuration(words[2])
		if err != nil {
			return ctx, err
		}
		p.Expires = time.Now().Add(life)
	}
	return auth.NewContext(ctx, p), nil
}

func (f *fleet) Admit(_ context.Context, op core.Operation, _ int) (limit.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.admit != nil {
		return limit.Result{}, f.admit(op)
	}
	return limit.Result{Allowed: true}, nil
}

func (f *fleet) Invoke(ctx context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.seen = append(f.seen, auth.FromContext(ctx))
	if f.fail != nil {
		return upstream.Reply{}, f.fail
	}
	if m.Name != "shop.fleet.v1.FleetService/IngestReadings" {
		return upstream.Reply{}, status.Error(codes.Unimplemented, m.Name)
	}
	in, out := &fleetv1.IngestReadingsRequest{}, &fleetv1.IngestReadingsResponse{}
	if err := proto.Unmarshal(req, in); err != nil {
		return upstream.Reply{}, err
	}
	f.largest = max(f.largest, len(in.GetReadings()))
	for _, r := range in.GetReadings() {
		if f.stumble != 0 && r.GetSequence() == f.stumble {
			return upstream.Reply{}, status.Error(codes.Internal, "a bug")
		}
		if r.GetSequence() == 13 {
			return upstream.Reply{}, status.Error(codes.InvalidArgument, "13 brings bad luck")
		}
	}
	for _, r := range in.GetReadings() {
		result := &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_STORED}
		switch _, known := f.readings[r.GetBoxId()+" "+r.GetDedupKey()]; {
		case r.GetCelsius() > 100:
			result = &fleetv1.IngestResult{State: fleetv1.IngestState_INGEST_STATE_REFUSED, Reason: "too hot"}
		case known:
			result.State = fleetv1.IngestState_INGEST_STATE_DUPLICATE
		default:
			f.readings[r.GetBoxId()+" "+r.GetDedupKey()] = r
		}
		out.Results = append(out.Results, result)
	}
	b, err := proto.Marshal(out)
	return upstream.Reply{Message: b}, err
}

func (f *fleet) Open(ctx context.Context, m *upstream.Method) (upstream.Stream, error) {
	if m.Name != "shop.fleet.v1.FleetService/WatchCommands" {
		return nil, status.Error(codes.Unimplemented, m.Name)
	}
	return &commandStream{ctx: ctx, from: f.commands}, nil
}

func (f *fleet) setFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// stored returns the stored readings of a box by sequence.
func (f *fleet) stored(box string) map[int64]*fleetv1.Reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[int64]*fleetv1.Reading)
	for _, r := range f.readings {
		if r.GetBoxId() == box {
			out[r.GetSequence()] = r
		}
	}
	return out
}

type commandStream struct {
	ctx  context.Context //nolint:containedctx // a stream has one
	from <-chan *fleetv1.Command
}

func (s *commandStream) Send([]byte) error            { return nil }
func (s *commandStream) CloseSend() error             { return nil }
func (s *commandStream) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (s *commandStream) Trailer() metadata.MD         { return nil }

func (s *commandStream) Recv() ([]byte, error) {
	select {
	case c, ok := <-s.from:
		if !ok {
			return nil, io.EOF
		}
		return proto.Marshal(c)
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func descriptors(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	b, err := os.ReadFile("../../protos/gen/shop.binpb")
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

// config is the demo's, with short times.
func config(dir string) iot.Config {
	return iot.Config{
		Broker: iot.Broker{Embedded: &iot.Embedded{Store: dir}, AckWait: 2 * time.Second},
		ACL: iot.ACL{
			Publish:   []string{"boxes/{device}/telemetry"},
			Subscribe: []string{"boxes/{device}/commands", "dead/+"},
		},
		Uplinks: []bridge.Uplink{{
			Topic: "boxes/{box_id}/telemetry", Method: "shop.fleet.v1.FleetService/IngestReadings",
			Into: "readings", Set: map[string]string{"box_id": "{topic.box_id}"},
			Dedup:      &bridge.Dedup{Into: "dedup_key", From: "dedup_key"},
			Results:    &bridge.Results{Field: "results", State: "state", Refused: []string{"INGEST_STATE_REFUSED"}, Reason: "reason"},
			DeadLetter: "dead/boxes",
		}},
		Downlinks: []bridge.Downlink{{
			Method: "shop.fleet.v1.FleetService/WatchCommands", Topic: "boxes/{message.box_id}/commands", Expires: "expire_time",
		}},
		Limits: iot.Limits{ConnectTimeout: time.Second, Burst: 10000},
	}
}

type door struct {
	*iot.Door
	addr string
}

// open starts a door that is closed with the test.
func open(tb testing.TB, cfg iot.Config, f *fleet) *door {
	tb.Helper()
	lis, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	d, err := iot.New(tb.Context(), cfg, iot.Options{
		Core: f, Descriptors: descriptors(tb), Listeners: []net.Listener{lis},
		Logger: slog.New(slog.NewTextHandler(testWriter{tb}, nil)), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		_ = lis.Close()
		tb.Fatal(err)
	}
	out := &door{Door: d, addr: lis.Addr().String()}
	tb.Cleanup(func() { out.close(tb) })
	eventually(tb, 5*time.Second, func() error { return d.Ready() })
	return out
}

func (d *door) close(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		tb.Error(err)
	}
}

type testWriter struct{ tb testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.tb.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// options are those of a device whose token says who it is.
func (d *door) options(id, token string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("tcp://" + d.addr).SetClientID(id).SetUsername(id).SetPassword(token).
		SetProtocolVersion(4).SetConnectTimeout(5 * time.Second).SetAutoReconnect(false).SetMaxReconnectInterval(100 * time.Millisecond)
}

func (d *door) device(tb testing.TB, id string) mqtt.Client {
	tb.Helper()
	return connect(tb, d.options(id, "device "+id))
}

func connect(tb testing.TB, o *mqtt.ClientOptions) mqtt.Client {
	tb.Helper()
	c := mqtt.NewClient(o)
	if err := wait(c.Connect()); err != nil {
		tb.Fatalf("%s: %v", o.ClientID, err)
	}
	tb.Cleanup(func() { c.Disconnect(0) })
	return c
}

func wait(tok mqtt.Token) error {
	if !tok.WaitTimeout(5 * time.Second) {
		return errors.New("no answer")
	}
	return tok.Error()
}

func eventually(tb testing.TB, within time.Duration, check func() error) {
	tb.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	tb.Fatal(err)
}

func reading(sequence int) string {
	return fmt.Sprintf(`{"boxId": "somebody-else", "sequence": "%d", "celsius": 3.5, "dedupKey": "k%d"}`, sequence, sequence)
}

func TestUplink(t *testing.T) {
	t.Parallel()
	f := newFleet()
	d := open(t, config(t.TempDir()), f)
	c := d.device(t, "box-0001")
	const n = 1000
	tokens := make([]mqtt.Token, n)
	for i := range n {
		tokens[i] = c.Publish("boxes/box-0001/telemetry", 1, false, reading(1000+i))
	}
	for _, tok := range tokens {
		if err := wait(tok); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, func() error {
		if got := len(f.stored("box-0001")); got != n {
			return fmt.Errorf("%d of %d readings are stored", got, n)
		}
		return nil
	})
	if got := f.stored("box-0001")[1001]; got.GetCelsius() != 3.5 || got.GetDedupKey() != "k1001" {
		t.Errorf("stored %v", got)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls > n/2 || f.largest < 2 || f.largest > 500 {
		t.Errorf("%d calls, the largest with %d readings", f.calls, f.largest)
	}
	if p := f.seen[0]; p.Subject != "portico-iot" || p.Kind != auth.Service || !p.Authenticated {
		t.Errorf("the service sees %+v", p)
	}
}

// What cannot be taken goes to the dead-letter topic with its reason, alone, and everything else is stored.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFleet()
	d := open(t, config(t.TempDir()), f)
	letters := make(chan deadLetter, 10)
	watcher := d.device(t, "watcher")
	if err := wait(watcher.Subscribe("dead/boxes", 1, func(_ mqtt.Client, m mqtt.Message) {
		var l deadLetter
		if err := json.Unmarshal(m.Payload(), &l); err != nil {
			t.Error(err)
		}
		letters <- l
	})); err != nil {
		t.Fatal(err)
	}
	c := d.device(t, "box-0002")
	payloads := []string{
		`garbage`, `{"celsius": "cold"}`, `{"colour": "blue"}`, reading(13), `{"celsius": 120}`, "\xff\xfe", "",
	}
	for i := range 50 {
		payloads = append(payloads, reading(100+i))
	}
	var tokens []mqtt.Token
	for _, p := range payloads {
		tokens = append(tokens, c.Publish("boxes/box-0002/telemetry", 1, false, p))
	}
	for _, tok := range tokens {
		if err := wait(tok); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		`garbage`: "", `{"celsius": "cold"}`: "celsius", `{"colour": "blue"}`: "colour", reading(13): "",
		`{"celsius": 120}`: "too hot", "\xff\xfe": "", "": "",
	}
	for len(want) > 0 {
		select {
		case l := <-letters:
			part, ok := want[string(l.Payload)]
			if !ok || !strings.Contains(l.Reason, part) || l.Reason == "" || l.Topic != "boxes/box-0002/telemetry" || l.Time.IsZero() {
				t.Errorf("dead letter %+v", l)
			}
			delete(want, string(l.Payload))
		case <-time.After(10 * time.Second):
			t.Fatalf("no dead letters for %q", want)
		}
	}
	eventually(t, 5*time.Second, func() error {
		if got := len(f.stored("box-0002")); got != 50 {
			return fmt.Errorf("%d of 50 readings are stored", got)
		}
		return nil
	})
}

type deadLetter struct {
	Topic, Reason string
	Payload       []byte
	Time          time.Time
}

// While the service is away, and when the whole door is restarted meanwhile, nothing with a PUBACK is lost.
func TestLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet()
	dir := t.TempDir()
	cfg := config(dir)
	d := open(t, cfg, f)
	c := d.device(t, "box-0003")
	acked := make(map[int64]bool)
	publish := func(c mqtt.Client, from, n int) {
		var tokens []mqtt.Token
		for i := range n {
			tokens = append(tokens, c.Publish("boxes/box-0003/telemetry", 1, false, reading(from+i)))
		}
		for i, tok := range tokens {
			if err := wait(tok); err != nil {
				t.Fatal(err)
			}
			acked[int64(from+i)] = true
		}
	}
	publish(c, 1000, 200)
	f.setFail(status.Error(codes.Unavailable, "killed"))
	publish(c, 2000, 200)
	time.Sleep(2500 * time.Millisecond) // beyond ack_wait: the first ones are let go of
	publish(c, 3000, 200)
	d.close(t)
	d = open(t, cfg, f)
	c = d.device(t, "box-0003")
	publish(c, 4000, 200)
	f.setFail(nil)
	eventually(t, 15*time.Second, func() error {
		missing := 0
		stored := f.stored("box-0003")
		for s := range acked {
			if stored[s] == nil {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d acknowledged readings are not stored", missing, len(acked))
		}
		return nil
	})
}

// A message over which the service stumbles does not hold the others back, and is not given up.
func TestStumblingService(t *testing.T) {
	t.Parallel()
	f := newFleet()
	f.stumble = 1050
	cfg := config(t.TempDir())
	cfg.Broker.AckWait = 3 * time.Second
	d := open(t, cfg, f)
	c := d.device(t, "box-0007")
	var tokens []mqtt.Token
	for i := range 100 {
		tokens = append(tokens, c.Publish("boxes/box-0007/telemetry", 1, false, reading(1000+i)))
	}
	for _, tok := range tokens {
		if err := wait(tok); err != nil {
			t.Fatal(err)
		}
	}
	stored := func(n int) func() error {
		return func() error {
			if got := len(f.stored("box-0007")); got != n {
				return fmt.Errorf("%d of %d readings are stored", got, n)
			}
			return nil
		}
	}
	eventually(t, 10*time.Second, stored(99))
	f.mu.Lock()
	f.stumble = 0
	f.mu.Unlock()
	eventually(t, 10*time.Second, stored(100))
}

// What does not fit into the window is delivered when there is room: by either kind of broker.
func TestNarrowWindow(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"embedded", "external"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFleet()
			cfg := config(t.TempDir())
			cfg.Broker.AckWait = time.Second
			cfg.Broker.WindowBytes = 16000 // holds less than half of them
			if kind == "external" {
				cfg.Broker.Embedded = nil
				cfg.Broker.External = &iot.External{URL: "tcp://" + mosquitto(t), Username: "portico", Password: "secret"}
			}
			d := open(t, cfg, f)
			c := d.device(t, "box-0005")
			const n = 400
			var tokens []mqtt.Token
			for i := range n {
				tokens = append(tokens, c.Publish("boxes/box-0005/telemetry", 1, false, reading(1000+i)))
			}
			for _, tok := range tokens {
				if err := wait(tok); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, 15*time.Second, func() error {
				if got := len(f.stored("box-0005")); got != n {
					return fmt.Errorf("%d of %d readings are stored", got, n)
				}
				return nil
			})
		})
	}
}

func TestDownlink(t *testing.T) {
	t.Parallel()
	f := newFleet()
	d := open(t, config(t.TempDir()), f)
	got := make(chan mqtt.Message, 10)
	c := d.device(t, "box-0004")
	if err := wait(c.Subscribe("boxes/box-0004/commands", 1, func(_ mqtt.Client, m mqtt.Message) { got <- m })); err != nil {
		t.Fatal(err)
	}
	past := fleetv1.Command{CommandId: "cmd-1", BoxId: "box-0004", ExpireTime: timestamp(-time.Second)}
	odd := fleetv1.Command{CommandId: "cmd-2", BoxId: "#"}
	good := fleetv1.Command{CommandId: "cmd-3", BoxId: "box-0004", Kind: fleetv1.CommandKind_COMMAND_KIND_BLINK, ExpireTime: timestamp(time.Minute)}
	for _, command := range []*fleetv1.Command{&past, &odd, &good} {
		f.commands <- command
	}
	select {
	case m := <-got:
		var command map[string]any
		if err := json.Unmarshal(m.Payload(), &command); err != nil {
			t.Fatal(err)
		}
		if command["commandId"] != "cmd-3" || command["kind"] != "COMMAND_KIND_BLINK" || m.Qos() != 1 {
			t.Errorf("got %s with QoS %d", m.Payload(), m.Qos())
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no command arrived")
	}
}
