package wire

import (
	"errors"
	"math"
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
			if at < end && msg[at] < 0x80 {
				tag = tag - 0x80 + uint64(msg[at])<<7
				at++
			} else if tag, at = longTag(msg, at-1, end); at < 0 {
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
			if b, n, at = s.repeated(b, n, m, first, end, depth-1); n < 0 {
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

// repeated writes a list or a map, the first tag of which is at a position, and returns what follows it in the message.
func (s *render) repeated(b []byte, n int, m *member, at, end, depth int) ([]byte, int, int) {
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
