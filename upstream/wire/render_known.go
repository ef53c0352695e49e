package wire

import (
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// wellKnown appends the JSON form of a well-known type. The slots of its program are its fields as they are declared.
func (s *render) wellKnown(p *program, msg []byte, depth int) error {
	base := len(s.spans)
	if _, err := s.scan(p, msg, base); err != nil {
		return err
	}
	defer func() { s.spans = s.spans[:base] }()
	slot := func(i int) *fieldSpan { return &s.spans[base+i] }
	switch p.l.special {
	case specialTimestamp, specialDuration:
		seconds, nanos := int64(s.bits(p, 0, slot(0), msg)), int32(s.bits(p, 1, slot(1), msg))
		if p.l.special == specialTimestamp {
			return s.timestamp(seconds, nanos)
		}
		return s.duration(seconds, nanos)
	case specialWrapper:
		return s.element(&p.outputs[0], p.outputs[0].f, s.content(slot(0), msg), depth)
	case specialStruct:
		return s.mapping(&p.outputs[0], msg[slot(0).first:slot(0).stop], depth)
	case specialListValue:
		_, err := s.list(&p.outputs[0], msg[slot(0).first:slot(0).stop], depth)
		return err
	case specialFieldMask:
		return s.fieldMask(msg[slot(0).first:slot(0).stop])
	case specialAny:
		return s.any(s.content(slot(0), msg), s.content(slot(1), msg), depth)
	case specialValue:
		return s.knownValue(p, base, msg, depth)
	case notSpecial:
	}
	return nil
}

// bits reads a scalar slot; 0 if there is nothing.
func (s *render) bits(p *program, output int, span *fieldSpan, msg []byte) uint64 {
	if span.count == 0 {
		return 0
	}
	return p.outputs[output].f.bits(msg[span.start:span.end])
}

// timestamp appends a time in the form of RFC 3339 with 0, 3, 6 or 9 digits of a second.
func (s *render) timestamp(seconds int64, nanos int32) error {
	if !validTimestamp(seconds, nanos) {
		return fmt.Errorf("%w: google.protobuf.Timestamp out of range", ErrInvalid)
	}
	b := grow(s.out, len(s.out), slack)
	s.out = b[:s.putTimestamp(b, len(s.out), seconds, nanos)]
	return nil
}

func validTimestamp(seconds int64, nanos int32) bool {
	return seconds >= minTimestampSeconds && seconds <= maxTimestampSeconds && nanos >= 0 && nanos <= maxNanos
}

// dateOf turns days since 1970-01-01 into a date of the Gregorian calendar: the inverse of daysTo.
func dateOf(days int64) (year, month, day int) {
	z := int(days) + 719468
	era := z / 146097 // z is never negative: the year 1 is the first
	dayOfEra := z % 146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	m := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*m+2)/5 + 1
	year, month = yearOfEra+era*400, m+3
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// appendFraction appends a point and 3, 6 or 9 digits; nothing for 0.
func appendFraction(b []byte, nanos int32) []byte {
	if nanos == 0 {
		return b
	}
	count := 9
	for nanos%1000 == 0 {
		nanos /= 1000
		count -= 3
	}
	b = append(b, ".000000000"[:1+count]...)
	for i := len(b) - 1; nanos > 0; i-- {
		b[i] = byte('0' + nanos%10)
		nanos /= 10
	}
	return b
}

// duration appends seconds with 0, 3, 6 or 9 digits after the point.
func (s *render) duration(seconds int64, nanos int32) error {
	if seconds < -maxDurationSeconds || seconds > maxDurationSeconds || nanos < -maxNanos || nanos > maxNanos ||
		seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return fmt.Errorf("%w: google.protobuf.Duration out of range", ErrInvalid)
	}
	s.out = append(s.out, '"')
	if seconds < 0 || nanos < 0 {
		s.out = append(s.out, '-')
		seconds, nanos = -seconds, -nanos
	}
	s.out = appendFraction(strconv.AppendInt(s.out, seconds, 10), nanos)
	s.out = append(s.out, 's', '"')
	return nil
}

// fieldMask appends paths in lowerCamelCase. A path that would not come back the same has no JSON form.
func (s *render) fieldMask(part []byte) error {
	s.out = append(s.out, '"')
	some := false
	for at := 0; at < len(part); {
		num, typ, n := protowire.ConsumeTag(part[at:])
		end, content, _ := valueEnd(part, at+n, num, typ)
		at = end
		if num != pathsField || typ != bytesType {
			continue
		}
		if some {
			s.out = append(s.out, ',')
		}
		some = true
		path := part[content:end]
		if !isIdentifier(path) {
			return fmt.Errorf("%w: google.protobuf.FieldMask with the path %q", ErrInvalid, path)
		}
		for i := 0; i < len(path); i++ {
			c := path[i]
			switch {
			case c == '_' && i+1 < len(path) && 'a' <= path[i+1] && path[i+1] <= 'z':
				i++
				c = path[i] - 'a' + 'A'
			case c == '_' || 'A' <= c && c <= 'Z':
				return fmt.Errorf("%w: google.protobuf.FieldMask with the path %q", ErrInvalid, path)
			}
			s.out = append(s.out, c)
		}
	}
	s.out = append(s.out, '"')
	return nil
}

// knownValue appends a google.protobuf.Value.
func (s *render) knownValue(p *program, base int, msg []byte, depth int) error {
	for i := range p.outputs {
		span := &s.spans[base+i]
		if span.count == 0 {
			continue
		}
		f := p.outputs[i].f
		content := s.content(span, msg)
		if f.num == numberKind {
			if n := math.Float64frombits(f.bits(content)); math.IsNaN(n) || math.IsInf(n, 0) {
				return fmt.Errorf("%w: google.protobuf.Value with the number %v", ErrInvalid, n)
			}
		}
		return s.element(&p.outputs[i], f, content, depth)
	}
	return fmt.Errorf("%w: google.protobuf.Value without a value", ErrInvalid)
}

// any appends a google.protobuf.Any: the fields of its message beside its type, or its JSON form as "value".
func (s *render) any(url, value []byte, depth int) error {
	if len(url) == 0 {
		if len(value) > 0 {
			return fmt.Errorf("%w: google.protobuf.Any without a type", ErrInvalid)
		}
		s.out = append(s.out, '{', '}')
		return nil
	}
	l := s.programs.types.any(string(url))
	if l == nil {
		return fmt.Errorf("%w: google.protobuf.Any of the unknown type %q", ErrInvalid, url)
	}
	p := s.programs.all(l)
	out, ok := appendValidString(append(s.out, `{"@type":`...), url)
	if !ok {
		return fmt.Errorf("%w: google.protobuf.Any of a type that is not UTF-8", ErrInvalid)
	}
	s.out = out
	if depth <= 0 {
		return errDepth()
	}
	var err error
	if l.special != notSpecial {
		s.out = append(s.out, `,"value":`...)
		err = s.wellKnown(p, value, depth-1)
	} else {
		_, err = s.fields(p, value, depth-1, true)
	}
	s.out = append(s.out, '}')
	return err
}
