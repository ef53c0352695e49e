// Package packet reads MQTT 3.1.1 control packets from a peer that is not trusted: strictly, and with bounded
// memory. The packets are those of paho's packets package, which writes them but is too lax to read them.
//
// A [Reader] claims no more memory than its limits allow, whatever lengths the peer claims; accepts exactly the flags
// that section 2.2.2 of the specification gives each type; wants the fields of a packet to end where the packet ends;
// and wants strings to be UTF-8 without NUL (section 1.5.3). What a packet means, and whether it may be sent at that
// point, is the caller's concern.
package packet

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Errors of a [Reader], to be found with errors.Is. Any other error is the connection's.
var (
	// ErrMalformed is a packet that breaks the specification.
	ErrMalformed = errors.New("malformed packet")
	// ErrTooLarge is a packet above the limit.
	ErrTooLarge = errors.New("packet too large")
	// ErrVersion is a CONNECT of another protocol than MQTT 3.1.1.
	ErrVersion = errors.New("unsupported protocol version")
	// ErrUnexpected is a packet that this side never sends.
	ErrUnexpected = errors.New("unexpected packet")
)

// Side is who sends the packets that are read.
type Side int

// The sides of a connection.
const (
	Client Side = iota
	Server
)

// Reader reads packets. It must not be used by two goroutines at once.
type Reader struct {
	r    *bufio.Reader
	side Side
}

// NewReader returns a reader of the packets that side sends through r.
func NewReader(r io.Reader, side Side) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 1<<10), side: side}
}

// Next reads the next packet, whose remaining length may be limit bytes at the most. It returns io.EOF if the
// connection ends between two packets, and io.ErrUnexpectedEOF if it ends within one. The caller owns the packet.
func (r *Reader) Next(limit int) (packets.ControlPacket, error) {
	first, err := r.r.ReadByte()
	if err != nil {
		return nil, err
	}
	head := packets.FixedHeader{
		MessageType: first >> 4,
		Dup:         first&8 != 0,
		Qos:         first >> 1 & 3,
		Retain:      first&1 != 0,
	}
	if err := r.checkHead(head, first&15); err != nil {
		return nil, err
	}
	if head.RemainingLength, err = r.length(); err != nil {
		return nil, err
	}
	if head.RemainingLength > limit {
		return nil, fmt.Errorf("%w: %s of %d bytes, at most %d are allowed", ErrTooLarge,
			packets.PacketNames[head.MessageType], head.RemainingLength, limit)
	}
	if fixed, ok := fixedLength(head.MessageType); ok && head.RemainingLength != fixed {
		return nil, fmt.Errorf("%w: %s of %d bytes", ErrMalformed, packets.PacketNames[head.MessageType],
			head.RemainingLength)
	}
	body := make([]byte, head.RemainingLength)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return nil, unexpected(err)
	}
	p, err := decode(head, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", packets.PacketNames[head.MessageType], err)
	}
	return p, nil
}

// checkHead checks the type and its flags (section 2.2.2), before anything more is read.
func (r *Reader) checkHead(head packets.FixedHeader, flags byte) error {
	name, known := packets.PacketNames[head.MessageType]
	if !known {
		return fmt.Errorf("%w: reserved type %d", ErrMalformed, head.MessageType)
	}
	if !sentBy(head.MessageType, r.side) {
		return fmt.Errorf("%w: %s", ErrUnexpected, name)
	}
	switch head.MessageType {
	case packets.Publish:
		if head.Qos == 3 || head.Qos == 0 && head.Dup {
			return fmt.Errorf("%w: PUBLISH with flags %04b", ErrMalformed, flags)
		}
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if flags != 2 {
			return fmt.Errorf("%w: %s with flags %04b", ErrMalformed, name, flags)
		}
	default:
		if flags != 0 {
			return fmt.Errorf("%w: %s with flags %04b", ErrMalformed, name, flags)
		}
	}
	return nil
}

// sentBy reports whether side sends packets of the type (section 2.2.1).
func sentBy(kind byte, side Side) bool {
	switch kind {
	case packets.Connect, packets.Subscribe, packets.Unsubscribe, packets.Pingreq, packets.Disconnect:
		return side == Client
	case packets.Connack, packets.Suback, packets.Unsuback, packets.Pingresp:
		return side == Server
	default:
		return true
	}
}

// fixedLength is the remaining length of the types that have but one.
func fixedLength(kind byte) (int, bool) {
	switch kind {
	case packets.Pingreq, packets.Pingresp, packets.Disconnect:
		return 0, true
	case packets.Connack, packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp, packets.Unsuback:
		return 2, true
	default:
		return 0, false
	}
}

// length reads the remaining length: at most four bytes (section 2.2.3).
func (r *Reader) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: remaining length of more than four bytes", ErrMalformed)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
