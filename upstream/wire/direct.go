package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The functions that render directly write at an index of a buffer of full length, and return both: the buffer may have
// moved. Where they cannot go on, because of an irregular message or one that is not valid, the index is negative; what
// is wrong with it is found out by index.

// errIndirect says that a message has to be rendered in another way.
var errIndirect = errors.New("cannot be rendered directly")

// how says what is taken for granted of the messages that are rendered.
type how uint8

const (
	inOrder  how = iota // fields come in the order of their numbers, each in one piece
	anyOrder            // each comes in one piece
	indexed             // nothing
)

// directly appends a message as a JSON value.
func (s *render) directly(p *program, msg []byte, depth int) error {
	if len(msg) > math.MaxInt32 {
		return errIndirect
	}
	outer := s.msg
	s.msg = msg
	b, n := s.direct(s.out[:cap(s.out)], len(s.out), p, 0, len(msg), depth)
	s.msg = outer
	if n < 0 {
		return errIndirect
	}
	s.out = b[:n]
	return nil
}

// detour writes a message in the other way: that of its own form, or by an index.
func (s *render) detour(b []byte, n int, p *program, at, stop, depth int) ([]byte, int) {
	s.out = b[:n]
	if err := s.message(p, s.msg[at:stop], depth); err != nil {
		return b, -1
	}
	return s.out[:cap(s.out)], len(s.out)
}

// direct writes the message between at and end as a JSON value. It is the loop that most of the time is spent in, and does
// for the common fields what [render.member] does for all.
func (s *render) direct(b []byte, n int, p *program, at, end, depth int) ([]byte, int) {
	d := p.direct
	if d == nil || d.anyOrder || s.how != inOrder || depth <= 0 {
		return s.indirect(b, n, p, at, end, depth)
	}
	msg, start := s.msg, n
	expected, oneofs := d.first, uint64(0)
	for at < end {
		first := at
		tag := uint64(msg[at])
		at++
		if tag >= 0x80 {
			if tag, at = longTag(msg, tag, at, end); at < 0 {
				return b, -1
			}
		}
		m := expected
		if m.tag != tag {
			m = d.find(tag >> 3)
			if m == nil || m.place == 0 || m.tag != tag && !m.packs(tag) {
				if m != nil && m.tag == tag {
					if oneofs&m.oneof != 0 {
						return b, -1
					}
					oneofs |= m.oneof
				}
				if at = skip(msg, at, end, tag); at < 0 {
					return b, -1
				}
				continue
			}
			if m.place < expected.place {
				return b, -1
			}
		}
		if oneofs&m.oneof != 0 {
			return b, -1
		}
		oneofs |= m.oneof
		expected = m.next
		if m.list {
			if b, n, at = s.directLists(b, n, m, first, end, depth-1); n < 0 {
				return b, n
			}
			continue
		}
		if at >= end {
			return b, -1
		}
		size := int(msg[at])
		if size >= 0x80 || m.rare {
			if b, n, at = s.member(b, n, m, at, end, depth-1); n < 0 {
				return b, n
			}
			continue
		}
		at++
		if size == 0 && m.omit {
			continue
		}
		if len(b)-n < slack+m.size+size {
			b = grow(b, n, slack+m.size+size)
		}
		*(*[nameRoom]byte)(b[n:]) = m.name
		w := n + m.size
		if m.op < opText {
			b, n = s.putScalar(b, w, &m.value, uint64(size))
			continue
		}
		stop := at + size
		if stop > end {
			return b, -1
		}
		switch m.op {
		case opText:
			b, n = putText(b, w, msg, at, stop)
		case opMessage:
			b, n = s.direct(b, w, m.sub, at, stop, depth-1)
		default:
			b, n = s.putMessage(b, w, &m.value, at, stop, depth-1)
		}
		if n < 0 {
			return b, n
		}
		at = stop
	}
	if n > start && n < len(b) {
		b[start], b[n] = '{', '}'
		return b, n + 1
	}
	return closed(b, start, n)
}

// closed puts brackets around the members that were written, each after a comma.
func closed(b []byte, start, n int) ([]byte, int) {
	if len(b)-n < slack {
		b = grow(b, n, slack)
	}
	if n == start {
		b[n], b[n+1] = '{', '}'
		return b, n + 2
	}
	b[start], b[n] = '{', '}'
	return b, n + 1
}

// indirect writes a message that [render.direct] does not take.
func (s *render) indirect(b []byte, n int, p *program, at, end, depth int) ([]byte, int) {
	if p.direct == nil {
		return s.detour(b, n, p, at, end, depth)
	}
	if depth <= 0 {
		return b, -1
	}
	start := n
	if b, n = s.located(b, n, p, at, end, depth-1); n < 0 {
		return b, n
	}
	return closed(b, start, n)
}

// located finds the members of a message and writes them, each with a comma before it.
func (s *render) located(b []byte, n int, p *program, at, end, depth int) ([]byte, int) {
	base := s.locate(p.direct, len(p.outputs), at, end)
	if base < 0 {
		return b, -1
	}
	for i := range p.outputs {
		m := &p.direct.members[i]
		at := int(s.places[base+i]) - 1
		switch {
		case at < 0:
			if m.o.zero != nil {
				out := append(append(b[:n], m.o.next...), m.o.zero...)
				b, n = out[:cap(out)], len(out)
			}
			continue
		case m.list:
			b, n, _ = s.directLists(b, n, m, at, end, depth)
		default:
			_, at = varint(s.msg, at, end)
			b, n, _ = s.member(b, n, m, at, end, depth)
		}
		if n < 0 {
			return b, n
		}
	}
	s.places = s.places[:base]
	return b, n
}

// putName writes a comma, a name and a colon, and makes room for what follows.
func putName(b []byte, n int, m *member) ([]byte, int) {
	if len(b)-n < slack+m.size {
		b = grow(b, n, slack+m.size)
	}
	*(*[nameRoom]byte)(b[n:]) = m.name
	if m.size > nameRoom {
		copy(b[n:], m.o.next)
	}
	return b, n + m.size
}

func (s *render) directLists(b []byte, n int, m *member, at, end, depth int) ([]byte, int, int) {
	b, w := putName(b, n, m)
	var to int
	if m.op == opMap {
		b, to, at = s.directMap(b, w, m, at, end, depth)
	} else {
		b, to, at = s.directList(b, w, m, at, end, depth)
	}
	switch {
	case to != w:
		return b, to, at
	case m.omit:
		return b, n, at
	}
	b[w], b[w+1] = '[', ']'
	return b, w + 2, at
}

// member writes a singular field, and returns what follows it in the message.
func (s *render) member(b []byte, n int, m *member, at, end, depth int) ([]byte, int, int) {
	b, w := putName(b, n, m)
	if m.op < opText {
		var bits uint64
		if bits, at = m.bits(s.msg, at, end); at < 0 {
			return b, -1, 0
		}
		if bits == 0 && m.omit {
			return b, n, at
		}
		b, n = s.putScalar(b, w, &m.value, bits)
		return b, n, at
	}
	at, stop := content(s.msg, at, end)
	if at < 0 {
		return b, -1, 0
	}
	switch m.op {
	case opMessage:
		b, n = s.direct(b, w, m.sub, at, stop, depth)
	case opText:
		if at < stop || !m.omit {
			b, n = putText(b, w, s.msg, at, stop)
		}
	case opBytes:
		if at < stop || !m.omit {
			b, n = putBytes(b, w, s.msg[at:stop])
		}
	default:
		b, n = s.putMessage(b, w, &m.value, at, stop, depth)
	}
	return b, n, stop
}

// bits reads the scalar at a position, and returns what follows it; a negative position if it is malformed.
func (v *value) bits(msg []byte, at, end int) (uint64, int) {
	var raw uint64
	switch v.f.wire {
	case protowire.Fixed64Type:
		if end-at < 8 {
			return 0, -1
		}
		return binary.LittleEndian.Uint64(msg[at:]), at + 8
	case protowire.Fixed32Type:
		if end-at < 4 {
			return 0, -1
		}
		raw = uint64(binary.LittleEndian.Uint32(msg[at:]))
		at += 4
	default:
		if raw, at = varint(msg, at, end); at < 0 {
			return 0, -1
		}
	}
	if v.zigzag || raw >= 1<<31 {
		raw = decodeBits(v.f.kind, raw)
	}
	return raw, at
}

// varint reads the varint at a position, and returns what follows it; a negative position if it is malformed.
func varint(msg []byte, at, end int) (uint64, int) {
	var v uint64
	for shift := 0; at < end && shift < 64; shift += 7 {
		c := uint64(msg[at])
		at++
		v |= c & 0x7f << shift
		if c < 0x80 {
			if shift == 63 && c > 1 {
				break
			}
			return v, at
		}
	}
	return 0, -1
}

// content finds where the content of the bytes, string or message at a position begins and stops; the first is negative
// if it is malformed.
func content(msg []byte, at, end int) (start, stop int) {
	if at >= end {
		return -1, 0
	}
	size := uint64(msg[at])
	at++
	if size >= 0x80 {
		if size, at = varint(msg, at-1, end); at < 0 {
			return -1, 0
		}
	}
	if size > uint64(end-at) {
		return -1, 0
	}
	return at, at + int(size)
}

// longTag reads the rest of a tag after its first byte, and returns what follows it; a negative position if it is
// malformed.
func longTag(msg []byte, first uint64, at, end int) (uint64, int) {
	if at < end && msg[at] < 0x80 {
		return first - 0x80 + uint64(msg[at])<<7, at + 1
	}
	tag, at := varint(msg, at-1, end)
	if tag > math.MaxUint32 {
		return 0, -1
	}
	return tag, at
}

// skip returns what follows the value at a position; a negative position if it is malformed.
func skip(msg []byte, at, end int, tag uint64) int {
	if tag < 8 || tag > math.MaxUint32 {
		return -1
	}
	switch protowire.Type(tag & 7) {
	case protowire.BytesType:
		start, stop := content(msg, at, end)
		if start < 0 {
			return -1
		}
		return stop
	case protowire.VarintType:
		_, at = varint(msg, at, end)
		return at
	default:
		stop, _, _ := valueEnd(msg[:end], at, protowire.Number(tag>>3), protowire.Type(tag&7))
		return stop
	}
}

// locate notes where the members of a message are. It returns the index of the first in s.places, which holds positions
// from 1, and 0 for what is missing; -1 if there is an error.
func (s *render) locate(d *direct, members, at, end int) int {
	base := len(s.places)
	s.places = slices.Grow(s.places, members)[:base+members]
	places := s.places[base:]
	clear(places)
	msg := s.msg
	var (
		before *member
		seen   uint64 // oneofs
	)
	for at < end {
		first := at
		tag := uint64(msg[at])
		at++
		if tag >= 0x80 {
			if tag, at = longTag(msg, tag, at, end); at < 0 {
				return -1
			}
		}
		m := d.find(tag >> 3)
		if at < end && msg[at] < 0x80 && tag&7 == uint64(bytesType) && tag >= 8 {
			if at += int(msg[at]) + 1; at > end {
				return -1
			}
		} else if at = skip(msg, at, end, tag); at < 0 {
			return -1
		}
		if m == nil || m.tag != tag && !m.packs(tag) {
			before = nil
			continue
		}
		if seen&m.oneof != 0 {
			return -1
		}
		seen |= m.oneof
		if m.place > 0 && m != before {
			if places[m.place-1] > 0 {
				return -1
			}
			places[m.place-1] = int32(first + 1)
		} else if m.place > 0 && !m.list {
			return -1
		}
		before = m
	}
	return base
}

// putMessage writes the content of a message.
func (s *render) putMessage(b []byte, n int, v *value, at, stop, depth int) ([]byte, int) {
	switch v.op {
	case opMessage:
		return s.direct(b, n, v.sub, at, stop, depth)
	case opTimestamp:
		if seconds, nanos, ok := moment(s.msg, at, stop); ok && validTimestamp(seconds, nanos) && depth > 0 {
			if len(b)-n < slack {
				b = grow(b, n, slack)
			}
			return b, s.putTimestamp(b, n, seconds, nanos)
		}
	default:
	}
	return s.detour(b, n, v.sub, at, stop, depth)
}

// moment reads the fields of a Timestamp or Duration if they are in order.
func moment(msg []byte, at, end int) (seconds int64, nanos int32, ok bool) {
	var bits uint64
	if at < end && msg[at] == secondsField<<3 {
		if bits, at = varint(msg, at+1, end); at < 0 {
			return 0, 0, false
		}
		seconds = int64(bits)
	}
	if at < end && msg[at] == nanosField<<3 {
		if bits, at = varint(msg, at+1, end); at < 0 {
			return 0, 0, false
		}
		nanos = int32(bits)
	}
	return seconds, nanos, at == end
}
