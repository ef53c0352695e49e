package translate_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// The property: a query makes the message that a slow reader makes of it, one sentence of the rules after another, or both
// refuse it.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "&&", "a_string=x&aBool=true&a_uint32=4294967295&aUint64=18446744073709551615", "a_float=1e3&a_double=NaN", "a_float=1e39",
		"a_double=-Infinity&a_sint64=-3&a_fixed32=7", "a_double=0x1p3", "a_double=+.5", "a_string=a%26b%3Dc+d%2B", "a_string=a=b;c", "a%5Fstring=x",
		"maybe=0&otherName=x", "renamed=x&otherName=y", "strings=a&strings=&strings=b", "numbers=1&numbers=+2&colors=RED&colors=-2", "numbers=1&numbers=x",
		"times=2026-01-01T00:00:00Z&times=2027-01-01T00:00:00%2B01:00", "a_time=now", "a_duration=-1.5s&a_mask=aString,book.title", "a_wrapped=&a_flag=true",
		"book.author.firstName=A&book.author.born=1900&book.tags=x&book.tags=y&book.title=", "book.author.mentor.mentor.first_name=M", "book=x", "book.=x",
		".=x", "=x", "books.title=x", "labels=x", "labels.key=x", "a_struct=x", "a_time.seconds=5", "a_string=%ff", "a_string=%zz", "%zz=1", "left=a&right=1",
		"left=a&left=a", "a_string=x&aString=y", "a_bytes=_-8&a_enum=DARK_GREEN", "a_bytes=_/", "a_enum=PINK", "a_enum=99999999999", "a_bool=TRUE",
		"book.author." + strings.Repeat("mentor.", 30) + "born=1", "book.author." + strings.Repeat("mentor.", 31) + "born=1",
	} {
		f.Add(seed)
	}
	d := library(f)
	m := method(f, d, "Echo")
	var seen []byte
	var called bool
	rt, err := translate.New([]*upstream.Method{m}, translate.Options{
		Resolver: d.Types(),
		Rules:    map[string]translate.Configured{m.Name: {Rule: &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: "/q"}}}},
		Caller: stub{invoke: func(_ context.Context, _ *upstream.Method, req []byte) (upstream.Reply, error) {
			seen, called = req, true
			return upstream.Reply{}, nil
		}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "fields") || strings.Contains(query, "%") && strings.Contains(decodedLoosely(query), "fields") {
			return // the system's
		}
		called = false
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/q", RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r.WithContext(t.Context()))
		want := dynamicpb.NewMessage(m.Input)
		ok := readQuery(want, query)
		if ok != called || !ok && w.Code != http.StatusBadRequest {
			t.Fatalf("%q: status %d, %s, but the reference says %t", query, w.Code, w.Body, ok)
		}
		if !ok {
			return
		}
		got := dynamicpb.NewMessage(m.Input)
		if err := proto.Unmarshal(seen, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("%q: got %v, %v, want %v", query, got, err, want)
		}
	})
}

// decodedLoosely decodes whatever can be decoded.
func decodedLoosely(query string) string {
	var all []string
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == '=' }) {
		if decoded, err := url.QueryUnescape(part); err == nil {
			all = append(all, decoded)
		}
	}
	return strings.Join(all, "&")
}

// readQuery is the slow reader; it reports whether the query is right.
func readQuery(m *dynamicpb.Message, query string) bool {
	given := map[string]bool{} // singular fields, by the path of their names
	count := 0
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(rawName)
		value, err2 := url.QueryUnescape(rawValue)
		if count++; count > 1000 || err1 != nil || err2 != nil || strings.Count(name, ".") > 32 {
			return false
		}
		var at protoreflect.Message = m
		path := ""
		parts := strings.Split(name, ".")
		for i, part := range parts {
			fd := fieldOf(at.Descriptor(), part)
			if fd == nil {
				return false
			}
			path += "." + string(fd.Name())
			if oneof := fd.ContainingOneof(); oneof != nil && at.WhichOneof(oneof) != nil && at.WhichOneof(oneof) != fd {
				return false
			}
			if i == len(parts)-1 {
				if !fd.IsList() && given[path] || !setValue(at, fd, value) {
					return false
				}
				given[path] = true
				break
			}
			if fd.Message() == nil || fd.IsList() || fd.IsMap() || fd.Message().ParentFile().Package() == "google.protobuf" {
				return false
			}
			at = at.Mutable(fd).Message()
		}
	}
	return true
}

func fieldOf(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByName(protoreflect.Name(name))
}

// setValue sets a field, or adds an element.
func setValue(m protoreflect.Message, fd protoreflect.FieldDescriptor, text string) bool {
	if fd.IsMap() || fd.Message() != nil && (fd.Message().ParentFile().Package() != "google.protobuf" || fd.Message().Name() == "Struct") {
		return false
	}
	var value protoreflect.Value
	switch {
	case fd.Message() != nil && fd.Message().Fields().ByName("value") != nil && fd.Message().Fields().Len() == 1: // a wrapper
		wrapper := dynamicpb.NewMessage(fd.Message())
		if !setValue(wrapper, fd.Message().Fields().ByName("value"), text) {
			return false
		}
		value = protoreflect.ValueOfMessage(wrapper)
	case fd.Message() != nil || fd.Kind() == protoreflect.BytesKind: // as protojson reads it
		quoted, err := json.Marshal(map[string]string{fd.JSONName(): text})
		holder := dynamicpb.NewMessage(fd.ContainingMessage())
		if fd.IsList() {
			quoted, err = json.Marshal(map[string][]string{fd.JSONName(): {text}})
		}
		if err != nil || !utf8.ValidString(text) || protojson.Unmarshal(quoted, holder) != nil {
			return false
		}
		if value = holder.Get(fd); fd.IsList() {
			value = value.List().Get(0)
		}
	default:
		var ok bool
		if value, ok = scalarOf(fd, text); !ok {
			return false
		}
	}
	if fd.IsList() {
		m.Mutable(fd).List().Append(value)
		return true
	}
	m.Set(fd, value)
	return true
}

func scalarOf(fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, bool) {
	bits := map[protoreflect.Kind]int{
		protoreflect.Int32Kind: 32, protoreflect.Uint32Kind: 32, protoreflect.Fixed32Kind: 32, protoreflect.FloatKind: 32, protoreflect.EnumKind: 32,
		protoreflect.Int64Kind: 64, protoreflect.Sint64Kind: 64, protoreflect.Uint64Kind: 64, protoreflect.DoubleKind: 64,
	}[fd.Kind()]
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), utf8.ValidString(text)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(text == "true"), text == "true" || text == "false"
	case protoreflect.EnumKind:
		if v := fd.Enum().Values().ByName(protoreflect.Name(text)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
		n, err := strconv.ParseInt(text, 10, bits)
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err == nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		// What protobuf's JSON calls NaN and Infinity, and decimals, but nothing else of what package strconv knows.
		decimal := strings.Trim(text, "0123456789+-.eE") == ""
		n, err := strconv.ParseFloat(text, bits)
		if ok := err == nil && (decimal || text == "NaN" || text == "Infinity" || text == "-Infinity"); !ok || bits == 64 {
			return protoreflect.ValueOfFloat64(n), ok
		}
		return protoreflect.ValueOfFloat32(float32(n)), true
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(text, 10, bits)
		return protoreflect.ValueOfUint32(uint32(n)), err == nil
	case protoreflect.Uint64Kind:
		n, err := strconv.ParseUint(text, 10, bits)
		return protoreflect.ValueOfUint64(n), err == nil
	case protoreflect.Int32Kind:
		n, err := strconv.ParseInt(text, 10, bits)
		return protoreflect.ValueOfInt32(int32(n)), err == nil
	default:
		n, err := strconv.ParseInt(text, 10, bits)
		return protoreflect.ValueOfInt64(n), err == nil
	}
}
