package wire

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Ranges of the well-known types of time.
const (
	maxNanos            = 999_999_999
	maxDurationSeconds  = 315_576_000_000
	minTimestampSeconds = -62_135_596_800
	maxTimestampSeconds = 253_402_300_799
)

// Field numbers of the well-known types.
const (
	secondsField = 1
	nanosField   = 2
	pathsField   = 1
	typeURLField = 1
	anyField     = 2

	nullKind   = 1
	numberKind = 2
	stringKind = 3
	boolKind   = 4
	structKind = 5
	listKind   = 6
)

// wellKnown reads the JSON form of a well-known type.
func (s *parse) wellKnown(l *layout, depth int) *SyntaxError {
	switch l.special {
	case specialAny:
		return s.any(depth)
	case specialTimestamp:
		return s.timestamp()
	case specialDuration:
		return s.duration()
	case specialWrapper:
		start := len(s.out)
		present, zero, err := s.single(&l.fields[0], depth)
		if err == nil && present && zero {
			s.out = s.out[:start]
		}
		return err
	case specialStruct:
		return s.mapping(&l.fields[0], depth)
	case specialListValue:
		return s.array(&l.fields[0], depth)
	case specialValue:
		return s.knownValue(l, depth)
	case specialFieldMask:
		return s.fieldMask()
	case notSpecial:
	}
	return s.object(l, depth, false)
}

// quoted reads a string.
func (s *parse) quoted(expected string) ([]byte, int, *SyntaxError) {
	if s.peek() != '"' {
		return nil, 0, s.fail(s.at, expected)
	}
	start := s.at
	b, err := s.text()
	return b, start, err
}

const timestampText = "a time such as 2006-01-02T15:04:05Z"

func (s *parse) timestamp() *SyntaxError {
	b, start, err := s.quoted(timestampText)
	if err != nil {
		return err
	}
	seconds, nanos, ok := parseTimestamp(b)
	if !ok {
		return s.fail(start, timestampText)
	}
	s.time(seconds, nanos)
	return nil
}

// parseTimestamp reads a time as RFC 3339 has it, from the year 1 to 9999, with at most nine digits of a second.
func parseTimestamp(b []byte) (seconds int64, nanos int32, ok bool) {
	if seconds, nanos, ok = parseUTC(b); ok {
		return seconds, nanos, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return 0, 0, false
	}
	seconds = t.Unix()
	if seconds < minTimestampSeconds || seconds > maxTimestampSeconds {
		return 0, 0, false
	}
	i, j := bytes.LastIndexByte(b, '.'), bytes.LastIndexAny(b, "Z-+")
	if i >= 0 && j >= i && j-i > len(".999999999") {
		return 0, 0, false
	}
	return seconds, int32(t.Nanosecond()), true
}

// parseUTC reads the usual form of a time, such as 2006-01-02T15:04:05.999Z, quickly.
func parseUTC(b []byte) (seconds int64, nanos int32, ok bool) {
	const form = "2006-01-02T15:04:05Z"
	if len(b) < len(form) || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[len(b)-1] != 'Z' {
		return 0, 0, false
	}
	var valid [6]bool
	year, month, day := number(b[0:4], &valid[0]), number(b[5:7], &valid[1]), number(b[8:10], &valid[2])
	hour, minute, second := number(b[11:13], &valid[3]), number(b[14:16], &valid[4]), number(b[17:19], &valid[5])
	if valid != [6]bool{true, true, true, true, true, true} || year < 1 || month < 1 || month > 12 || day < 1 || day > 28 ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, 0, false // days beyond the 28th are left to package time
	}
	if frac := b[19 : len(b)-1]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) < 2 || len(frac) > 10 {
			return 0, 0, false
		}
		for i := range 9 {
			d := byte('0')
			if i+1 < len(frac) {
				d = frac[i+1]
			}
			if d < '0' || d > '9' {
				return 0, 0, false
			}
			nanos = nanos*10 + int32(d-'0')
		}
	}
	return daysTo(year, month, day)*86400 + int64(hour*3600+minute*60+second), nanos, true
}

// number reads decimal digits.
func number(b []byte, ok *bool) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	*ok = true
	return n
}

// daysTo counts the days from 1970-01-01 to a date of the Gregorian calendar. A year begins in March here, so that the
// day which leap years add is its last.
func daysTo(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yearOfEra := year % 400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return int64(era*146097+yearOfEra*365+yearOfEra/4-yearOfEra/100+dayOfYear) - 719468
}

const durationText = "a duration in seconds such as 1.5s"

func (s *parse) duration() *SyntaxError {
	b, start, err := s.quoted(durationText)
	if err != nil {
		return err
	}
	seconds, nanos, ok := parseDuration(b)
	if !ok {
		return s.fail(start, durationText)
	}
	s.time(seconds, nanos)
	return nil
}

// parseDuration reads seconds with at most nine digits after the point, followed by s. Either side of the point may be
// missing, but not both together with the point.
func parseDuration(b []byte) (seconds int64, nanos int32, ok bool) {
	if len(b) < 2 || b[len(b)-1] != 's' {
		return 0, 0, false
	}
	b = b[:len(b)-1]
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, 0, false
	}
	n := digits(b)
	if n > 1 && b[0] == '0' || n == 0 && b[0] != '.' || n > maxDigits {
		return 0, 0, false
	}
	if n > 0 {
		whole, err := strconv.ParseInt(string(b[:n]), 10, 64)
		if err != nil || whole > maxDurationSeconds {
			return 0, 0, false
		}
		seconds = whole
	}
	if b = b[n:]; len(b) > 0 {
		if b[0] != '.' || digits(b[1:]) != len(b)-1 || len(b) > 10 {
			return 0, 0, false
		}
		for i := range 9 {
			nanos *= 10
			if i+1 < len(b) {
				nanos += int32(b[i+1] - '0')
			}
		}
	}
	if neg {
		seconds, nanos = -seconds, -nanos
	}
	return seconds, nanos, true
}

func (s *parse) fieldMask() *SyntaxError {
	const expected = "field names in lowerCamelCase separated by commas"
	b, start, err := s.quoted(expected)
	if err != nil {
		return err
	}
	out, ok := appendFieldMask(s.out, b)
	if !ok {
		return s.fail(start, expected)
	}
	s.out = out
	return nil
}

// appendFieldMask appends the paths of a FieldMask in its JSON form.
func appendFieldMask(dst, text []byte) ([]byte, bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return dst, true
	}
	for path := range bytes.SplitSeq(text, []byte{','}) {
		var snake []byte
		for _, c := range path {
			switch {
			case c == '_':
				return dst, false
			case 'A' <= c && c <= 'Z':
				snake = append(snake, '_', c+'a'-'A')
			default:
				snake = append(snake, c)
			}
		}
		if !isIdentifier(snake) {
			return dst, false
		}
		dst = protowire.AppendBytes(protowire.AppendTag(dst, pathsField, protowire.BytesType), snake)
	}
	return dst, true
}

// knownValue reads any value as a google.protobuf.Value.
func (s *parse) knownValue(l *layout, depth int) *SyntaxError {
	member := func(num protowire.Number) *field { return &l.fields[l.index(num)] }
	switch c := s.peek(); c {
	case 'n':
		if s.literal("null") {
			s.out = append(s.out, nullKind<<3, 0)
			return nil
		}
	case 't', 'f', '"':
		num := protowire.Number(boolKind)
		if c == '"' {
			num = stringKind
		}
		_, _, err := s.single(member(num), depth)
		return err
	case '{', '[':
		num := protowire.Number(structKind)
		if c == '[' {
			num = listKind
		}
		f := member(num)
		s.out = protowire.AppendVarint(s.out, f.tag)
		at := s.begin()
		if err := s.wellKnown(f.msg, depth); err != nil {
			return err
		}
		s.end(at)
		return nil
	default:
		start := s.at
		b, ok := s.number()
		if !ok {
			break
		}
		n, err := strconv.ParseFloat(string(b), 64)
		if err != nil {
			return s.fail(start, "a number")
		}
		s.out = protowire.AppendFixed64(protowire.AppendTag(s.out, numberKind, protowire.Fixed64Type), math.Float64bits(n))
		return nil
	}
	return s.fail(s.at, "a value")
}

// any reads a google.protobuf.Any, whose "@type" may stand anywhere in the object.
func (s *parse) any(depth int) *SyntaxError {
	if s.peek() != '{' {
		return s.fail(s.at, "an object")
	}
	start := s.at
	url, empty, err := s.typeURL(depth)
	if err != nil {
		return err
	}
	end := s.at
	s.at = start
	if empty {
		s.at = end
		return nil
	}
	if url == "" {
		if s.p.o.DiscardUnknown {
			s.at = end
			return nil
		}
		return &SyntaxError{Found: `an object without "@type"`, Expected: "the type of the message", Offset: start}
	}
	l := s.p.types.any(url)
	if l == nil {
		return (&SyntaxError{Found: "unknown type " + quote(url), Offset: start}).in("@type")
	}
	s.out = protowire.AppendString(protowire.AppendTag(s.out, typeURLField, protowire.BytesType), url)
	tag := len(s.out)
	s.out = protowire.AppendTag(s.out, anyField, protowire.BytesType)
	at := s.begin()
	partial := s.partial
	s.partial = true
	if l.special != notSpecial || l.md.FullName() == "google.protobuf.Empty" {
		err = s.anyValue(l, depth)
	} else {
		err = s.embedded(l, depth)
	}
	s.partial = partial
	if err != nil {
		return err
	}
	if len(s.out) == at {
		s.out = s.out[:tag]
		return nil
	}
	s.end(at)
	return nil
}

// embedded reads the fields of the message in an Any.
func (s *parse) embedded(l *layout, depth int) *SyntaxError {
	if depth <= 0 {
		return &SyntaxError{Found: "a value that is nested too deep", Offset: s.at}
	}
	return s.object(l, depth-1, true)
}

// typeURL reads the whole object of an Any to find its type.
func (s *parse) typeURL(depth int) (url string, empty bool, err *SyntaxError) {
	s.at++
	for first := true; ; first = false {
		more, err := s.next('}', first)
		if err != nil {
			return "", false, err
		}
		if !more {
			return url, first, nil
		}
		nameAt := s.at
		name, err := s.name()
		if err != nil {
			return "", false, err
		}
		if string(name) != "@type" {
			if err := s.skip(depth); err != nil {
				return "", false, err.in(s.nameAt(nameAt))
			}
			continue
		}
		if url != "" {
			return "", false, (&SyntaxError{Found: "a field that was given before", Offset: nameAt}).in("@type")
		}
		b, start, err := s.quoted("the URL of a type")
		if err != nil {
			return "", false, err.in("@type")
		}
		if len(b) == 0 {
			return "", false, s.fail(start, "the URL of a type").in("@type")
		}
		url = string(b)
	}
}

// anyValue reads the "value" of a well-known type in an Any.
func (s *parse) anyValue(l *layout, depth int) *SyntaxError {
	begin := s.at
	s.at++
	found := false
	for first := true; ; first = false {
		more, err := s.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		nameAt := s.at
		name, err := s.name()
		if err != nil {
			return err
		}
		switch {
		case string(name) == "@type":
			err = s.skip(depth)
		case string(name) == "value" && found:
			return (&SyntaxError{Found: "a field that was given before", Offset: nameAt}).in("value")
		case string(name) == "value":
			found = true
			err = s.wellKnown(l, depth)
		case s.p.o.DiscardUnknown:
			err = s.skip(depth)
		default:
			return (&SyntaxError{Found: "unknown field " + quote(string(name)), Expected: `"value"`, Offset: nameAt}).in(string(name))
		}
		if err != nil {
			return err.in(s.nameAt(nameAt))
		}
	}
	if !found && l.md.FullName() != "google.protobuf.Empty" {
		return &SyntaxError{Found: `an object without "value"`, Expected: "the value of a " + string(l.md.FullName()), Offset: begin}
	}
	return nil
}
