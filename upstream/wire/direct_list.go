package wire

// directList writes the elements of the list whose first element's tag is at a position, as long as no other field
// follows. It returns what follows them. Nothing is written if there are none, in packed fields of no length.
func (s *render) directList(b []byte, n int, m *member, at, end, depth int) ([]byte, int, int) {
	msg, start := s.msg, n
	for at < end {
		tag, next := varint(msg, at, end)
		if next < 0 {
			return b, -1, 0
		}
		if tag != m.tag {
			if !m.packs(tag) {
				break
			}
			var stop int
			if at, stop = content(msg, next, end); at < 0 {
				return b, -1, 0
			}
			if b, n = s.directPacked(b, n, m, at, stop); n < 0 {
				return b, n, 0
			}
			at = stop
			continue
		}
		if len(b)-n < slack {
			b = grow(b, n, slack)
		}
		b[n] = ','
		n++
		if m.op < opText {
			var bits uint64
			if bits, at = m.bits(msg, next, end); at < 0 {
				return b, -1, 0
			}
			b, n = s.putScalar(b, n, &m.value, bits)
			continue
		}
		var stop int
		if at, stop = content(msg, next, end); at < 0 {
			return b, -1, 0
		}
		if m.op == opMessage {
			b, n = s.direct(b, n, m.sub, at, stop, depth)
		} else {
			b, n = s.putContent(b, n, &m.value, at, stop, depth)
		}
		if n < 0 {
			return b, n, 0
		}
		at = stop
	}
	if n > start {
		if len(b)-n < slack {
			b = grow(b, n, slack)
		}
		b[start], b[n] = '[', ']'
		n++
	}
	return b, n, at
}

// packs reports whether a tag is that of packed elements.
func (m *member) packs(tag uint64) bool {
	return m.f.packable && tag == m.tag&^7|uint64(bytesType)
}

// directPacked writes packed elements, each after a comma.
func (s *render) directPacked(b []byte, n int, m *member, at, end int) ([]byte, int) {
	for at < end {
		var bits uint64
		if bits, at = m.bits(s.msg, at, end); at < 0 {
			return b, -1
		}
		if len(b)-n < slack {
			b = grow(b, n, slack)
		}
		b[n] = ','
		b, n = s.putScalar(b, n+1, &m.value, bits)
	}
	return b, n
}
