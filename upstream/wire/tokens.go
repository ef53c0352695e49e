package wire

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// lexer cuts a JSON text (RFC 8259) into tokens. Nothing but space, tab, line feed and carriage return may stand
// between them.
type lexer struct {
	in      []byte
	at      int
	scratch []byte // of the last string with escapes
}

// fail makes an error about what stands at offset at.
func (x *lexer) fail(at int, expected string) *SyntaxError {
	return &SyntaxError{Expected: expected, Found: x.describe(at), Offset: at}
}

// maxFound bounds how much of the input an error quotes.
const maxFound = 80

// describe names what stands at an offset.
func (x *lexer) describe(at int) string {
	for at < len(x.in) && isSpace(x.in[at]) {
		at++
	}
	if at >= len(x.in) {
		return "the end of the text"
	}
	rest := x.in[at:]
	switch c := rest[0]; c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		probe := lexer{in: x.in, at: at}
		s, err := probe.text()
		if err != nil {
			return "a malformed string"
		}
		return quote(string(s))
	default:
		n := 0
		for n < len(rest) && n < maxFound && isWord(rest[n]) {
			n++
		}
		if n > 0 {
			return string(rest[:n])
		}
		r, _ := utf8.DecodeRune(rest)
		return strconv.QuoteRune(r)
	}
}

// short cuts what an error repeats of its input.
func short(s string) string {
	if len(s) <= maxFound {
		return s
	}
	return strings.ToValidUTF8(s[:maxFound], "") + "..."
}

// quote quotes what an error repeats of its input.
func quote(s string) string { return strconv.Quote(short(s)) }

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// isWord reports whether a byte continues a number or a literal.
func isWord(c byte) bool {
	return c == '-' || c == '+' || c == '.' || c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// peek returns the first byte of the next token, 0 at the end.
func (x *lexer) peek() byte {
	for x.at < len(x.in) {
		c := x.in[x.at]
		if c > ' ' || !isSpace(c) {
			return c
		}
		x.at++
	}
	return 0
}

// open reads '{' or '['.
func (x *lexer) open(c byte, expected string) *SyntaxError {
	if x.peek() != c {
		return x.fail(x.at, expected)
	}
	x.at++
	return nil
}

// next reads what separates the members of an object or array that ends with end: it reports whether another member
// follows.
func (x *lexer) next(end byte, first bool) (bool, *SyntaxError) {
	switch c := x.peek(); {
	case c == end:
		x.at++
		return false, nil
	case first:
		return true, nil
	case c == ',':
		x.at++
		if x.peek() == end {
			return false, x.fail(x.at, "a value after the comma")
		}
		return true, nil
	default:
		return false, x.fail(x.at, "',' or "+strconv.QuoteRune(rune(end)))
	}
}

// name reads the name of a member and the colon after it. The bytes are valid until the next string is read.
func (x *lexer) name() ([]byte, *SyntaxError) {
	if x.peek() != '"' {
		return nil, x.fail(x.at, "a name in quotes")
	}
	s, err := x.text()
	if err != nil {
		return nil, err
	}
	if x.peek() != ':' {
		return nil, x.fail(x.at, "':' after a name")
	}
	x.at++
	return s, nil
}

// text reads a string, at the opening quote. The bytes are valid until the next string is read.
func (x *lexer) text() ([]byte, *SyntaxError) {
	start := x.at + 1
	i := start
	for len(x.in)-i >= 8 && plainWord(binary.LittleEndian.Uint64(x.in[i:])) {
		i += 8
	}
	for ; i < len(x.in); i++ {
		switch c := x.in[i]; {
		case c == '"':
			x.at = i + 1
			return x.in[start:i:i], nil
		case c == '\\':
			return x.escaped(start, i)
		case c < ' ':
			return nil, &SyntaxError{Found: "a control character in a string", Offset: i}
		case c >= utf8.RuneSelf:
			return x.unicode(start, i)
		}
	}
	return nil, &SyntaxError{Found: "the end of the text in a string", Offset: len(x.in)}
}

// unicode goes on reading a string at its first character beyond ASCII.
func (x *lexer) unicode(start, i int) ([]byte, *SyntaxError) {
	for i < len(x.in) {
		switch c := x.in[i]; {
		case c == '"':
			x.at = i + 1
			return x.in[start:i:i], nil
		case c == '\\':
			return x.escaped(start, i)
		case c < ' ':
			return nil, &SyntaxError{Found: "a control character in a string", Offset: i}
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(x.in[i:])
			if r == utf8.RuneError && n == 1 {
				return nil, &SyntaxError{Found: "a string that is not UTF-8", Offset: i}
			}
			i += n
		}
	}
	return nil, &SyntaxError{Found: "the end of the text in a string", Offset: len(x.in)}
}

// escaped goes on reading a string at its first escape sequence.
func (x *lexer) escaped(start, i int) ([]byte, *SyntaxError) {
	out := append(x.scratch[:0], x.in[start:i]...)
	for i < len(x.in) {
		c := x.in[i]
		switch {
		case c == '"':
			x.at = i + 1
			x.scratch = out
			return out, nil
		case c < ' ':
			return nil, &SyntaxError{Found: "a control character in a string", Offset: i}
		case c == '\\':
			var n int
			if out, n = unescape(out, x.in[i:]); n == 0 {
				return nil, &SyntaxError{Found: "a malformed escape sequence in a string", Offset: i}
			}
			i += n
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			r, n := utf8.DecodeRune(x.in[i:])
			if r == utf8.RuneError && n == 1 {
				return nil, &SyntaxError{Found: "a string that is not UTF-8", Offset: i}
			}
			out = append(out, x.in[i:i+n]...)
			i += n
		}
	}
	return nil, &SyntaxError{Found: "the end of the text in a string", Offset: len(x.in)}
}

// unescape appends what the escape sequence at the beginning of in stands for, and returns its length; 0 if it is
// malformed. A lone surrogate is malformed.
func unescape(out, in []byte) ([]byte, int) {
	if len(in) < 2 {
		return out, 0
	}
	switch in[1] {
	case '"', '\\', '/':
		return append(out, in[1]), 2
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
	default:
		return out, 0
	}
	r, ok := hex4(in[2:])
	if !ok {
		return out, 0
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), 6
	}
	if len(in) < 12 || in[6] != '\\' || in[7] != 'u' {
		return out, 0
	}
	low, ok := hex4(in[8:])
	r = utf16.DecodeRune(r, low)
	if !ok || r == utf8.RuneError {
		return out, 0
	}
	return utf8.AppendRune(out, r), 12
}

// hex4 reads four hexadecimal digits.
func hex4(in []byte) (rune, bool) {
	if len(in) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range in[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// literal reads true, false or null, of which the first letter has been seen.
func (x *lexer) literal(word string) bool {
	end := x.at + len(word)
	if end > len(x.in) || string(x.in[x.at:end]) != word || end < len(x.in) && isWord(x.in[end]) {
		return false
	}
	x.at = end
	return true
}

// number reads a number, of which the first byte has been seen.
func (x *lexer) number() ([]byte, bool) {
	n := numberLen(x.in[x.at:])
	if n == 0 || x.at+n < len(x.in) && isWord(x.in[x.at+n]) {
		return nil, false
	}
	b := x.in[x.at : x.at+n]
	x.at += n
	return b, true
}

// numberLen is the length of the number at the beginning of in; 0 if there is none.
func numberLen(in []byte) int {
	i := 0
	if i < len(in) && in[i] == '-' {
		i++
	}
	switch {
	case i < len(in) && in[i] == '0':
		i++
	case i < len(in) && '1' <= in[i] && in[i] <= '9':
		i += digits(in[i:])
	default:
		return 0
	}
	if i < len(in) && in[i] == '.' {
		n := digits(in[i+1:])
		if n == 0 {
			return 0
		}
		i += 1 + n
	}
	if i < len(in) && (in[i] == 'e' || in[i] == 'E') {
		i++
		if i < len(in) && (in[i] == '+' || in[i] == '-') {
			i++
		}
		n := digits(in[i:])
		if n == 0 {
			return 0
		}
		i += n
	}
	return i
}

// digits counts the decimal digits at the beginning of in.
func digits(in []byte) int {
	n := 0
	for n < len(in) && '0' <= in[n] && in[n] <= '9' {
		n++
	}
	return n
}

// skip reads any value and checks its syntax. depth bounds how deep it may nest.
func (x *lexer) skip(depth int) *SyntaxError {
	switch c := x.peek(); c {
	case '{', '[':
		if depth <= 0 {
			return &SyntaxError{Found: "a value that is nested too deep", Offset: x.at}
		}
		x.at++
		end := c + 2 // '}' and ']' are two after '{' and '['
		for first := true; ; first = false {
			more, err := x.next(end, first)
			if err != nil || !more {
				return err
			}
			if c == '{' {
				if _, err := x.name(); err != nil {
					return err
				}
			}
			if err := x.skip(depth - 1); err != nil {
				return err
			}
		}
	case '"':
		_, err := x.text()
		return err
	case 't':
		if x.literal("true") {
			return nil
		}
	case 'f':
		if x.literal("false") {
			return nil
		}
	case 'n':
		if x.literal("null") {
			return nil
		}
	default:
		if _, ok := x.number(); ok {
			return nil
		}
	}
	return x.fail(x.at, "a value")
}
