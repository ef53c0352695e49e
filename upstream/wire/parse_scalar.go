package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// scalar appends a value that is no message, without its tag. It reports whether there was one at all (unknown enum
// names may be discarded), and whether it was zero.
func (s *parse) scalar(f *field) (present, zero bool, err *SyntaxError) {
	start := s.at
	c := s.peek()
	var bits uint64
	ok := false
	switch f.kind {
	case protoreflect.StringKind:
		if c != '"' {
			break
		}
		text, err := s.text()
		if err != nil {
			return false, false, err
		}
		s.out = protowire.AppendBytes(s.out, text)
		return true, len(text) == 0, nil
	case protoreflect.BytesKind:
		if c != '"' {
			break
		}
		return s.base64()
	case protoreflect.BoolKind:
		switch {
		case c == 't' && s.literal("true"):
			bits, ok = 1, true
		case c == 'f' && s.literal("false"):
			ok = true
		}
	case protoreflect.EnumKind:
		return s.enum(f)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		bits, ok, err = s.float(f.kind, c)
	default:
		bits, ok, err = s.integer(f.kind, c)
	}
	switch {
	case err != nil:
		return false, false, err
	case !ok:
		return false, false, s.fail(start, kindText(f))
	}
	s.out = appendBits(s.out, f.kind, bits)
	return true, bits == 0, nil
}

// kindText says what values a field takes.
func kindText(f *field) string {
	switch f.kind {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "a string in base64"
	case protoreflect.EnumKind:
		return "a value of " + string(f.enum.ed.FullName())
	case protoreflect.FloatKind:
		return "a number of 32 bits"
	case protoreflect.DoubleKind:
		return "a number"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "an integer from 0 to 4294967295"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "an integer from 0 to 18446744073709551615"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return "an integer of 64 bits"
	default:
		return "an integer from -2147483648 to 2147483647"
	}
}

// digitsOf reads a number, or the text of a string that may hold one.
func (s *parse) digitsOf(c byte) (b []byte, quoted, ok bool, err *SyntaxError) {
	if c == '"' {
		b, err = s.text()
		return b, true, err == nil, err
	}
	b, ok = s.number()
	return b, false, ok, nil
}

// integer reads an integer, which may be a string, or be written with a fraction of zeros or an exponent.
func (s *parse) integer(k protoreflect.Kind, c byte) (uint64, bool, *SyntaxError) {
	b, quoted, ok, err := s.digitsOf(c)
	if !ok || err != nil {
		return 0, false, err
	}
	if quoted && (len(b) == 0 || numberLen(b) != len(b)) {
		return 0, false, nil
	}
	bits, ok := integerBits(k, b)
	return bits, ok, nil
}

// integerBits turns a JSON number into an integer of a kind, if it is one within the kind's range.
func integerBits(k protoreflect.Kind, b []byte) (uint64, bool) {
	neg, magnitude, ok := magnitude(b)
	if !ok {
		return 0, false
	}
	switch k {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return magnitude, !neg && magnitude <= math.MaxUint32
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return magnitude, !neg
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		if neg {
			return -magnitude, magnitude <= 1<<63
		}
		return magnitude, magnitude < 1<<63
	default:
		if neg {
			return -magnitude, magnitude <= 1<<31
		}
		return magnitude, magnitude < 1<<31
	}
}

// magnitude reads a JSON number that is an integer. Zero is never negative.
func magnitude(b []byte) (neg bool, n uint64, ok bool) {
	if b[0] == '-' {
		neg, b = true, b[1:]
	}
	for _, c := range b {
		if c < '0' || c > '9' || n > math.MaxUint64/10-1 {
			n, ok = exponential(b)
			return neg && n != 0, n, ok
		}
		n = n*10 + uint64(c-'0')
	}
	return neg && n != 0, n, true
}

// maxDigits is how many digits the largest integer has.
const maxDigits = 20

// exponential reads a JSON number without sign, which may have a fraction or an exponent, if it is an integer.
func exponential(b []byte) (n uint64, ok bool) {
	i, exp := digits(b), 0
	whole, frac := b[:i], []byte(nil)
	if i < len(b) && b[i] == '.' {
		frac = b[i+1 : i+1+digits(b[i+1:])]
		i += 1 + len(frac)
	}
	whole, frac = bytes.TrimLeft(whole, "0"), bytes.TrimRight(frac, "0")
	if len(whole) == 0 && len(frac) == 0 {
		return 0, true
	}
	if i < len(b) {
		e, err := strconv.ParseInt(string(b[i+1:]), 10, 32)
		if err != nil {
			return 0, false
		}
		exp = int(e)
	}
	switch {
	case exp >= 0 && (len(frac) > exp || len(whole)+exp > maxDigits):
		return 0, false
	case exp < 0 && (len(frac) > 0 || -exp > len(whole) || len(bytes.Trim(whole[len(whole)+exp:], "0")) > 0):
		return 0, false
	}
	for i := range len(whole) + exp {
		d := uint64(0)
		switch {
		case i < len(whole):
			d = uint64(whole[i] - '0')
		case i < len(whole)+len(frac):
			d = uint64(frac[i-len(whole)] - '0')
		}
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// float reads a number, which may be a string, or one of the strings for what is no number.
func (s *parse) float(k protoreflect.Kind, c byte) (uint64, bool, *SyntaxError) {
	b, quoted, ok, err := s.digitsOf(c)
	if !ok || err != nil {
		return 0, false, err
	}
	if quoted {
		if f, ok := notFinite(b); ok {
			return floatBits(k, f), true, nil
		}
		if len(b) == 0 || numberLen(b) != len(b) {
			return 0, false, nil
		}
	}
	width := 64
	if k == protoreflect.FloatKind {
		width = 32
	}
	f, wrong := strconv.ParseFloat(string(b), width)
	return floatBits(k, f), wrong == nil, nil
}

// floatBits returns the IEEE 754 bits of a float of a kind.
func floatBits(k protoreflect.Kind, f float64) uint64 {
	if k == protoreflect.FloatKind {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// notFinite reads the names of the values that JSON numbers cannot express.
func notFinite(b []byte) (float64, bool) {
	switch string(b) {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// enum reads the name or the number of an enum value.
func (s *parse) enum(f *field) (present, zero bool, err *SyntaxError) {
	start := s.at
	switch c := s.peek(); {
	case c == '"':
		name, err := s.text()
		if err != nil {
			return false, false, err
		}
		n, ok := f.enum.byName[string(name)]
		if !ok {
			if s.p.o.DiscardUnknown {
				return false, false, nil
			}
			e := s.fail(start, kindText(f))
			e.Nearest = mistake.Nearest(string(name), f.enum.names())
			return false, false, e
		}
		s.out = protowire.AppendVarint(s.out, uint64(int64(n)))
		return true, n == 0, nil
	case c == 'n' && f.enum.isNull && s.literal("null"):
		s.out = append(s.out, 0)
		return true, true, nil
	default:
		b, ok := s.number()
		if !ok {
			return false, false, s.fail(start, kindText(f))
		}
		bits, ok := integerBits(protoreflect.Int32Kind, b)
		if !ok {
			return false, false, s.fail(start, kindText(f))
		}
		s.out = protowire.AppendVarint(s.out, bits)
		return true, bits == 0, nil
	}
}

// names lists the names of the values.
func (e *enum) names() []string {
	out := make([]string, e.ed.Values().Len())
	for i := range out {
		out[i] = string(e.ed.Values().Get(i).Name())
	}
	return out
}

// base64 reads bytes in either alphabet of RFC 4648, with or without padding.
func (s *parse) base64() (present, zero bool, err *SyntaxError) {
	start := s.at
	text, err := s.text()
	if err != nil {
		return false, false, err
	}
	enc := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		enc = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	at := s.begin()
	out, wrong := enc.AppendDecode(s.out, text)
	if wrong != nil {
		return false, false, s.fail(start, "a string in base64")
	}
	s.out = out
	size := len(out) - at
	s.end(at)
	return true, size == 0, nil
}

// isIdentifier reports whether a text is a name, or names separated by dots, as protobuf has them.
func isIdentifier(b []byte) bool {
	letter := false // whether a letter has begun a name
	for _, c := range b {
		switch {
		case c == '_' || c < unicode.MaxASCII && unicode.IsLetter(rune(c)):
			letter = true
		case '0' <= c && c <= '9' && letter:
		case c == '.' && letter:
			letter = false
		default:
			return false
		}
	}
	return letter
}
