package packet

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// decode makes the packet of a header and a body that is complete.
func decode(head packets.FixedHeader, body []byte) (packets.ControlPacket, error) {
	c := &cursor{b: body}
	var p packets.ControlPacket
	switch head.MessageType {
	case packets.Connect:
		p = c.connect(head)
	case packets.Connack:
		p = c.connack(head)
	case packets.Publish:
		p = c.publish(head)
	case packets.Puback:
		p = &packets.PubackPacket{FixedHeader: head, MessageID: c.id()}
	case packets.Pubrec:
		p = &packets.PubrecPacket{FixedHeader: head, MessageID: c.id()}
	case packets.Pubrel:
		p = &packets.PubrelPacket{FixedHeader: head, MessageID: c.id()}
	case packets.Pubcomp:
		p = &packets.PubcompPacket{FixedHeader: head, MessageID: c.id()}
	case packets.Subscribe:
		p = c.subscribe(head)
	case packets.Suback:
		p = c.suback(head)
	case packets.Unsubscribe:
		p = c.unsubscribe(head)
	case packets.Unsuback:
		p = &packets.UnsubackPacket{FixedHeader: head, MessageID: c.id()}
	case packets.Pingreq:
		p = &packets.PingreqPacket{FixedHeader: head}
	case packets.Pingresp:
		p = &packets.PingrespPacket{FixedHeader: head}
	case packets.Disconnect:
		p = &packets.DisconnectPacket{FixedHeader: head}
	}
	if c.err == nil && len(c.b) > 0 {
		c.fail("%d bytes too many", len(c.b))
	}
	if c.err != nil {
		return nil, c.err
	}
	return p, nil
}

// cursor takes fields from the front of b. After the first error it yields zero values.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	c.b = nil
}

func (c *cursor) take(n int, what string) []byte {
	if len(c.b) < n {
		c.fail("%s is cut off", what)
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte(what string) byte {
	if b := c.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16(what string) uint16 {
	if b := c.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// id takes a packet identifier, which is never 0 (section 2.3.1).
func (c *cursor) id() uint16 {
	id := c.uint16("packet identifier")
	if id == 0 {
		c.fail("packet identifier 0")
	}
	return id
}

func (c *cursor) bytes(what string) []byte {
	n := c.uint16(what)
	return c.take(int(n), what)
}

// string takes a string: UTF-8 without NUL (section 1.5.3). utf8.Valid refuses surrogates.
func (c *cursor) string(what string) string {
	b := c.bytes(what)
	if !utf8.Valid(b) {
		c.fail("%s is no UTF-8", what)
		return ""
	}
	s := string(b)
	if strings.ContainsRune(s, 0) {
		c.fail("%s contains NUL", what)
		return ""
	}
	return s
}

// filter takes a topic filter, which is never empty (section 4.7.3). Whether its wildcards are right is for the ACL.
func (c *cursor) filter() string {
	s := c.string("topic filter")
	if s == "" {
		c.fail("an empty topic filter")
	}
	return s
}

func (c *cursor) connect(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.ConnectPacket{FixedHeader: head}
	p.ProtocolName = c.string("protocol name")
	p.ProtocolVersion = c.byte("protocol level")
	if c.err == nil && (p.ProtocolName != "MQTT" || p.ProtocolVersion != 4) {
		c.err = fmt.Errorf("%w: %.16q level %d, expected MQTT 3.1.1", ErrVersion, p.ProtocolName, p.ProtocolVersion)
		return p
	}
	flags := c.byte("connect flags")
	p.CleanSession = flags&0x02 != 0
	p.WillFlag = flags&0x04 != 0
	p.WillQos = flags >> 3 & 3
	p.WillRetain = flags&0x20 != 0
	p.PasswordFlag = flags&0x40 != 0
	p.UsernameFlag = flags&0x80 != 0
	switch {
	case flags&0x01 != 0:
		c.fail("the reserved connect flag is set")
	case p.WillQos == 3, !p.WillFlag && (p.WillQos != 0 || p.WillRetain):
		c.fail("connect flags %08b", flags)
	case p.PasswordFlag && !p.UsernameFlag:
		c.fail("a password without a user name")
	}
	p.Keepalive = c.uint16("keep alive")
	p.ClientIdentifier = c.string("client identifier")
	if p.WillFlag {
		p.WillTopic = c.string("will topic")
		p.WillMessage = c.bytes("will message")
	}
	if p.UsernameFlag {
		p.Username = c.string("user name")
	}
	if p.PasswordFlag {
		p.Password = c.bytes("password")
	}
	return p
}

func (c *cursor) connack(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.ConnackPacket{FixedHeader: head}
	flags := c.byte("flags")
	p.ReturnCode = c.byte("return code")
	p.SessionPresent = flags == 1
	if flags > 1 || flags == 1 && p.ReturnCode != 0 {
		c.fail("flags %08b with return code %d", flags, p.ReturnCode)
	}
	return p
}

func (c *cursor) publish(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.PublishPacket{FixedHeader: head}
	p.TopicName = c.string("topic")
	if c.err == nil && (p.TopicName == "" || strings.ContainsAny(p.TopicName, "+#")) {
		c.fail("topic %.64q", p.TopicName)
	}
	if head.Qos > 0 {
		p.MessageID = c.id()
	}
	p.Payload = c.take(len(c.b), "payload")
	return p
}

func (c *cursor) subscribe(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.SubscribePacket{FixedHeader: head, MessageID: c.id()}
	for first := true; c.err == nil && (first || len(c.b) > 0); first = false {
		filter := c.filter()
		qos := c.byte("requested QoS")
		if qos > 2 {
			c.fail("requested QoS %d", qos)
		}
		p.Topics = append(p.Topics, filter)
		p.Qoss = append(p.Qoss, qos)
	}
	return p
}

func (c *cursor) suback(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.SubackPacket{FixedHeader: head, MessageID: c.id()}
	if len(c.b) == 0 {
		c.fail("no return codes")
	}
	for _, code := range c.b {
		if code > 2 && code != 0x80 {
			c.fail("return code %d", code)
			return p
		}
	}
	p.ReturnCodes = c.take(len(c.b), "return codes")
	return p
}

func (c *cursor) unsubscribe(head packets.FixedHeader) packets.ControlPacket {
	p := &packets.UnsubscribePacket{FixedHeader: head, MessageID: c.id()}
	for first := true; c.err == nil && (first || len(c.b) > 0); first = false {
		p.Topics = append(p.Topics, c.filter())
	}
	return p
}
