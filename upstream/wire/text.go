package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/internal/nearest"
	"unicode/utf8"
)

// textValue reads a text as one value of fd.
func textValue(at protoreflect.Message, fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, *ValueError) {
	if fd.Message() != nil {
		return textMessage(at, fd, text)
	}
	return textScalar(fd, text)
}

// textMessage reads the text form of a well-known type.
func textMessage(at protoreflect.Message, fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, *ValueError) {
	var v protoreflect.Value
	if fd.IsList() {
		v = at.NewField(fd).List().NewElement()
	} else {
		v = at.NewField(fd)
	}
	m := v.Message()
	switch specialOf(fd.Message()) {
	case specialWrapper:
		inner := fd.Message().Fields().ByNumber(1)
		w, err := textScalar(inner, text)
		if err != nil {
			return v, err
		}
		m.Set(inner, w)
		return v, nil
	case specialTimestamp, specialDuration, specialFieldMask:
		if err := protojson.Unmarshal(AppendJSONString(nil, []byte(text)), m.Interface()); err != nil || !utf8.ValidString(text) {
			expected := map[special]string{
				specialTimestamp: "a time such as 2006-01-02T15:04:05Z",
				specialDuration:  "a duration in seconds such as 1.5s",
				specialFieldMask: "field names separated by commas",
			}[specialOf(fd.Message())]
			return v, &ValueError{Found: strconv.Quote(text), Expected: expected}
		}
		return v, nil
	default:
		return v, &ValueError{Found: fmt.Sprintf("a %s has no text form", fd.Message().FullName())}
	}
}

// textScalar reads the text of a scalar.
func textScalar(fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, *ValueError) {
	bad := func(expected string) (protoreflect.Value, *ValueError) {
		return protoreflect.Value{}, &ValueError{Found: strconv.Quote(text), Expected: expected}
	}
	switch k := fd.Kind(); k {
	case protoreflect.BoolKind:
		switch text {
		case "true":
			return protoreflect.ValueOfBool(true), nil
		case "false":
			return protoreflect.ValueOfBool(false), nil
		}
		return bad("true or false")
	case protoreflect.StringKind:
		if !utf8.ValidString(text) {
			return bad("UTF-8")
		}
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BytesKind:
		b, err := decodeBase64(text)
		if err != nil {
			return bad("base64")
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.EnumKind:
		return textEnum(fd, text)
	case protoreflect.FloatKind:
		f, err := textFloat(text, 32)
		if err != nil {
			return bad(numberExpected(err, "a number"))
		}
		return protoreflect.ValueOfFloat32(float32(f)), nil
	case protoreflect.DoubleKind:
		f, err := textFloat(text, 64)
		if err != nil {
			return bad(numberExpected(err, "a number"))
		}
		return protoreflect.ValueOfFloat64(f), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return bad(numberExpected(err, "an integer of 32 bits"))
		}
		return protoreflect.ValueOfInt32(int32(n)), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return bad(numberExpected(err, "an integer of 64 bits"))
		}
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return bad(numberExpected(err, "a non-negative integer of 32 bits"))
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return bad(numberExpected(err, "a non-negative integer of 64 bits"))
		}
		return protoreflect.ValueOfUint64(n), nil
	default:
		return bad("a scalar")
	}
}

func numberExpected(err error, what string) string {
	if errors.Is(err, strconv.ErrRange) {
		return what + " within its range"
	}
	return what
}

// textFloat reads a decimal number, or NaN, Infinity or -Infinity.
func textFloat(text string, bits int) (float64, error) {
	switch text {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, bits)
}

// textEnum reads an enum value by name or by number.
func textEnum(fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, *ValueError) {
	values := fd.Enum().Values()
	if v := values.ByName(protoreflect.Name(text)); v != nil {
		return protoreflect.ValueOfEnum(v.Number()), nil
	}
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	}
	known := make([]string, values.Len())
	for i := range known {
		known[i] = string(values.Get(i).Name())
	}
	return protoreflect.Value{}, &ValueError{Found: strconv.Quote(text), Expected: fmt.Sprintf("a value of %s", fd.Enum().FullName()),
		Nearest: nearest.Name(text, known)}
}

// decodeBase64 accepts both alphabets, with and without padding.
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
