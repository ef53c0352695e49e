package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// textValue appends a text as one value of f, without its tag.
func (w *writer) textValue(f *field, text string) *ValueError {
	switch {
	case f.msg == nil:
		return w.textScalar(f, text)
	case f.wire == protowire.StartGroupType:
		wrong := w.textMessage(f.msg, text)
		w.out = protowire.AppendTag(w.out, f.num, protowire.EndGroupType)
		return wrong
	}
	at := w.begin()
	wrong := w.textMessage(f.msg, text)
	w.end(at)
	return wrong
}

// textMessage appends the fields of a well-known type in its text form.
func (w *writer) textMessage(l *layout, text string) *ValueError {
	bad := func(expected string) *ValueError {
		return &ValueError{Found: quote(text), Expected: expected}
	}
	switch l.special {
	case specialWrapper:
		start := len(w.out)
		w.out = protowire.AppendVarint(w.out, l.fields[0].tag)
		value := len(w.out)
		wrong := w.textScalar(&l.fields[0], text)
		if isZero(w.out[value:]) {
			w.out = w.out[:start]
		}
		return wrong
	case specialTimestamp, specialDuration:
		parse, expected := parseTimestamp, timestampText
		if l.special == specialDuration {
			parse, expected = parseDuration, durationText
		}
		seconds, nanos, ok := parse([]byte(text))
		if !ok {
			return bad(expected)
		}
		w.time(seconds, nanos)
		return nil
	case specialFieldMask:
		out, ok := appendFieldMask(w.out, []byte(text))
		if !ok {
			return bad("field names in lowerCamelCase separated by commas")
		}
		w.out = out
		return nil
	default:
		return &ValueError{Found: fmt.Sprintf("a %s has no text form", l.md.FullName())}
	}
}

// isZero reports whether an encoded value that is no message is zero: 0, false, "" or no bytes.
func isZero(value []byte) bool {
	for _, c := range value {
		if c != 0 {
			return false
		}
	}
	return true
}

// textScalar appends a value that is no message, without its tag.
func (w *writer) textScalar(f *field, text string) *ValueError {
	bad := func(expected string, nearest string) *ValueError {
		return &ValueError{Found: quote(text), Expected: expected, Nearest: nearest}
	}
	var (
		bits uint64
		err  error
	)
	switch f.kind {
	case protoreflect.StringKind:
		if !utf8.ValidString(text) {
			return bad("UTF-8", "")
		}
		w.out = protowire.AppendString(w.out, text)
		return nil
	case protoreflect.BytesKind:
		b, err := decodeBase64(text)
		if err != nil {
			return bad(kindText(f), "")
		}
		w.out = protowire.AppendBytes(w.out, b)
		return nil
	case protoreflect.EnumKind:
		n, ok := f.enum.byName[text]
		if !ok {
			number, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return bad(kindText(f), mistake.Nearest(text, f.enum.names()))
			}
			n = int32(number)
		}
		bits = uint64(int64(n))
	case protoreflect.BoolKind:
		switch text {
		case "true":
			bits = 1
		case "false":
		default:
			err = strconv.ErrSyntax
		}
	default:
		bits, err = textNumber(f.kind, text)
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return bad(kindText(f)+" within its range", "")
	case err != nil:
		return bad(kindText(f), "")
	}
	w.out = appendBits(w.out, f.kind, bits)
	return nil
}

// textNumber reads a number in decimal, or NaN, Infinity or -Infinity.
func textNumber(k protoreflect.Kind, text string) (uint64, error) {
	switch k {
	case protoreflect.FloatKind:
		f, err := textFloat(text, 32)
		return floatBits(k, f), err
	case protoreflect.DoubleKind:
		f, err := textFloat(text, 64)
		return floatBits(k, f), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.ParseUint(text, 10, 32)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.ParseUint(text, 10, 64)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		return uint64(n), err
	default:
		n, err := strconv.ParseInt(text, 10, 32)
		return uint64(n), err
	}
}

func textFloat(text string, bits int) (float64, error) {
	if f, ok := notFinite([]byte(text)); ok {
		return f, nil
	}
	if strings.Trim(text, "0123456789+-.eE") != "" { // package strconv knows more forms
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, bits)
}

// decodeBase64 accepts both alphabets of RFC 4648, with and without padding.
func decodeBase64(s string) ([]byte, error) {
	enc := base64.StdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.URLEncoding
	}
	if len(s)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	return enc.DecodeString(s)
}
