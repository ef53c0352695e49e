package wire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// pair is an entry of a map in the usual form: a key and a value.
type pair struct {
	order      uint64 // the beginning of a text, or all bits of another key, so that they sort right
	key, stop  int32  // of a text
	value, end int32
}

// directMap writes the entries of the map whose first entry's tag is at a position, as long as no other field follows. It
// returns what follows them.
func (s *render) directMap(b []byte, n int, m *member, at, end, depth int) ([]byte, int, int) {
	if depth <= 0 {
		return b, -1, 0
	}
	base, first := len(s.pairs), at
	usual := true
	for at < end {
		tag, next := varint(s.msg, at, end)
		if next < 0 {
			return b, -1, 0
		}
		if tag != m.tag {
			break
		}
		start, stop := content(s.msg, next, end)
		if start < 0 {
			return b, -1, 0
		}
		at = stop
		if usual {
			var p pair
			if p, usual = m.pair(s.msg, start, stop); usual {
				s.pairs = append(s.pairs, p)
			}
		}
	}
	if !usual || !s.sortPairs(s.pairs[base:]) {
		s.pairs = s.pairs[:base]
		s.out = b[:n]
		if err := s.mapping(m.o, s.msg[first:at], depth); err != nil {
			return b, -1, 0
		}
		return s.out[:cap(s.out)], len(s.out), at
	}
	start := n
	v := m.values
	for i := base; i < len(s.pairs); i++ {
		p := s.pairs[i]
		if len(b)-n < slack {
			b = grow(b, n, slack)
		}
		b[n] = ','
		n++
		if m.f.key.wire == bytesType {
			if b, n = putText(b, n, s.msg, int(p.key), int(p.stop)); n < 0 {
				return b, n, 0
			}
		} else {
			s.out = b[:n]
			s.key(m.f.key.kind, sortable(m.f.key.kind, p.order))
			b, n = s.out[:cap(s.out)], len(s.out)
		}
		if len(b)-n < slack {
			b = grow(b, n, slack)
		}
		b[n] = ':'
		n++
		if v.op < opText {
			bits, _ := v.bits(s.msg, int(p.value), int(p.end))
			b, n = s.putScalar(b, n, v, bits)
			continue
		}
		if b, n = s.putContent(b, n, v, int(p.value), int(p.end), depth-1); n < 0 {
			return b, n, 0
		}
	}
	s.pairs = s.pairs[:base]
	if len(b)-n < slack {
		b = grow(b, n, slack)
	}
	b[start], b[n] = '{', '}'
	return b, n + 1, at
}

// pair reads an entry that has one key and then one value; it reports whether it has.
func (m *member) pair(msg []byte, at, end int) (p pair, ok bool) {
	key := m.f.key
	if at >= end || uint64(msg[at]) != key.tag {
		return p, false
	}
	at++
	if key.wire == bytesType {
		start, stop := content(msg, at, end)
		if start < 0 {
			return p, false
		}
		p.key, p.stop, p.order = int32(start), int32(stop), beginning(msg, start, stop)
		at = stop
	} else {
		raw, n := consumeRaw(msg[at:end], key.kind)
		if n < 0 {
			return p, false
		}
		p.order = sortable(key.kind, decodeBits(key.kind, raw))
		at += n
	}
	if at >= end || uint64(msg[at]) != m.values.f.tag {
		return p, false
	}
	at++
	if m.values.op < opText {
		p.value = int32(at)
		_, at = m.values.bits(msg, at, end)
		p.end = int32(at)
		return p, at == end
	}
	start, stop := content(msg, at, end)
	p.value, p.end = int32(start), int32(stop)
	return p, start >= 0 && stop == end
}

// beginning is the first eight bytes of a text, so that they sort right.
func beginning(msg []byte, at, stop int) uint64 {
	if len(msg)-at >= 8 {
		w := binary.BigEndian.Uint64(msg[at:])
		if stop-at < 8 {
			w &^= 1<<(8*(8-(stop-at))) - 1
		}
		return w
	}
	var w uint64
	for i := range min(stop-at, 8) {
		w |= uint64(msg[at+i]) << (56 - 8*i)
	}
	return w
}

// sortPairs sorts entries by key; it reports whether no two are equal.
func (s *render) sortPairs(pairs []pair) bool {
	compare := func(a, b pair) int {
		if c := cmp.Compare(a.order, b.order); c != 0 {
			return c
		}
		return bytes.Compare(s.msg[a.key:a.stop], s.msg[b.key:b.stop])
	}
	if len(pairs) > 16 && !slices.IsSortedFunc(pairs, compare) {
		slices.SortFunc(pairs, compare)
	}
	for i := 1; i < len(pairs); i++ {
		p := pairs[i]
		j := i
		for ; j > 0; j-- {
			q := pairs[j-1]
			if q.order < p.order {
				break
			}
			if q.order == p.order {
				c := bytes.Compare(s.msg[q.key:q.stop], s.msg[p.key:p.stop])
				if c == 0 {
					return false
				}
				if c < 0 {
					break
				}
			}
			pairs[j] = q
		}
		pairs[j] = p
	}
	return true
}

// putContent writes the content of a string, bytes or a message.
func (s *render) putContent(b []byte, n int, v *value, at, stop, depth int) ([]byte, int) {
	switch v.op {
	case opText:
		return putText(b, n, s.msg, at, stop)
	case opBytes:
		return putBytes(b, n, s.msg[at:stop])
	default:
		return s.putMessage(b, n, v, at, stop, depth)
	}
}
