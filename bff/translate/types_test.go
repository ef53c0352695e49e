package translate_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// Every type that has a text can be bound by a path, by a query parameter of either spelling, and nested; and what is no
// text of it is refused by name in all of these places.
func TestEveryTypeInPathAndQuery(t *testing.T) {
	t.Parallel()
	d := library(t)
	echo := method(t, d, "Echo")
	var seen string
	caller := stub{invoke: func(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
		seen = jsonOf(t, m.Input, req)
		return upstream.Reply{}, nil
	}}
	for _, test := range []struct {
		field, json string
		good        map[string]string // the text, and its JSON
		bad         []string
	}{
		{"a_string", "aString", map[string]string{"x y/z": `"x y/z"`, "null": `"null"`, "☃": `"☃"`}, nil},
		{"a_bool", "aBool", map[string]string{"true": "true"}, []string{"1", "yes", "True", ""}},
		{"a_int32", "aInt32", map[string]string{"-2147483648": "-2147483648", "+1": "1"}, []string{"2147483648", "1.5", "1e2", "x", ""}},
		{"a_int64", "aInt64", map[string]string{"-9223372036854775808": `"-9223372036854775808"`}, []string{"9223372036854775808", "0x1"}},
		{"a_uint32", "aUint32", map[string]string{"4294967295": "4294967295"}, []string{"-1", "4294967296"}},
		{"a_uint64", "aUint64", map[string]string{"18446744073709551615": `"18446744073709551615"`}, []string{"-1", "18446744073709551616"}},
		{"a_sint64", "aSint64", map[string]string{"-3": `"-3"`}, []string{"a"}},
		{"a_fixed32", "aFixed32", map[string]string{"7": "7"}, []string{"-7"}},
		{"a_float", "aFloat", map[string]string{"1.5": "1.5", "-Infinity": `"-Infinity"`}, []string{"1e39", "inf", "1,5"}},
		{"a_double", "aDouble", map[string]string{"1e300": "1e+300", "NaN": `"NaN"`}, []string{"1e309", "nan", "0x1p1"}},
		{"a_bytes", "aBytes", map[string]string{"_-8": `"/+8="`, "/+8=": `"/+8="`}, []string{"*", "a"}},
		{"a_enum", "aEnum", map[string]string{"RED": `"RED"`, "2": `"DARK_GREEN"`, "9": "9"}, []string{"red", "PINK", "1.5"}},
		{"a_time", "aTime", map[string]string{"2026-11-23T10:00:00+01:00": `"2026-11-23T09:00:00Z"`}, []string{"2026-11-23", "now"}},
		{"a_duration", "aDuration", map[string]string{"-1.5s": `"-1.500s"`}, []string{"1.5", "1h", "s"}},
		{"a_mask", "aMask", map[string]string{"aString,book.title": `"aString,book.title"`}, []string{"a b"}},
		{"a_wrapped", "aWrapped", map[string]string{"0": `"0"`, "-7": `"-7"`}, []string{"x"}},
		{"a_flag", "aFlag", map[string]string{"false": "false"}, []string{"0"}},
		{"maybe", "maybe", map[string]string{"0": "0"}, []string{"x"}},
		{"left", "left", map[string]string{"l": `"l"`}, nil},
		{"book.author.first_name", "book.author.firstName", map[string]string{"Ann": `"Ann"`}, nil},
		{"book.isbn", "book.isbn", map[string]string{"9": `"9"`}, []string{"x"}},
	} {
		rule := &annotations.HttpRule{
			Pattern: &annotations.HttpRule_Get{Get: "/p/{" + test.field + "}"},
			AdditionalBindings: []*annotations.HttpRule{
				{Pattern: &annotations.HttpRule_Get{Get: "/j/{" + test.json + "}"}},
				{Pattern: &annotations.HttpRule_Get{Get: "/q"}},
			},
		}
		rt, err := translate.New([]*upstream.Method{echo}, translate.Options{
			Caller: caller, Resolver: d.Types(), Rules: map[string]translate.Configured{echo.Name: {Rule: rule}},
		})
		if err != nil {
			t.Errorf("%s: %v", test.field, err)
			continue
		}
		targets := func(value string) []string {
			all := []string{"/q?" + test.field + "=" + url.QueryEscape(value), "/q?" + test.json + "=" + url.QueryEscape(value)}
			if value != "" { // no segment of a path is empty
				all = append(all, "/p/"+url.PathEscape(value), "/j/"+url.PathEscape(value))
			}
			return all
		}
		for value, json := range test.good {
			want := jsonOf(t, echo.Input, message(t, echo.Input, nested(test.json, json)))
			for _, target := range targets(value) {
				seen = ""
				if r := do(t, rt, "GET "+target, ""); r.StatusCode != http.StatusOK || seen != want {
					t.Errorf("%s: status %d, got %s, want %s", target, r.StatusCode, seen, want)
				}
			}
		}
		for _, value := range test.bad {
			for _, target := range targets(value) {
				seen = ""
				if r := do(t, rt, "GET "+target, ""); r.StatusCode != http.StatusBadRequest || seen != "" {
					t.Errorf("%s: status %d, got %s: %s", target, r.StatusCode, seen, text(t, r))
				}
			}
		}
	}
}

// nested writes a value at a path of JSON names.
func nested(path, json string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' {
			return nested(path[:i], `{"`+path[i+1:]+`":`+json+`}`)
		}
	}
	return `{"` + path + `":` + json + `}`
}
