package front_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot/broker"
	"github.com/portico-bff/portico/bff/iot/front"
	"github.com/portico-bff/portico/bff/iot/packet"
	"github.com/portico-bff/portico/bff/iot/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate lets in whoever shows "token of ID" or, for a short while, "short token of ID".
type gate struct {
	closed atomic.Bool
	admit  func() error
}

func (g *gate) Open() error {
	if g.closed.Load() {
		return errors.New("closed")
	}
	return nil
}

func (g *gate) Login(_ context.Context, c front.Credentials) (front.Device, error) {
	if !c.Remote.IsLoopback() {
		return front.Device{}, fault.New(codes.Unauthenticated, "no address")
	}
	d := front.Device{Admit: func(context.Context, string, string) error { return nil }}
	if g.admit != nil {
		d.Admit = func(context.Context, string, string) error { return g.admit() }
	}
	var ok bool
	if d.ID, ok = strings.CutPrefix(c.Password, "token of "); ok {
		return d, nil
	}
	if d.ID, ok = strings.CutPrefix(c.Password, "short token of "); ok {
		d.Expires = time.Now().Add(300 * time.Millisecond)
		return d, nil
	}
	return front.Device{}, fault.New(codes.Unauthenticated, "bad token")
}

func limits() front.Limits {
	return front.Limits{
		Connections: 100, ConnectTimeout: time.Second, ConnectBytes: 1 << 10, PacketBytes: 4 << 10,
		Keepalive: time.Minute, Rate: 1000, Burst: 1000, Subscriptions: 3,
	}
}

type served struct {
	addr   string
	broker *broker.Broker
	server *front.Server
}

func serve(t *testing.T, g *gate, l front.Limits) *served {
	t.Helper()
	parse := func(text string) []*topic.Template {
		tpl, err := topic.ParseFilterTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		return []*topic.Template{tpl}
	}
	b, err := broker.Start(t.Context(), broker.Options{
		Store: t.TempDir(), MaxBytes: 1 << 20, AckWait: 2 * time.Second, MaxUnacked: 1000,
		Devices: broker.Topics{Publish: []string{"d/+/up"}, Subscribe: []string{"d/+/down/#"}},
		Bridge:  broker.Topics{Publish: []string{"d/+/down/#"}, Subscribe: []string{"d/+/up"}},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s, err := front.New(front.Options{
		Limits: l, Publish: parse("d/{device}/up"), Subscribe: parse("d/{device}/down/#"),
		Dial: func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", b.Addr()) },
		User: b.Devices().Name, Password: b.Devices().Password,
		Gate: g, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Close()
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &served{addr: lis.Addr().String(), broker: b, server: s}
}

// device is a client that sends whatever it is told to.
type device struct {
	t *testing.T
	net.Conn
	in *packet.Reader
}

func (s *served) dial(t *testing.T) *device {
	t.Helper()
	return dial(t, s.addr)
}

func dial(t *testing.T, addr string) *device {
	t.Helper()
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &device{t: t, Conn: nc, in: packet.NewReader(nc, packet.Server)}
}

func (d *device) send(p packets.ControlPacket) {
	d.t.Helper()
	if err := p.Write(d); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) next() packets.ControlPacket {
	d.t.Helper()
	p, err := d.in.Next(1 << 20)
	if err != nil {
		d.t.Fatalf("reading: %v", err)
	}
	return p
}

// closed waits until the server has closed the connection.
func (d *device) closed() {
	d.t.Helper()
	p, err := d.in.Next(1 << 20)
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		d.t.Fatalf("the connection is open: %v %v", p, err)
	}
}

func connectPacket(id, password string) *packets.ConnectPacket {
	p := &packets.ConnectPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Connect}}
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", 4, true
	p.ClientIdentifier = id
	p.UsernameFlag, p.PasswordFlag, p.Password = true, true, []byte(password)
	return p
}

// login connects as a device.
func (s *served) login(t *testing.T, id string) *device {
	t.Helper()
	d := s.dial(t)
	d.send(connectPacket(id, "token of "+id))
	if ack, ok := d.next().(*packets.ConnackPacket); !ok || ack.ReturnCode != 0 {
		t.Fatalf("%s: %v", id, ack)
	}
	return d
}

func (d *device) ping() {
	d.t.Helper()
	d.send(packets.NewControlPacket(packets.Pingreq))
	if p := d.next(); p.String() == "" {
		d.t.Fatal(p)
	} else if _, ok := p.(*packets.PingrespPacket); !ok {
		d.t.Fatalf("got %s instead of PINGRESP", p)
	}
}

func publishPacket(name string, qos byte, id uint16, payload string) *packets.PublishPacket {
	p := &packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish}}
	p.TopicName, p.Qos, p.MessageID, p.Payload = name, qos, id, []byte(payload)
	return p
}

func subscribePacket(id uint16, filters ...string) *packets.SubscribePacket {
	p := &packets.SubscribePacket{FixedHeader: packets.FixedHeader{MessageType: packets.Subscribe, Qos: 1}}
	p.MessageID, p.Topics, p.Qoss = id, filters, bytes.Repeat([]byte{1}, len(filters))
	return p
}

func TestConnectAnswers(t *testing.T) {
	t.Parallel()
	g := &gate{}
	s := serve(t, g, limits())
	edit := func(id, password string, f func(*packets.ConnectPacket)) *packets.ConnectPacket {
		p := connectPacket(id, password)
		f(p)
		return p
	}
	tests := []struct {
		name   string
		packet *packets.ConnectPacket
		want   byte
	}{
		{"good", connectPacket("a", "token of a"), 0},
		{"an id is assigned", connectPacket("", "token of a"), 0},
		{"persistent session without id", edit("", "token of a", func(p *packets.ConnectPacket) { p.CleanSession = false }), 2},
		{"MQTT 5", edit("a", "token of a", func(p *packets.ConnectPacket) { p.ProtocolVersion = 5 }), 1},
		{"MQTT 3.1", edit("a", "token of a", func(p *packets.ConnectPacket) { p.ProtocolName, p.ProtocolVersion = "MQIsdp", 3 }), 1},
		{"somebody else's id", connectPacket("a", "token of b"), 2},
		{"the bridge's id", connectPacket("portico-bridge", "token of a"), 2},
		{"an odd device id", connectPacket("a.b", "token of a.b"), 2},
		{"a long device id", connectPacket(strings.Repeat("a", 65), "token of "+strings.Repeat("a", 65)), 2},
		{"bad token", connectPacket("a", "nonsense"), 4},
		{"empty password", connectPacket("a", ""), 5},
		{"nothing", edit("a", "", func(p *packets.ConnectPacket) { p.UsernameFlag, p.PasswordFlag = false, false }), 5},
		{"a will", edit("a", "token of a", func(p *packets.ConnectPacket) { p.WillFlag, p.WillTopic = true, "d/a/up" }), 5},
	}
	for _, tt := range tests {
		d := s.dial(t)
		d.send(tt.packet)
		ack, ok := d.next().(*packets.ConnackPacket)
		if !ok || ack.ReturnCode != tt.want {
			t.Errorf("%s: got %v, want code %d", tt.name, ack, tt.want)
		}
		if tt.want != 0 {
			d.closed()
		}
		_ = d.Close()
	}
	g.closed.Store(true)
	d := s.dial(t)
	d.send(connectPacket("a", "token of a"))
	if ack, ok := d.next().(*packets.ConnackPacket); !ok || ack.ReturnCode != 3 {
		t.Errorf("closed gate: got %v, want code 3", ack)
	}
}

func raw(t *testing.T, p packets.ControlPacket) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whatever comes instead of a CONNECT, or after it, closes that connection and disturbs nobody else.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := serve(t, &gate{}, limits())
	good := s.login(t, "good")

	before := map[string][]byte{
		"HTTP":                       []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"nothing":                    nil,
		"PINGREQ first":              {0xc0, 0},
		"CONNECT of 256 MB":          {0x10, 0xff, 0xff, 0xff, 0x7f},
		"length of five bytes":       {0x10, 0xff, 0xff, 0xff, 0xff, 0x01},
		"CONNECT above the limit":    raw(t, connectPacket("a", strings.Repeat("x", 2000))),
		"CONNECT cut off":            raw(t, connectPacket("a", "token of a"))[:20],
		"reserved type":              {0x00, 0},
		"CONNECT with flags":         append([]byte{0x11}, raw(t, connectPacket("a", "token of a"))[1:]...),
		"a server's packet":          {0x20, 2, 0, 0},
		"one byte":                   {0x10},
		"user name flag without one": {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 0, 0, 1, 'a'},
	}
	for name, b := range before {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := s.dial(t)
			if _, err := d.Write(b); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			d.closed()
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("closed after %s", took)
			}
		})
	}
	retained := publishPacket("d/x/up", 1, 1, "x")
	retained.Retain = true
	after := map[string][]byte{
		"second CONNECT":        raw(t, connectPacket("x", "token of x")),
		"QoS 3":                 {0x36, 7, 0, 1, 'a', 0, 1, 'x', 'x'},
		"QoS 2":                 raw(t, publishPacket("d/x/up", 2, 1, "x")),
		"retained":              raw(t, retained),
		"packet id 0":           raw(t, publishPacket("d/x/up", 1, 0, "x")),
		"empty topic":           raw(t, publishPacket("", 1, 1, "x")),
		"wildcard":              raw(t, publishPacket("d/+/up", 1, 1, "x")),
		"NUL":                   raw(t, publishPacket("d/x\x00/up", 1, 1, "x")),
		"bad UTF-8":             raw(t, publishPacket("d/\xff/up", 1, 1, "x")),
		"surrogate":             raw(t, publishPacket("d/\xed\xa0\x80/up", 1, 1, "x")),
		"$SYS":                  raw(t, publishPacket("$SYS/x", 1, 1, "x")),
		"somebody else's topic": raw(t, publishPacket("d/y/up", 1, 1, "x")),
		"a topic to read only":  raw(t, publishPacket("d/x/down", 1, 1, "x")),
		"many levels":           raw(t, publishPacket("d/x/up"+strings.Repeat("/a", 1000), 1, 1, "x")),
		"too large":             raw(t, publishPacket("d/x/up", 1, 1, strings.Repeat("x", 5000))),
		"truncated SUBSCRIBE":   {0x82, 4, 0, 1, 0, 9},
		"SUBSCRIBE of nothing":  {0x82, 2, 0, 1},
		"SUBSCRIBE with QoS 3":  {0x82, 6, 0, 1, 0, 1, 'a', 3},
		"SUBSCRIBE with flags":  {0x80, 6, 0, 1, 0, 1, 'a', 1},
		"UNSUBSCRIBE cut off":   {0xa2, 5, 0, 1, 0, 9, 'a'},
		"PUBREL":                {0x62, 2, 0, 1},
		"PINGREQ with a body":   {0xc0, 1, 0},
		"reserved type 15":      {0xf0, 0},
		"PUBLISH of 256 MB":     {0x32, 0xff, 0xff, 0xff, 0x7f},
	}
	i := 0
	for name, b := range after {
		id := string(rune('A' + i)) // of one byte, like the x that it replaces
		i++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := s.login(t, id)
			if _, err := d.Write(bytes.ReplaceAll(b, []byte("d/x/"), []byte("d/" + id + "/")[:4])); err != nil {
				t.Fatal(err)
			}
			d.closed()
		})
	}
	t.Cleanup(func() {
		good.ping()
		good.send(publishPacket("d/good/up", 1, 7, "x"))
		if ack, ok := good.next().(*packets.PubackPacket); !ok || ack.MessageID != 7 {
			t.Errorf("the other device got %v", ack)
		}
	})
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	s := serve(t, &gate{}, limits())
	d := s.login(t, "a")
	tests := []struct {
		filters []string
		want    []byte
	}{
		{[]string{"d/b/down"}, []byte{0x80}},
		{[]string{"#", "d/a/down/x", "d/+/down/x", "$SYS/#"}, []byte{0x80, 1, 0x80, 0x80}},
		{[]string{"d/a/down/#", "d/a/up", "d/a/down"}, []byte{1, 0x80, 1}},
		{[]string{"d/a/down/one-too-many", "d/a/down"}, []byte{0x80, 1}},
		{[]string{"d/a/down#", "d/a/+x", "d//down", "$share/g/d/a/down", "d/a/down/ ", "d/a/down/.", "d/a/down/>"}, bytes.Repeat([]byte{0x80}, 7)},
		{[]string{"d/a/down/" + strings.Repeat("x/", 300)}, []byte{0x80}},
	}
	for i, tt := range tests {
		d.send(subscribePacket(uint16(i+1), tt.filters...))
		ack, ok := d.next().(*packets.SubackPacket)
		if !ok || int(ack.MessageID) != i+1 {
			t.Fatalf("%q: got %v", tt.filters, ack)
		}
		if diff := cmp.Diff(tt.want, ack.ReturnCodes); diff != "" {
			t.Errorf("%q: %s", tt.filters, diff)
		}
	}
	un := &packets.UnsubscribePacket{FixedHeader: packets.FixedHeader{MessageType: packets.Unsubscribe, Qos: 1}}
	for _, filters := range [][]string{{"d/a/down"}, {"never/had", "not a filter#"}, {"not a filter#"}} {
		un.MessageID++
		un.Topics = filters
		d.send(un)
		if ack, ok := d.next().(*packets.UnsubackPacket); !ok || ack.MessageID != un.MessageID {
			t.Errorf("%q: got %v", filters, ack)
		}
	}
	d.send(subscribePacket(99, "d/a/down/again"))
	if ack, ok := d.next().(*packets.SubackPacket); !ok || ack.ReturnCodes[0] != 1 {
		t.Errorf("after an unsubscription: got %v", ack)
	}
}

// A device receives what is published to its topics, also what came while it was away, and its PUBACK ends that.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s := serve(t, &gate{}, limits())
	login := func() (*device, *packets.ConnackPacket) {
		d := s.dial(t)
		p := connectPacket("a", "token of a")
		p.CleanSession = false
		d.send(p)
		ack, ok := d.next().(*packets.ConnackPacket)
		if !ok || ack.ReturnCode != 0 {
			t.Fatal(ack)
		}
		return d, ack
	}
	d, ack := login()
	if ack.SessionPresent {
		t.Error("there is a session before the first")
	}
	d.send(subscribePacket(1, "d/a/down"))
	d.next()
	d.send(packets.NewControlPacket(packets.Disconnect))
	d.closed()

	b := dial(t, s.broker.Addr())
	p := connectPacket("bridge", s.broker.Bridge().Password)
	p.Username = s.broker.Bridge().Name
	b.send(p)
	b.next()
	b.send(publishPacket("d/a/down", 1, 5, "hello"))
	if _, ok := b.next().(*packets.PubackPacket); !ok {
		t.Fatal("no PUBACK")
	}
	for round := range 2 {
		d, ack = login()
		if !ack.SessionPresent {
			t.Error("the session is gone")
		}
		if round == 1 {
			break
		}
		m, ok := d.next().(*packets.PublishPacket)
		if !ok || string(m.Payload) != "hello" || m.TopicName != "d/a/down" || m.Qos != 1 {
			t.Fatalf("got %v", m)
		}
		puback := &packets.PubackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Puback}}
		puback.MessageID = m.MessageID
		d.send(puback)
		d.ping()
		_ = d.Close()
	}
	d.ping() // and nothing before the answer: the message is not delivered again
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := serve(t, &gate{}, limits())
	first := s.login(t, "a")
	thief := s.dial(t)
	thief.send(connectPacket("a", "token of b"))
	thief.next()
	thief.closed()
	first.ping()
	second := s.login(t, "a")
	first.closed()
	second.ping()
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := serve(t, &gate{}, limits())
	d := s.dial(t)
	d.send(connectPacket("a", "short token of a"))
	d.next()
	d.ping()
	started := time.Now()
	d.closed()
	if took := time.Since(started); took > time.Second {
		t.Errorf("disconnected after %s, the token was good for 300ms", took)
	}
}

func TestKeepalive(t *testing.T) {
	t.Parallel()
	l := limits()
	l.Keepalive = time.Second
	s := serve(t, &gate{}, l)
	d := s.dial(t)
	d.send(connectPacket("a", "token of a")) // asks for none, gets one second
	d.next()
	time.Sleep(time.Second)
	d.ping()
	started := time.Now()
	d.closed()
	if took := time.Since(started); took < time.Second || took > 3*time.Second {
		t.Errorf("disconnected after %s of silence, expected 1.5s", took)
	}
}

// Limits slow a device down, and disconnect it if that does not help.
func TestThrottle(t *testing.T) {
	t.Parallel()
	var refuse atomic.Int64
	g := &gate{admit: func() error {
		if refuse.Add(-1) >= 0 {
			return fault.New(codes.ResourceExhausted, "slowly", fault.WithRetryAfter(200*time.Millisecond))
		}
		return nil
	}}
	s := serve(t, g, limits())
	d := s.login(t, "a")
	refuse.Store(2)
	started := time.Now()
	d.send(publishPacket("d/a/up", 1, 1, "x"))
	if _, ok := d.next().(*packets.PubackPacket); !ok {
		t.Error("no PUBACK")
	}
	if took := time.Since(started); took < 400*time.Millisecond {
		t.Errorf("acknowledged after %s, expected 400ms", took)
	}
	g2 := &gate{admit: func() error {
		return fault.New(codes.ResourceExhausted, "no more", fault.WithRetryAfter(time.Hour))
	}}
	d = serve(t, g2, limits()).login(t, "a")
	d.send(publishPacket("d/a/up", 1, 1, "x"))
	d.closed()

	l := limits()
	l.Rate, l.Burst = rate.Limit(10), 1
	d = serve(t, &gate{}, l).login(t, "a")
	started = time.Now()
	for i := range 6 {
		d.send(publishPacket("d/a/up", 1, uint16(i+1), "x"))
	}
	for range 6 {
		d.next()
	}
	if took := time.Since(started); took < 450*time.Millisecond {
		t.Errorf("6 messages took %s at 10 a second", took)
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	l := limits()
	l.Connections = 1
	s := serve(t, &gate{}, l)
	d := s.login(t, "a")
	other := s.dial(t)
	if _, err := io.ReadAll(other); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	d.ping()
}
