package wire

import "slices"

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
			b, n, _ = s.repeated(b, n, m, at, end, depth)
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
			if at < end && msg[at] < 0x80 {
				tag = tag - 0x80 + uint64(msg[at])<<7
				at++
			} else if tag, at = longTag(msg, at-1, end); at < 0 {
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
