package wire

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The functions of this file read at a position of a message, and return the next one, which is negative where the
// message is malformed before its end.

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

// longTag reads a tag, and returns what follows it; a negative position if it is malformed.
func longTag(msg []byte, at, end int) (uint64, int) {
	tag, at := varint(msg, at, end)
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
