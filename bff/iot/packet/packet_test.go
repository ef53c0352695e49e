package packet_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/iot/packet"
)

func TestAccepts(t *testing.T) {
	t.Parallel()
	connect := &packets.ConnectPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Connect}}
	connect.ProtocolName, connect.ProtocolVersion, connect.Keepalive, connect.ClientIdentifier = "MQTT", 4, 30, "box-1"
	connect.UsernameFlag, connect.Username, connect.PasswordFlag, connect.Password = true, "u", true, []byte("p")
	connect.WillFlag, connect.WillTopic, connect.WillMessage, connect.WillQos, connect.WillRetain = true, "w", []byte("gone"), 1, true
	publish := &packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish}}
	publish.TopicName, publish.Qos, publish.MessageID, publish.Payload, publish.Dup = "a/ü", 1, 65535, bytes.Repeat([]byte("x"), 300), true
	subscribe := &packets.SubscribePacket{FixedHeader: packets.FixedHeader{MessageType: packets.Subscribe, Qos: 1}}
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{"a/+", "#"}, []byte{0, 2}
	unsubscribe := &packets.UnsubscribePacket{FixedHeader: packets.FixedHeader{MessageType: packets.Unsubscribe, Qos: 1}}
	unsubscribe.MessageID, unsubscribe.Topics = 2, []string{"a/+", "#"}
	connack := &packets.ConnackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Connack}}
	connack.SessionPresent = true
	suback := &packets.SubackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Suback}}
	suback.MessageID, suback.ReturnCodes = 3, []byte{0, 1, 2, 0x80}
	puback := &packets.PubackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Puback}}
	puback.MessageID = 4
	for _, tt := range []struct {
		side packet.Side
		p    packets.ControlPacket
	}{
		{packet.Client, connect},
		{packet.Client, publish},
		{packet.Server, publish},
		{packet.Client, subscribe},
		{packet.Client, unsubscribe},
		{packet.Client, puback},
		{packet.Client, packets.NewControlPacket(packets.Pingreq)},
		{packet.Client, packets.NewControlPacket(packets.Disconnect)},
		{packet.Server, connack},
		{packet.Server, suback},
		{packet.Server, packets.NewControlPacket(packets.Pingresp)},
	} {
		var b bytes.Buffer
		if err := tt.p.Write(&b); err != nil {
			t.Fatal(err)
		}
		encoded := bytes.Clone(b.Bytes())
		got, err := packet.NewReader(&b, tt.side).Next(1 << 10)
		if err != nil {
			t.Errorf("%s: %v", tt.p, err)
			continue
		}
		if diff := cmp.Diff(tt.p, got); diff != "" {
			t.Errorf("%s: %s", tt.p, diff)
		}
		// Cut off anywhere, it is no packet.
		for n := 1; n < len(encoded); n++ {
			if p, err := packet.NewReader(bytes.NewReader(encoded[:n]), tt.side).Next(1 << 10); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut off after %d bytes: %v, %v", tt.p, n, p, err)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"type 0", []byte{0x00, 0}, packet.ErrMalformed},
		{"type 15", []byte{0xf0, 0}, packet.ErrMalformed},
		{"a server's packet", []byte{0x20, 2, 0, 0}, packet.ErrUnexpected},
		{"length of five bytes", []byte{0xc0, 0x80, 0x80, 0x80, 0x80, 0x00}, packet.ErrMalformed},
		{"length above the limit", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, packet.ErrTooLarge},
		{"length cut off", []byte{0x30, 0xff}, io.ErrUnexpectedEOF},
		{"nothing", nil, io.EOF},
		{"PINGREQ with a body", []byte{0xc0, 1, 0}, packet.ErrMalformed},
		{"PINGREQ with flags", []byte{0xc1, 0}, packet.ErrMalformed},
		{"PUBACK with three bytes", []byte{0x40, 3, 0, 1, 0}, packet.ErrMalformed},
		{"PUBACK with id 0", []byte{0x40, 2, 0, 0}, packet.ErrMalformed},
		{"PUBREL without its flag", []byte{0x60, 2, 0, 1}, packet.ErrMalformed},
		{"PUBLISH with QoS 3", []byte{0x36, 5, 0, 1, 'a', 0, 1}, packet.ErrMalformed},
		{"PUBLISH with QoS 0 and DUP", []byte{0x38, 3, 0, 1, 'a'}, packet.ErrMalformed},
		{"PUBLISH without id", []byte{0x32, 3, 0, 1, 'a'}, packet.ErrMalformed},
		{"PUBLISH with id 0", []byte{0x32, 5, 0, 1, 'a', 0, 0}, packet.ErrMalformed},
		{"PUBLISH without topic", []byte{0x30, 2, 0, 0}, packet.ErrMalformed},
		{"PUBLISH to a wildcard", []byte{0x30, 3, 0, 1, '#'}, packet.ErrMalformed},
		{"PUBLISH with a topic cut off", []byte{0x30, 3, 0, 9, 'a'}, packet.ErrMalformed},
		{"NUL", []byte{0x30, 3, 0, 1, 0}, packet.ErrMalformed},
		{"bad UTF-8", []byte{0x30, 3, 0, 1, 0xff}, packet.ErrMalformed},
		{"surrogate", []byte{0x30, 5, 0, 3, 0xed, 0xa0, 0x80}, packet.ErrMalformed},
		{"overlong UTF-8", []byte{0x30, 4, 0, 2, 0xc0, 0xaf}, packet.ErrMalformed},
		{"SUBSCRIBE without flags", []byte{0x80, 6, 0, 1, 0, 1, 'a', 0}, packet.ErrMalformed},
		{"SUBSCRIBE of nothing", []byte{0x82, 2, 0, 1}, packet.ErrMalformed},
		{"SUBSCRIBE with QoS 3", []byte{0x82, 6, 0, 1, 0, 1, 'a', 3}, packet.ErrMalformed},
		{"SUBSCRIBE with reserved bits", []byte{0x82, 6, 0, 1, 0, 1, 'a', 0x81}, packet.ErrMalformed},
		{"SUBSCRIBE without QoS", []byte{0x82, 5, 0, 1, 0, 1, 'a'}, packet.ErrMalformed},
		{"SUBSCRIBE to an empty filter", []byte{0x82, 5, 0, 1, 0, 0, 1}, packet.ErrMalformed},
		{"UNSUBSCRIBE of nothing", []byte{0xa2, 2, 0, 1}, packet.ErrMalformed},
		{"CONNECT of MQTT 5", []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0}, packet.ErrVersion},
		{"CONNECT of MQTT 3.1", []byte{0x10, 14, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 0}, packet.ErrVersion},
		{"CONNECT of HTTP", []byte{0x10, 12, 0, 4, 'H', 'T', 'T', 'P', 4, 2, 0, 0, 0, 0}, packet.ErrVersion},
		{"CONNECT with the reserved flag", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0}, packet.ErrMalformed},
		{"CONNECT with will flags alone", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x22, 0, 0, 0, 0}, packet.ErrMalformed},
		{"CONNECT with will QoS 3", []byte{0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x1e, 0, 0, 0, 0, 0, 0, 0, 0}, packet.ErrMalformed},
		{"CONNECT with a password alone", []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x42, 0, 0, 0, 0, 0, 0}, packet.ErrMalformed},
		{"CONNECT with more behind", []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0, 0}, packet.ErrMalformed},
		{"CONNECT cut off within", []byte{0x10, 6, 0, 4, 'M', 'Q', 'T', 'T'}, packet.ErrMalformed},
	} {
		p, err := packet.NewReader(bytes.NewReader(tt.in), packet.Client).Next(1 << 10)
		if !errors.Is(err, tt.want) || p != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.name, p, err, tt.want)
		}
	}
}

// FuzzReader: reading never panics and never takes more memory than a small multiple of the limit, however much the
// bytes claim; and what it accepts, paho encodes to bytes that read as the same packet.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0}, false)
	f.Add([]byte{0x32, 6, 0, 1, 'a', 0, 1, 'x', 0xc0, 0}, false)
	f.Add([]byte{0x82, 6, 0, 1, 0, 1, 'a', 1, 0xa2, 5, 0, 1, 0, 1, 'a', 0xe0, 0}, false)
	f.Add([]byte{0x90, 3, 0, 1, 0x80, 0x20, 2, 1, 0}, true)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, false)
	f.Fuzz(func(t *testing.T, in []byte, server bool) {
		side := packet.Client
		if server {
			side = packet.Server
		}
		const limit = 1 << 10
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := packet.NewReader(bytes.NewReader(in), side)
		var read []packets.ControlPacket
		for {
			p, err := r.Next(limit)
			if err != nil {
				break
			}
			read = append(read, p)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+uint64(len(in))*64+limit {
			t.Errorf("%d bytes were allocated for %d bytes", used, len(in))
		}
		for _, p := range read {
			var b bytes.Buffer
			if err := p.Write(&b); err != nil {
				t.Fatal(err)
			}
			again, err := packet.NewReader(&b, side).Next(limit + 8)
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			if diff := cmp.Diff(p, again); diff != "" {
				t.Errorf("%s: %s", p, diff)
			}
		}
	})
}
