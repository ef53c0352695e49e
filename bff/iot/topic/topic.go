// Package topic checks MQTT topic names and filters, compiles templates such as "boxes/{box_id}/telemetry", and
// finds the template that a topic name matches.
//
// It is stricter than MQTT 3.1.1: what some broker refuses, drops or reads differently (white space, control
// characters, '*', '>', '.', empty levels, a leading '$', more than 256 bytes) is refused here, so that a name means
// the same at every broker. Start with [ParseTemplate], [CheckName] and [CheckFilter]. Everything is immutable and
// safe for concurrent use.
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes is the longest name or filter.
const MaxBytes = 256

// ErrInvalid is wrapped by every error about a name or a filter.
var ErrInvalid = errors.New("invalid topic")

// CheckName reports why name is no topic that may be published to, as an error that wraps [ErrInvalid].
func CheckName(name string) error {
	return check(name, false)
}

// CheckFilter reports why filter is no topic filter, as an error that wraps [ErrInvalid]. Wildcards stand as whole
// levels, '#' as the last one (MQTT 3.1.1 section 4.7.1).
func CheckFilter(filter string) error {
	return check(filter, true)
}

func check(s string, wildcards bool) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: it is empty", ErrInvalid)
	case len(s) > MaxBytes:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalid, len(s), MaxBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: no UTF-8", ErrInvalid)
	case s[0] == '$':
		return fmt.Errorf("%w %q: a leading '$' is the broker's", ErrInvalid, s)
	}
	for rest, more := s, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if err := checkLevel(level, wildcards, !more); err != nil {
			return fmt.Errorf("%w %q: %w", ErrInvalid, s, err)
		}
	}
	return nil
}

// CheckLevel reports why s cannot stand as one level of a name, as an error that wraps [ErrInvalid].
func CheckLevel(s string) error {
	if len(s) > MaxBytes || !utf8.ValidString(s) || strings.Contains(s, "/") || strings.HasPrefix(s, "$") {
		return fmt.Errorf("%w level %.64q", ErrInvalid, s)
	}
	if err := checkLevel(s, false, true); err != nil {
		return fmt.Errorf("%w level %.64q: %w", ErrInvalid, s, err)
	}
	return nil
}

func checkLevel(level string, wildcards, last bool) error {
	switch {
	case level == "":
		return errors.New("it has an empty level")
	case wildcards && level == "+", wildcards && level == "#" && last:
		return nil
	}
	for _, r := range level {
		switch {
		case r == '+' || r == '#':
			return fmt.Errorf("a wildcard %q is not allowed there", r)
		case r == '*' || r == '>' || r == '.':
			return fmt.Errorf("%q is not allowed", r)
		case unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError || r == '\uFEFF':
			return fmt.Errorf("%q is not allowed", r)
		}
	}
	return nil
}

// Covers reports whether every name that filter matches is matched by allowed too. Both must be valid filters.
func Covers(allowed, filter string) bool {
	if allowed == "+/#" && filter == "#" {
		return true // every name has a first level
	}
	for {
		a, restA, moreA := strings.Cut(allowed, "/")
		f, restF, moreF := strings.Cut(filter, "/")
		switch {
		case a == "#":
			return true
		case f == "#", a != "+" && a != f:
			return false
		case !moreA && !moreF:
			return true
		case !moreA:
			return false
		case !moreF:
			return restA == "#" // "a/#" matches "a"
		}
		allowed, filter = restA, restF
	}
}

// Overlap reports whether some name is matched by both filters.
func Overlap(a, b string) bool {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !moreA && !moreB:
			return true
		case !moreA:
			return restB == "#"
		case !moreB:
			return restA == "#"
		}
		a, b = restA, restB
	}
}
