package wire

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// The functions of this file write at an index of a buffer of full length and return the next index; those that make
// room themselves return the buffer too, since it may have moved.

// slack is the room that is made for a member beyond its name and its text: the longest number or time with its quotes,
// what is copied needlessly, and closing brackets.
const slack = 64

// grow makes room for size bytes after the first n, and for as many as there are.
func grow(b []byte, n, size int) []byte {
	b = slices.Grow(b[:n], max(size, n))
	return b[:cap(b)]
}

// unplain has the highest bit set in the lowest byte of w that does not stand for itself in a JSON string, or is beyond
// ASCII, and perhaps in bytes above that one.
func unplain(w uint64) uint64 {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	// Control characters and the quote: flipping the second bit makes a space of the quote, and keeps the others apart.
	return (w | (w ^ ones*2 - ones*33) | (w ^ ones*'\\' - ones)) & high
}

// putText writes msg[at:stop] as a JSON string. The index is negative if it is not UTF-8.
func putText(b []byte, n int, msg []byte, at, stop int) ([]byte, int) {
	if len(b)-n < stop-at+slack {
		b = grow(b, n, stop-at+slack)
	}
	b[n] = '"'
	n++
	if stop-at < 8 {
		if len(msg)-at < 8 {
			return putEscaped(b, n, msg, at, stop)
		}
		w := binary.LittleEndian.Uint64(msg[at:])
		if unplain(w)<<(8*(8-(stop-at))) != 0 {
			return putEscaped(b, n, msg, at, stop)
		}
		binary.LittleEndian.PutUint64(b[n:], w)
		n += stop - at
		b[n] = '"'
		return b, n + 1
	}
	for ; stop-at > 8; at, n = at+8, n+8 {
		w := binary.LittleEndian.Uint64(msg[at:])
		if unplain(w) != 0 {
			return putEscaped(b, n, msg, at, stop)
		}
		binary.LittleEndian.PutUint64(b[n:], w)
	}
	// The last word overlaps the one before.
	w := binary.LittleEndian.Uint64(msg[stop-8:])
	if unplain(w) != 0 {
		return putEscaped(b, n, msg, at, stop)
	}
	n += stop - at
	binary.LittleEndian.PutUint64(b[n-8:], w)
	b[n] = '"'
	return b, n + 1
}

// putEscaped writes the rest of a JSON string and its closing quote.
func putEscaped(b []byte, n int, msg []byte, at, stop int) ([]byte, int) {
	for at < stop {
		if len(b)-n < stop-at+slack {
			b = grow(b, n, stop-at+slack)
		}
		if stop-at >= 8 {
			w := binary.LittleEndian.Uint64(msg[at:])
			binary.LittleEndian.PutUint64(b[n:], w)
			ok := bits.TrailingZeros64(unplain(w)) / 8
			at, n = at+ok, n+ok
			if ok == 8 {
				continue
			}
		}
		c := msg[at]
		switch {
		case plain(c):
			b[n] = c
			at, n = at+1, n+1
		case c < utf8.RuneSelf:
			n = len(appendEscape(b[:n], c))
			at++
		case c >= 0xc2 && c < 0xe0 && stop-at >= 2 && msg[at+1]&0xc0 == 0x80:
			b[n], b[n+1] = c, msg[at+1]
			at, n = at+2, n+2
		default:
			r, size := utf8.DecodeRune(msg[at:stop])
			if r == utf8.RuneError && size == 1 {
				return b, -1
			}
			n += copy(b[n:], msg[at:at+size])
			at += size
		}
	}
	b[n] = '"'
	return b, n + 1
}

// putBytes writes bytes as a JSON string in base64.
func putBytes(b []byte, n int, content []byte) ([]byte, int) {
	size := base64.StdEncoding.EncodedLen(len(content))
	if len(b)-n < size+slack {
		b = grow(b, n, size+slack)
	}
	b[n] = '"'
	base64.StdEncoding.Encode(b[n+1:], content)
	n += size + 1
	b[n] = '"'
	return b, n + 1
}

// pairs are the numbers of two digits.
const pairs = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

// putPair writes a number below 100 with two digits.
func putPair(b []byte, n int, v uint) int {
	copy(b[n:n+2], pairs[2*v:2*v+2])
	return n + 2
}

// putUint writes a number in decimal.
func putUint(b []byte, n int, v uint64) int {
	if v < 10 {
		b[n] = '0' + byte(v)
		return n + 1
	}
	end := n + 2
	switch {
	case v < 1e2:
	case v < 1e4:
		end++
		if v >= 1e3 {
			end++
		}
	default:
		end++
		for rest := v / 100; rest >= 10; rest /= 10 {
			end++
		}
	}
	i := end
	for v >= 100 {
		i -= 2
		copy(b[i:i+2], pairs[2*(v%100):2*(v%100)+2])
		v /= 100
	}
	if v >= 10 {
		copy(b[n:n+2], pairs[2*v:2*v+2])
	} else {
		b[n] = '0' + byte(v)
	}
	return end
}

// putInt writes a number in decimal.
func putInt(b []byte, n int, v int64) int {
	if v < 0 {
		b[n] = '-'
		return putUint(b, n+1, -uint64(v))
	}
	return putUint(b, n, uint64(v))
}

// putDecimal writes a number that has at most three digits after the point; it reports whether this is one. Numbers of
// no more than fifteen digits are all different as floats, so that what comes back the same is also the shortest.
func putDecimal(b []byte, n int, f float64) (int, bool) {
	a := math.Abs(f)
	if !(a >= 1e-3 && a < 1e12) {
		return n, false
	}
	m := uint64(a*1e3 + 0.5)
	if float64(m)/1e3 != a {
		return n, false
	}
	if f < 0 {
		b[n] = '-'
		n++
	}
	n = putUint(b, n, m/1000)
	rest := uint(m % 1000)
	if rest == 0 {
		return n, true
	}
	b[n] = '.'
	b[n+1] = '0' + byte(rest/100)
	n += 2
	if rest %= 100; rest == 0 {
		return n, true
	}
	n = putPair(b, n, rest)
	if b[n-1] == '0' {
		n--
	}
	return n, true
}

// putTimestamp writes a time in the form of RFC 3339 with 0, 3, 6 or 9 digits of a second.
func (s *render) putTimestamp(b []byte, n int, seconds int64, nanos int32) int {
	days := seconds / 86400
	rest := int(seconds % 86400)
	if rest < 0 {
		days--
		rest += 86400
	}
	if days != s.day || s.date[0] == 0 {
		s.putDate(days)
	}
	t := b[n : n+slack]
	*(*[12]byte)(t) = s.date
	putPair(t, 12, uint(rest)/3600)
	t[14] = ':'
	putPair(t, 15, uint(rest)/60%60)
	t[17] = ':'
	putPair(t, 18, uint(rest)%60)
	i := 20
	if nanos != 0 {
		t[20] = '.'
		i = putFraction(t, 21, uint(nanos))
	}
	t[i], t[i+1] = 'Z', '"'
	return n + i + 2
}

// putDate writes a date for [render.putTimestamp], which mostly sees a few days again and again.
func (s *render) putDate(days int64) {
	year, month, day := dateOf(days)
	b := append(s.date[:0], `"0000-00-00T`...)
	putPair(b, 1, uint(year/100))
	putPair(b, 3, uint(year%100))
	putPair(b, 6, uint(month))
	putPair(b, 9, uint(day))
	s.day = days
}

// putFraction writes the 3, 6 or 9 digits of a fraction of a second that is not zero.
func putFraction(b []byte, n int, nanos uint) int {
	n = putThree(b, n, nanos/1e6)
	if nanos %= 1e6; nanos == 0 {
		return n
	}
	n = putThree(b, n, nanos/1e3)
	if nanos %= 1e3; nanos == 0 {
		return n
	}
	return putThree(b, n, nanos)
}

// putThree writes a number below 1000 with three digits.
func putThree(b []byte, n int, v uint) int {
	b[n] = '0' + byte(v/100)
	return putPair(b, n+1, v%100)
}

// putScalar writes a value that is neither a message nor a string nor bytes.
func (s *render) putScalar(b []byte, n int, v *value, bits uint64) ([]byte, int) {
	if len(b)-n < slack {
		b = grow(b, n, slack)
	}
	switch v.op {
	case opInt:
		return b, putInt(b, n, int64(bits))
	case opUint:
		return b, putUint(b, n, bits)
	case opQuotedInt, opQuotedUint:
		b[n] = '"'
		if v.op == opQuotedUint {
			n = putUint(b, n+1, bits)
		} else {
			n = putInt(b, n+1, int64(bits))
		}
		b[n] = '"'
		return b, n + 1
	case opBool:
		if bits != 0 {
			return b, n + copy(b[n:n+4], "true")
		}
		return b, n + copy(b[n:n+5], "false")
	case opEnum:
		if names := v.f.enum.dense; bits < uint64(len(names)) {
			name := names[bits]
			if len(b)-n < len(name)+slack {
				b = grow(b, n, len(name)+slack)
			}
			return b, n + copy(b[n:], name)
		}
	case opDouble:
		if to, ok := putDecimal(b, n, math.Float64frombits(bits)); ok {
			return b, to
		}
	default:
	}
	s.out = b[:n]
	s.scalar(v.f, bits)
	return s.out[:cap(s.out)], len(s.out)
}
