package events

import (
	"strconv"
	"strings"
)

// Position is a place in a log: behind the event of its number. The zero value is no place.
type Position struct {
	// Epoch names the log. It is random, so that no two logs share one, not even across restarts.
	Epoch string
	// Seq counts the log's events from 1; 0 is before the first.
	Seq uint64
}

// String writes the position as EPOCH-SEQ.
func (p Position) String() string { return string(p.Append(nil)) }

// Append appends what String writes.
func (p Position) Append(dst []byte) []byte {
	return strconv.AppendUint(append(append(dst, p.Epoch...), '-'), p.Seq, 10)
}

// maxEpoch bounds the length of an epoch.
const maxEpoch = 64

// ParsePosition reads what String writes, and nothing else; ok reports whether it is that.
func ParsePosition(text string) (p Position, ok bool) {
	at := strings.LastIndexByte(text, '-')
	if at < 1 || at > maxEpoch {
		return Position{}, false
	}
	epoch, digits := text[:at], text[at+1:]
	for i := range len(epoch) {
		if c := epoch[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return Position{}, false
		}
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return Position{}, false
		}
	}
	if digits == "" || digits[0] == '0' && digits != "0" {
		return Position{}, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return Position{}, false
	}
	return Position{Epoch: epoch, Seq: seq}, true
}
