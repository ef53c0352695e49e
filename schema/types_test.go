package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/portico-bff/portico/schema"
)

// sinkSDL binds every kind of field, some in several ways.
const sinkSDL = `
type Query {
  sink: Sink! @grpc(method: "library.v1.Library/GetKitchenSink")
  everything: JSON @grpc(method: "library.v1.Library/GetKitchenSink")
  words: [String!] @grpc(method: "library.v1.Library/GetKitchenSink", select: "words")
  innerName: String @grpc(method: "library.v1.Library/GetKitchenSink", select: "nested.inner.name")
  put(
    b: Boolean, i32: Int, i64: Int64, u32: Int, u64: ID, f: Float, d: Float, s: String, raw: Base64, genre: Genre, at: DateTime,
    lasts: Duration, mask: String, meta: JSON, anyValue: JSON, maybeS: String, maybeI64: Int64, maybeB: Boolean, numbers: [Int!],
    words: [String], genres: [Genre!], counts: [CountInput!], nested: NestedInput, shelf: ShelfInput
  ): JSON @grpc(method: "library.v1.Library/PutKitchenSink")
  nestedOnly(inner: NestedInput!): JSON @grpc(method: "library.v1.Library/PutKitchenSink",
    input: {nested: {name: "fixed {args.inner.name}", inner: "{args.inner}"}, i32: 7, genre: GENRE_POETRY, words: ["a", "b"]})
}
type Sink {
  b: Boolean! i32: Int! i64: Int64! u32: Int u64: Int64 f: Float d: Float s: String! raw: Base64!
  i64AsId: ID @proto(field: "i64") u32AsInt64: Int64 @proto(field: "u32") dAsString: String @proto(field: "d")
  i32AsFloat: Float @proto(field: "i32")
  genre: Genre odd: OddGenre @proto(field: "genre")
  at: DateTime lasts: Duration mask: String meta: JSON anyValue: JSON any: JSON
  maybeS: String maybeI64: Int64 maybeB: Boolean maybeI32: Int
  numbers: [Int!]! words: [String!]! wordsOrNull: [String!] @proto(field: "words", nullIfEmpty: true) genres: [Genre!]!
  counts: [Count!]! countsJSON: JSON @proto(field: "counts") shelves: [ShelfEntry!]!
  numbersJSON: JSON @proto(field: "numbers")
  owner: Owner author: Author shelf: Shelf
  sOrNull: String @proto(field: "s", nullIfEmpty: true) i32OrNull: Int @proto(field: "i32", nullIfEmpty: true)
  innerName: String @proto(field: "nested.inner.name") nestedJSON: JSON @proto(field: "nested")
  innerShelves: [Shelf!] @proto(field: "nested.inner.shelves")
}
type Count { key: String! value: Int! }
type ShelfEntry { key: Int! value: Shelf }
union Owner = Author | Shelf
type Author { name: String! }
type Shelf { label: String! }
enum Genre { NOVEL POETRY }
enum OddGenre { UNSPECIFIED NOVEL @proto(value: "GENRE_NOVEL") STRANGE @proto(value: "GENRE_ODD") }
input CountInput { key: String! value: Int! }
input ShelfInput { label: String = "none" }
input NestedInput { name: String inner: NestedInput shelves: [ShelfInput!] }
`

func TestOutputTypes(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, sinkSDL, schema.Options{})
	tests := []struct{ name, query, sink, want string }{
		{
			"defaults of fields without presence, null of the others",
			`{ sink { b i32 i64 u32 u64 f d s raw i64AsId u32AsInt64 dAsString i32AsFloat genre odd at lasts mask meta anyValue any maybeS maybeI64 maybeB maybeI32 numbers words wordsOrNull genres counts { key } countsJSON shelves { key } numbersJSON owner { __typename } author { name } sOrNull i32OrNull innerName nestedJSON innerShelves { label } } }`,
			`{}`,
			`{"sink":{"b":false,"i32":0,"i64":"0","u32":0,"u64":"0","f":0,"d":0,"s":"","raw":"","i64AsId":"0","u32AsInt64":"0",` +
				`"dAsString":"0","i32AsFloat":0,"genre":null,"odd":"UNSPECIFIED","at":null,"lasts":null,"mask":null,"meta":null,` +
				`"anyValue":null,"any":null,"maybeS":null,"maybeI64":null,"maybeB":null,"maybeI32":null,"numbers":[],"words":[],` +
				`"wordsOrNull":null,"genres":[],"counts":[],"countsJSON":{},"shelves":[],"numbersJSON":[],"owner":null,"author":null,` +
				`"sOrNull":null,"i32OrNull":null,"innerName":null,"nestedJSON":null,"innerShelves":null}}`,
		},
		{
			"values",
			`{ sink { b i32 i64 u32 u64 f d s raw i64AsId u32AsInt64 dAsString i32AsFloat genre odd } }`,
			`{"b": true, "i32": -5, "i64": "-9223372036854775808", "u32": 2147483647, "u64": "18446744073709551615", "f": 0.1, "d": 1e300,
			  "s": "\"\\ \n \u2028 é", "raw": "AP8=", "genre": "GENRE_ODD"}`,
			`{"sink":{"b":true,"i32":-5,"i64":"-9223372036854775808","u32":2147483647,"u64":"18446744073709551615","f":0.1,"d":1e+300,` +
				`"s":"\"\\ \n ` + "\u2028" + ` é","raw":"AP8=","i64AsId":"-9223372036854775808","u32AsInt64":"2147483647","dAsString":"1e+300",` +
				`"i32AsFloat":-5,"genre":null,"odd":"STRANGE"}}` + "\nsink.genre: the value does not fit Genre (1:78) [Internal]",
		},
		{
			"what Int and Float cannot hold",
			`{ sink { u32 u32AsInt64 d dAsString f } }`, `{"u32": 2147483648, "d": "NaN", "f": "-Infinity"}`,
			`{"sink":{"u32":null,"u32AsInt64":"2147483648","d":null,"dAsString":"NaN","f":null}}` +
				"\nsink.d: the value does not fit Float (1:25) [Internal]\nsink.f: the value does not fit Float (1:37) [Internal]\nsink.u32: the value does not fit Int (1:10) [Internal]",
		},
		{
			"well-known types",
			`{ sink { at lasts mask meta anyValue any maybeS maybeI64 maybeB maybeI32 } }`,
			`{"at": "2026-11-23T15:04:05.120Z", "lasts": "1.5s", "mask": "aB,c", "meta": {"k": [1, null]}, "anyValue": "x",
			  "any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "2s"}, "maybeS": "", "maybeI64": "5", "maybeB": true, "maybeI32": 0}`,
			`{"sink":{"at":"2026-11-23T15:04:05.120Z","lasts":"1.500s","mask":"aB,c","meta":{"k":[1,null]},"anyValue":"x",` +
				`"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"2s"},"maybeS":"","maybeI64":"5","maybeB":true,"maybeI32":0}}`,
		},
		{
			"lists and maps",
			`{ sink { numbers words wordsOrNull genres counts { key value } countsJSON numbersJSON shelves { key value { label } } } }`,
			`{"numbers": [3, 0, -1], "words": ["", "b"], "genres": ["GENRE_POETRY"], "counts": {"a": 1}, "shelves": {"7": {"label": "L"}}}`,
			`{"sink":{"numbers":[3,0,-1],"words":["","b"],"wordsOrNull":["","b"],"genres":["POETRY"],"counts":[{"key":"a","value":1}],` +
				`"countsJSON":{"a":1},"numbersJSON":[3,0,-1],"shelves":[{"key":7,"value":{"label":"L"}}]}}`,
		},
		{
			"a oneof as a union and as fields",
			`{ sink { owner { __typename ... on Author { name } ... on Shelf { label } } author { name } shelf { label } } }`,
			`{"shelf": {"label": "L"}}`,
			`{"sink":{"owner":{"__typename":"Shelf","label":"L"},"author":null,"shelf":{"label":"L"}}}`,
		},
		{
			"paths",
			`{ sink { innerName nestedJSON innerShelves { label } } innerName words }`,
			`{"nested": {"name": "n", "inner": {"name": "i", "shelves": [{"label": "s"}]}}, "words": ["w"]}`,
			`{"sink":{"innerName":"i","nestedJSON":{"name":"n","inner":{"name":"i","shelves":[{"label":"s"}]}},"innerShelves":[{"label":"s"}]},` +
				`"innerName":"i","words":["w"]}`,
		},
		{"a whole answer", `{ everything }`, `{"i32": 5, "words": ["w"]}`, `{"everything":{"i32":5,"words":["w"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]handler{"GetKitchenSink": answer(tt.sink)})
			if diff := cmp.Diff(tt.want, execute(t, compile(t, s, tt.query), f, nil)); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

// echo answers with the request, as JSON.
func echo(_ context.Context, req map[string]any) (string, error) {
	text, err := json.Marshal(req)
	return string(text), err
}

func TestInputTypes(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, sinkSDL, schema.Options{})
	tests := []struct{ name, args, want string }{
		{"nothing", "", `PutKitchenSink {}`},
		{"null is not set", "(s: null, nested: null, counts: null)", `PutKitchenSink {}`},
		{
			"scalars", `(b: true, i32: -3, i64: "9007199254740993", u32: 7, u64: "18446744073709551615", f: 1.5, d: 2, s: "x\u00e9\n", raw: "AP8=")`,
			`PutKitchenSink {"b":true,"d":2,"f":1.5,"i32":-3,"i64":"9007199254740993","raw":"AP8=","s":"xé\n","u32":7,"u64":"18446744073709551615"}`,
		},
		{
			"well-known types", `(at: "2026-11-23T16:04:05+01:00", lasts: "1.5s", mask: "aB,c", meta: {k: [1, {deep: null}], e: E}, anyValue: [true], maybeS: "", maybeI64: 5, maybeB: false)`,
			`PutKitchenSink {"any_value":[true],"at":"2026-11-23T15:04:05Z","lasts":"1.500s","mask":"aB,c","maybe_b":false,"maybe_i64":"5","maybe_s":"","meta":{"e":"E","k":[1,{"deep":null}]}}`,
		},
		{"enums", `(genre: POETRY, genres: [NOVEL])`, `PutKitchenSink {"genre":"GENRE_POETRY","genres":["GENRE_NOVEL"]}`},
		{"one is a list of one", `(numbers: 5, genres: NOVEL)`, `PutKitchenSink {"genres":["GENRE_NOVEL"],"numbers":[5]}`},
		{"a map", `(counts: [{key: "a", value: 1}, {key: "b", value: 0}])`, `PutKitchenSink {"counts":{"a":1,"b":0}}`},
		{
			"objects and their defaults", `(nested: {name: "n", inner: {shelves: [{}, {label: "L"}, {label: null}]}}, shelf: {})`,
			`PutKitchenSink {"nested":{"inner":{"shelves":[{"label":"none"},{"label":"L"},{}]},"name":"n"},"shelf":{"label":"none"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]handler{"PutKitchenSink": echo})
			r := compile(t, s, "{ put"+tt.args+" }").Execute(t.Context(), f, nil)
			if len(r.Errors) > 0 {
				t.Fatal(r.Errors)
			}
			if diff := cmp.Diff([]string{tt.want}, f.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
	f := newFake(t, map[string]handler{"PutKitchenSink": echo})
	r := compile(t, s, `{ nestedOnly(inner: {name: "N"}) }`).Execute(t.Context(), f, nil)
	want := `PutKitchenSink {"genre":"GENRE_POETRY","i32":7,"nested":{"inner":{"name":"N"},"name":"fixed N"},"words":["a","b"]}`
	if len(r.Errors) > 0 || f.calls[0] != want {
		t.Errorf("calls %v, errors %v", f.calls, r.Errors)
	}
}

// TestInputFailures asserts that what a request field cannot hold is an error of the field, and no call.
func TestInputFailures(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, sinkSDL, schema.Options{})
	for args, want := range map[string]string{
		`(words: ["a", null])`:         "a list must not hold null here",
		`(u32: -1)`:                    "-1",
		`(at: "0000-01-01T00:00:00Z")`: "put",
	} {
		f := newFake(t, map[string]handler{"PutKitchenSink": echo})
		got := execute(t, compile(t, s, "{ put"+args+" }"), f, nil)
		if !strings.HasPrefix(got, `{"put":null}`+"\n") || !strings.Contains(got, want) || len(f.calls) > 0 {
			t.Errorf("%s gives %s and calls %v", args, got, f.calls)
		}
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, sinkSDL+`
extend type Query { choose(one: One): JSON @grpc(method: "library.v1.Library/PutKitchenSink", input: {s: "{args.one.a}", i32: "{args.one.b}"}) }
input One @oneOf { a: String b: Int }
`, schema.Options{})
	tests := []struct{ typ, value, use, want string }{
		{"Int", `5`, "i32", `{"i32":5}`},
		{"Int", `5.0`, "i32", `{"i32":5}`},
		{"Int", `5.5`, "i32", "variable $v: 5.5 is no Int"},
		{"Int", `"5"`, "i32", `variable $v: "5" is no Int`},
		{"Int", `2147483648`, "i32", "variable $v: 2147483648 is no Int"},
		{"Int", `true`, "i32", "variable $v: true is no Int"},
		{"Int!", `null`, "i32", "variable $v: null where Int! is needed"},
		{"Int!", ``, "i32", "variable $v: is missing, and it is Int!"},
		{"Int", `null`, "i32", `{}`},
		{"Int", ``, "i32", `{}`},
		{"Int = 9", ``, "i32", `{"i32":9}`},
		{"Int = 9", `null`, "i32", `{}`},
		{"Float", `5`, "d", `{"d":5}`},
		{"Float", `"x"`, "d", `variable $v: "x" is no Float`},
		{"String", `5`, "s", "variable $v: 5 is no String"},
		{"Boolean", `1`, "b", "variable $v: 1 is no Boolean"},
		{"ID", `5`, "u64", `{"u64":"5"}`},
		{"ID", `"5"`, "u64", `{"u64":"5"}`},
		{"ID", `5.5`, "u64", "variable $v: 5.5 is no ID"},
		{"Int64", `"9223372036854775807"`, "i64", `{"i64":"9223372036854775807"}`},
		{"Int64", `"abc"`, "i64", `variable $v: "abc" is no Int64`},
		{"Genre", `"NOVEL"`, "genre", `{"genre":"GENRE_NOVEL"}`},
		{"Genre", `"novel"`, "genre", `variable $v: "novel" is no value of Genre`},
		{"Genre", `1`, "genre", `variable $v: 1 is no value of Genre`},
		{"DateTime", `"2026-11-23T15:04:05Z"`, "at", `{"at":"2026-11-23T15:04:05Z"}`},
		{"DateTime", `"yesterday"`, "at", `variable $v: "yesterday" is no DateTime`},
		{"Duration", `"5"`, "lasts", `variable $v: "5" is no Duration`},
		{"Base64", `"!"`, "raw", `variable $v: "!" is no Base64`},
		{"JSON", `{"a": [1]}`, "meta", `{"meta":{"a":[1]}}`},
		{"[Int!]", `[1, 2]`, "numbers", `{"numbers":[1,2]}`},
		{"[Int!]", `3`, "numbers", `{"numbers":[3]}`},
		{"[Int!]", `[1, null]`, "numbers", "variable $v[1]: null where Int! is needed"},
		{"[Int!]", `[1, "x"]`, "numbers", `variable $v[1]: "x" is no Int`},
		{"NestedInput", `{"name": "n", "inner": {"shelves": [{}]}}`, "nested", `{"nested":{"inner":{"shelves":[{"label":"none"}]},"name":"n"}}`},
		{"NestedInput", `{"nam": "n"}`, "nested", `variable $v: NestedInput has no field "nam"`},
		{"NestedInput", `{"inner": {"name": 5}}`, "nested", `variable $v.inner.name: 5 is no String`},
		{"NestedInput", `"x"`, "nested", `variable $v: "x" where an object of NestedInput is needed`},
		{"[CountInput!]", `[{"key": "a"}]`, "counts", `variable $v[0].value: is missing, and it is Int!`},
		{"One", `{"a": "x"}`, "one", `{"s":"x"}`},
		{"One", `{"a": "x", "b": 1}`, "one", "variable $v: One needs exactly one field, not 2"},
		{"One", `{"a": null}`, "one", "variable $v.a: null in One, which needs exactly one value"},
	}
	for _, tt := range tests {
		name := fmt.Sprintf("%s from %s", tt.typ, tt.value)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			field := "put"
			if tt.use == "one" {
				field = "choose"
			}
			op := compile(t, s, fmt.Sprintf("query($v: %s) { %s(%s: $v) }", tt.typ, field, tt.use))
			for _, decoded := range []string{"json.Number", "float64", "coerced by gqlparser"} {
				vars := map[string]any{}
				if tt.value != "" {
					d := json.NewDecoder(strings.NewReader(`{"v":` + tt.value + `}`))
					if decoded != "float64" {
						d.UseNumber()
					}
					if err := d.Decode(&vars); err != nil {
						t.Fatal(err)
					}
				}
				if decoded == "coerced by gqlparser" {
					coerced, err := validator.VariableValues(s.AST(), op.Definition(), vars)
					if err != nil {
						continue
					}
					vars = coerced
				}
				f := newFake(t, map[string]handler{"PutKitchenSink": echo})
				r := op.Execute(t.Context(), f, vars)
				var got string
				switch {
				case len(r.Errors) > 0:
					got = r.Errors[0].Message
					if r.Data != nil {
						t.Errorf("data of a request error: %s", r.Data)
					}
				default:
					got = strings.TrimPrefix(f.calls[0], "PutKitchenSink ")
				}
				if got != tt.want {
					t.Errorf("%s: got %s, want %s", decoded, got, tt.want)
				}
			}
		})
	}
}
