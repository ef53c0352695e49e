package wire

import (
	"bytes"
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// writer appends canonical wire format.
type writer struct {
	out      []byte
	segments []segment // of the messages and maps being written, the innermost last
	moved    []byte    // scratch of sorting
}

// segment is a piece of out that holds one field, or one entry of a map.
type segment struct {
	key        uint64 // the field's number, or a map key's bits so that they sort right
	start, end int    // where it is in out
	keyStart   int    // where the text of a map key is in out
	keyEnd     int
	nameAt     int // where its name stands in the JSON text
}

// begin leaves room for a length of one byte.
func (w *writer) begin() int {
	w.out = append(w.out, 0)
	return len(w.out)
}

// end writes the length of what was appended since begin. It returns by how much that had to be moved to make room.
func (w *writer) end(at int) int {
	size := len(w.out) - at
	if size < 0x80 {
		w.out[at-1] = byte(size)
		return 0
	}
	var length [10]byte
	b := protowire.AppendVarint(length[:0], uint64(size))
	w.out = append(w.out, b[1:]...)
	copy(w.out[at-1+len(b):], w.out[at:at+size])
	copy(w.out[at-1:], b)
	return len(b) - 1
}

// rearrange puts the pieces of out into the order of segs, which together were the end of out. Pieces that segs lacks
// are dropped.
func (w *writer) rearrange(segs []segment, start int) {
	w.moved = w.moved[:0]
	for _, g := range segs {
		w.moved = append(w.moved, w.out[g.start:g.end]...)
	}
	w.out = append(w.out[:start], w.moved...)
}

// sortFields sorts the fields that were appended since start, whose segments begin at base, and forgets the segments.
func (w *writer) sortFields(base, start int) {
	segs := w.segments[base:]
	byKey := func(a, b segment) int { return cmp.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(segs, byKey) {
		slices.SortStableFunc(segs, byKey)
		w.rearrange(segs, start)
	}
	w.segments = w.segments[:base]
}

// sortEntries sorts the entries of a map that were appended since start, whose segments begin at base, and forgets the
// segments. Of equal keys it keeps the last, and returns the segment of the first one it dropped.
func (w *writer) sortEntries(base, start int, text bool) (dropped segment, duplicate bool) {
	segs := w.segments[base:]
	w.segments = w.segments[:base]
	compare := func(a, b segment) int {
		if text {
			return bytes.Compare(w.out[a.keyStart:a.keyEnd], w.out[b.keyStart:b.keyEnd])
		}
		return cmp.Compare(a.key, b.key)
	}
	sorted := true
	for i := 1; i < len(segs) && sorted; i++ {
		sorted = compare(segs[i-1], segs[i]) < 0
	}
	if sorted {
		return segment{}, false
	}
	slices.SortStableFunc(segs, compare)
	kept := segs[:1]
	for _, g := range segs[1:] {
		if compare(kept[len(kept)-1], g) == 0 {
			if !duplicate {
				dropped, duplicate = g, true
			}
			kept[len(kept)-1] = g
			continue
		}
		kept = append(kept, g)
	}
	w.rearrange(kept, start)
	return dropped, duplicate
}

// time appends the fields of a Timestamp or Duration.
func (w *writer) time(seconds int64, nanos int32) {
	if seconds != 0 {
		w.out = protowire.AppendVarint(append(w.out, secondsField<<3), uint64(seconds))
	}
	if nanos != 0 {
		w.out = protowire.AppendVarint(append(w.out, nanosField<<3), uint64(int64(nanos)))
	}
}
