package translate_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/upstream"
)

// wanted is one entry of the catalogue: a request, and what becomes of it.
type wanted struct {
	line, body string
	header     []string
	// method and message are what the service sees; message is JSON, compared as a message.
	method, message string
	// status and problem are what the client gets instead: a status, and a part of the answer.
	status  int
	problem string
}

// TestCatalogue holds requests that are easy to get wrong.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	d := library(t)
	var seenMethod *upstream.Method
	var seen []byte
	rt := router(t, d, stub{invoke: func(_ context.Context, m *upstream.Method, req []byte) (upstream.Reply, error) {
		seenMethod, seen = m, req
		return upstream.Reply{}, nil
	}})
	all := catalogue()
	if len(all) < 120 {
		t.Errorf("the catalogue has only %d entries", len(all))
	}
	for _, test := range all {
		seenMethod, seen = nil, nil
		r := do(t, rt, test.line, test.body, test.header...)
		answer := text(t, r)
		name := test.line + " " + test.body
		if len(name) > 100 {
			name = name[:100] + "..."
		}
		if test.status != 0 {
			if seenMethod != nil {
				t.Errorf("%s: reached %s with %s", name, seenMethod.Name, jsonOf(t, seenMethod.Input, seen))
			}
			var p struct {
				Status int `json:"status"`
			}
			if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Status != r.StatusCode {
				t.Errorf("%s: no problem document: %s", name, answer)
			}
			if r.StatusCode != test.status || !strings.Contains(answer, test.problem) {
				t.Errorf("%s: status %d, want %d; answer %s, want %s", name, r.StatusCode, test.status, answer, test.problem)
			}
			continue
		}
		if seenMethod == nil {
			t.Errorf("%s: status %d, answer %s", name, r.StatusCode, answer)
			continue
		}
		if want := libraryService + "/" + test.method; seenMethod.Name != want {
			t.Errorf("%s: reached %s, want %s", name, seenMethod.Name, want)
			continue
		}
		want := dynamicpb.NewMessage(seenMethod.Input)
		got := dynamicpb.NewMessage(seenMethod.Input)
		if err := proto.Unmarshal(message(t, seenMethod.Input, test.message), want); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(seen, got); err != nil {
			t.Errorf("%s: the service got no message: %v", name, err)
			continue
		}
		if !proto.Equal(want, got) {
			t.Errorf("%s: got %s, want %s", name, jsonOf(t, seenMethod.Input, seen), test.message)
		}
	}
}

// ok and bad make entries.
func ok(line, method, message string) wanted {
	return wanted{line: line, method: method, message: message}
}

func okBody(line, body, method, message string) wanted {
	return wanted{line: line, body: body, method: method, message: message}
}

func bad(line string, status int, problem string) wanted {
	return wanted{line: line, status: status, problem: problem}
}

func badBody(line, body string, status int, problem string) wanted {
	return wanted{line: line, body: body, status: status, problem: problem}
}

func (w wanted) with(header ...string) wanted {
	w.header = header
	return w
}

func catalogue() []wanted {
	const (
		invalid  = http.StatusBadRequest
		notFound = http.StatusNotFound
	)
	deep := strings.Repeat(`{"mentor":`, 200) + `{}` + strings.Repeat(`}`, 200)
	return []wanted{
		// Templates.
		ok("GET /v1/shelves/1/books/2", "GetBook", `{"name":"shelves/1/books/2"}`),
		ok("GET /v1/books/2", "GetBook", `{"name":"2"}`),
		ok("GET /v1/any/a/b/c:read", "GetBook", `{"name":"a/b/c"}`),
		ok("GET /v1/any/a:read", "GetBook", `{"name":"a"}`),
		ok("GET /v1/any:read", "GetBook", `{"name":""}`),
		bad("GET /v1/any/a/b/c", notFound, ""),
		bad("GET /v1/any/a/b/c:write", notFound, ""),
		bad("GET /v1/shelves/1/books", notFound, ""),
		bad("GET /v1/shelves/1/books/2/3", notFound, ""),
		bad("GET /v1/shelves//books/2", notFound, ""),
		bad("GET /v1/shelves/1/books/", notFound, ""),
		bad("GET //v1/books/2", notFound, ""),
		bad("GET /v1/books/2/", notFound, ""),
		bad("GET /V1/books/2", notFound, ""),
		bad("GET /v1/Books/2", notFound, ""),
		bad("GET /", notFound, ""),
		bad("GET /v1", notFound, ""),
		bad("GET /test.library.v1.Library/Hidden", notFound, ""),
		badBody("POST /test.library.v1.Library/Hidden", `{}`, notFound, ""),
		bad("GET /ws/test.library.v1.Library/Hidden", notFound, ""),
		// Percent-encoding in paths.
		ok("GET /v1/shelves/1%2F2/books/3", "GetBook", `{"name":"shelves/1%2F2/books/3"}`),
		ok("GET /v1/shelves/1%2f2/books/3", "GetBook", `{"name":"shelves/1%2f2/books/3"}`),
		ok("GET /v1/shelves/a%20b/books/%C3%A9", "GetBook", `{"name":"shelves/a b/books/é"}`),
		ok("GET /v1/books/a%2Fb", "GetBook", `{"name":"a/b"}`),
		ok("GET /v1/books/a%252Fb", "GetBook", `{"name":"a%2Fb"}`),
		ok("GET /v1/books/a+b", "GetBook", `{"name":"a+b"}`),
		ok("GET /v1/books/a%2Bb", "GetBook", `{"name":"a+b"}`),
		ok("GET /v1/books/%3F%23%25", "GetBook", `{"name":"?#%"}`),
		ok("GET /v1/books/%E2%98%83", "GetBook", `{"name":"☃"}`),
		ok("GET /v1/b%6Foks/2", "GetBook", `{"name":"2"}`),
		ok("GET /v1/books/a;b,c=d@e$&'()!*", "GetBook", `{"name":"a;b,c=d@e$&'()!*"}`),
		ok("GET /v1/books/...", "GetBook", `{"name":"..."}`),
		ok("GET /v1/books/..%2F..%2Fadmin", "GetBook", `{"name":"../../admin"}`),
		bad("GET /v1%2Fbooks/2", notFound, ""),
		bad("GET /v1/books/%2e%2e", invalid, "dot segment"),
		bad("GET /v1/books/../books/2", invalid, "dot segment"),
		bad("GET /v1/./books/2", invalid, "dot segment"),
		bad("GET /v1/books/%2e%2e/%2Fetc", invalid, "dot segment"),
		bad("GET /v1/books/a%00b", invalid, "NUL"),
		bad("GET /v1/books/%2E%2E", invalid, "dot segment"),
		bad("GET /v1/books/.%2e", invalid, "dot segment"),
		bad("GET /v1/books/2/..", invalid, "dot segment"),
		bad("GET /v1/%2e/books/2", invalid, "dot segment"),
		ok("GET /v1/books/%252e%252e", "GetBook", `{"name":"%2e%2e"}`),
		ok("GET /v1/books/..;", "GetBook", `{"name":"..;"}`),
		ok("GET /v1/books/..%5Cadmin", "GetBook", `{"name":"..\\admin"}`),
		ok("GET /v1/books/a%0D%0AX:%20y", "GetBook", `{"name":"a\r\nX: y"}`),
		bad("GET /v1//books/2", notFound, ""),
		bad("GET /v1/books//2", notFound, ""),
		bad("GET ///", notFound, ""),
		ok("GET /v1/books/"+strings.Repeat("%2e", 20<<10), "GetBook", `{"name":"`+strings.Repeat(".", 20<<10)+`"}`),
		bad("GET /v1/books/%ff", invalid, "UTF-8"),
		bad("GET /v1/books/%c0%af", invalid, "UTF-8"),
		bad("GET /v1/books/%ED%A0%80", invalid, "UTF-8"),
		ok("GET /v1/books/"+strings.Repeat("a", 60<<10), "GetBook", `{"name":"`+strings.Repeat("a", 60<<10)+`"}`),
		bad("GET /v1/books/"+strings.Repeat("a/", 30<<10), notFound, ""),
		// Verbs.
		ok("GET /v1/books/a:b", "GetBook", `{"name":"a:b"}`),
		ok("GET /v1/books/a%3Awatch", "GetBook", `{"name":"a:watch"}`),
		ok("GET /v1/books/:watch", "GetBook", `{"name":":watch"}`),
		ok("GET /v1/books/a:", "GetBook", `{"name":"a:"}`),
		okBody("POST /v1/shelves/1/books/2:tag", `["x","y"]`, "TagBook", `{"book":{"name":"shelves/1/books/2"},"tags":["x","y"]}`),
		bad("POST /v1/shelves/1/books/2:tags", http.StatusMethodNotAllowed, "allows"),
		// Methods.
		ok("HEAD /v1/books/2", "GetBook", `{"name":"2"}`),
		ok("DELETE /v1/books/2", "DeleteBook", `{"name":"2"}`),
		ok("SEARCH /v1/echo?a_int32=1", "Echo", `{"aInt32":1}`),
		ok("BREW /v1/echo/whatever", "Echo", `{}`),
		bad("PATCH /v1/books/2", http.StatusMethodNotAllowed, "this path allows DELETE, GET, HEAD, OPTIONS, PUT, not PATCH"),
		bad("get /v1/books/2", http.StatusMethodNotAllowed, "not get"),
		bad("POST /v1/echo", http.StatusMethodNotAllowed, ""),
		// All types in paths.
		ok("GET /v1/echo/string/true", "Echo", `{"aString":"true"}`),
		ok("GET /v1/echo/bool/true", "Echo", `{"aBool":true}`),
		bad("GET /v1/echo/bool/1", invalid, "expected true or false"),
		bad("GET /v1/echo/bool/TRUE", invalid, "expected true or false"),
		ok("GET /v1/echo/int32/-5", "Echo", `{"aInt32":-5}`),
		bad("GET /v1/echo/int32/2147483648", invalid, "a_int32"),
		bad("GET /v1/echo/int32/1.5", invalid, "a_int32"),
		bad("GET /v1/echo/int32/0x10", invalid, "a_int32"),
		bad("GET /v1/echo/int32/%201", invalid, "a_int32"),
		bad("GET /v1/echo/int32/1_000", invalid, "a_int32"),
		ok("GET /v1/echo/int64/9223372036854775807", "Echo", `{"aInt64":"9223372036854775807"}`),
		bad("GET /v1/echo/int64/9223372036854775808", invalid, "a_int64"),
		ok("GET /v1/echo/bytes/_-8=", "Echo", `{"aBytes":"/+8="}`),
		ok("GET /v1/echo/bytes/aGk", "Echo", `{"aBytes":"aGk="}`),
		bad("GET /v1/echo/bytes/!", invalid, "base64"),
		ok("GET /v1/echo/enum/DARK_GREEN", "Echo", `{"aEnum":"DARK_GREEN"}`),
		ok("GET /v1/echo/enum/2", "Echo", `{"aEnum":"DARK_GREEN"}`),
		ok("GET /v1/echo/enum/77", "Echo", `{"aEnum":77}`),
		bad("GET /v1/echo/enum/DARK_GREN", invalid, `did you mean \"DARK_GREEN\"?`),
		bad("GET /v1/echo/enum/red", invalid, "a_enum"),
		ok("GET /v1/echo/time/2026-11-23T10:00:00.5Z", "Echo", `{"aTime":"2026-11-23T10:00:00.5Z"}`),
		ok("GET /v1/echo/time/2026-11-23T10:00:00%2B01:00", "Echo", `{"aTime":"2026-11-23T09:00:00Z"}`),
		bad("GET /v1/echo/time/yesterday", invalid, "a_time"),
		ok("GET /v1/echo/duration/1.5s", "Echo", `{"aDuration":"1.5s"}`),
		bad("GET /v1/echo/duration/90", invalid, "a_duration"),
		ok("GET /v1/echo/mask/aString,book.title", "Echo", `{"aMask":"aString,book.title"}`),
		ok("GET /v1/echo/wrapped/-7", "Echo", `{"aWrapped":"-7"}`),
		ok("GET /v1/echo/nested/Ann/300", "Echo", `{"book":{"author":{"firstName":"Ann"},"pages":300}}`),
		ok("GET /v1/echo/rest/a/b", "Echo", `{"aString":"a/b"}`),
		ok("GET /v1/echo/rest", "Echo", `{}`),
		// Query parameters.
		ok("GET /v1/echo", "Echo", `{}`),
		ok("GET /v1/echo?", "Echo", `{}`),
		ok("GET /v1/echo?&&", "Echo", `{}`),
		ok("GET /v1/echo?a_string=x&aBool=true&a_uint32=4294967295&aUint64=18446744073709551615", "Echo",
			`{"aString":"x","aBool":true,"aUint32":4294967295,"aUint64":"18446744073709551615"}`),
		ok("GET /v1/echo?a_float=1e3&a_double=NaN", "Echo", `{"aFloat":1000,"aDouble":"NaN"}`),
		ok("GET /v1/echo?a_double=-Infinity", "Echo", `{"aDouble":"-Infinity"}`),
		bad("GET /v1/echo?a_float=1e39", invalid, "a_float"),
		bad("GET /v1/echo?a_double=0x1p3", invalid, "a_double"),
		bad("GET /v1/echo?a_uint32=-1", invalid, "a_uint32"),
		ok("GET /v1/echo?a_sint64=-3&a_fixed32=7", "Echo", `{"aSint64":"-3","aFixed32":7}`),
		ok("GET /v1/echo?a_flag=true&a_mask=x", "Echo", `{"aFlag":true,"aMask":"x"}`),
		ok("GET /v1/echo?a_string=", "Echo", `{}`),
		ok("GET /v1/echo?a_string", "Echo", `{}`),
		ok("GET /v1/echo?a_string=a%26b%3Dc+d%2B", "Echo", `{"aString":"a&b=c d+"}`),
		ok("GET /v1/echo?a_string=a=b", "Echo", `{"aString":"a=b"}`),
		ok("GET /v1/echo?a_string=a;b", "Echo", `{"aString":"a;b"}`),
		ok("GET /v1/echo?a%5Fstring=x", "Echo", `{"aString":"x"}`),
		ok("GET /v1/echo?maybe=0", "Echo", `{"maybe":0}`),
		ok("GET /v1/echo?otherName=x", "Echo", `{"otherName":"x"}`),
		ok("GET /v1/echo?renamed=x", "Echo", `{"otherName":"x"}`),
		ok("GET /v1/echo?strings=a&strings=&strings=b", "Echo", `{"strings":["a","","b"]}`),
		ok("GET /v1/echo?strings=a,b", "Echo", `{"strings":["a,b"]}`),
		ok("GET /v1/echo?numbers=1&numbers=2&colors=RED&colors=2", "Echo", `{"numbers":[1,2],"colors":["RED","DARK_GREEN"]}`),
		ok("GET /v1/echo?times=2026-01-01T00:00:00Z&times=2027-01-01T00:00:00Z", "Echo",
			`{"times":["2026-01-01T00:00:00Z","2027-01-01T00:00:00Z"]}`),
		ok("GET /v1/echo?book.author.firstName=A&book.author.born=1900&book.tags=x&book.tags=y", "Echo",
			`{"book":{"author":{"firstName":"A","born":1900},"tags":["x","y"]}}`),
		ok("GET /v1/echo?book.author.mentor.mentor.mentor.first_name=M", "Echo",
			`{"book":{"author":{"mentor":{"mentor":{"mentor":{"firstName":"M"}}}}}}`),
		ok("GET /v1/echo/int32/5?a_string=x", "Echo", `{"aInt32":5,"aString":"x"}`),
		bad("GET /v1/echo?numbers=1&numbers=x", invalid, `query parameter \"numbers\"`),
		bad("GET /v1/echo?a_string=x&a_string=x", invalid, `query parameter \"a_string\": given more than once`),
		bad("GET /v1/echo?a_string=x&aString=y", invalid, `query parameter \"aString\": given more than once`),
		bad("GET /v1/echo/int32/5?a_int32=5", invalid, "the path already gives this field"),
		bad("GET /v1/echo/int32/5?aInt32=6", invalid, "the path already gives this field"),
		bad("GET /v1/echo/nested/A/1?book.pages=2", invalid, "the path already gives this field"),
		ok("GET /v1/echo/nested/A/1?book.title=T", "Echo", `{"book":{"author":{"firstName":"A"},"pages":1,"title":"T"}}`),
		bad("GET /v1/echo?a_strin=x", invalid, `did you mean \"a_string\"?`),
		bad("GET /v1/echo?A_STRING=x", invalid, "unknown field"),
		bad("GET /v1/echo?=x", invalid, "unknown field"),
		bad("GET /v1/echo?.=x", invalid, "unknown field"),
		bad("GET /v1/echo?book.=x", invalid, "unknown field"),
		bad("GET /v1/echo?a_string.x=x", invalid, "unknown field"),
		bad("GET /v1/echo?book=x", invalid, "name one of its fields"),
		bad("GET /v1/echo?books=x", invalid, "cannot hold"),
		bad("GET /v1/echo?books.title=x", invalid, "unknown field"),
		bad("GET /v1/echo?labels=x", invalid, "cannot hold"),
		bad("GET /v1/echo?labels.key=x", invalid, "unknown field"),
		bad("GET /v1/echo?labels[a]=x", invalid, "unknown field"),
		bad("GET /v1/echo?a_struct=%7B%7D", invalid, "a_struct"),
		bad("GET /v1/echo?a_time.seconds=5", invalid, "a_time.seconds"),
		bad("GET /v1/echo?a_string=%ff", invalid, "UTF-8"),
		bad("GET /v1/echo?a_string=%zz", invalid, "malformed percent-encoding"),
		bad("GET /v1/echo?a_string=%", invalid, "malformed percent-encoding"),
		bad("GET /v1/echo?%zz=1", invalid, "malformed percent-encoding"),
		bad("GET /v1/echo?left=a&right=1", invalid, "right"),
		bad("GET /v1/echo?"+strings.Repeat("strings=a&", 10000), invalid, "more than 1000 parameters"),
		ok("GET /v1/echo?book.author."+strings.Repeat("mentor.", 30)+"born=7", "Echo",
			`{"book":{"author":`+strings.Repeat(`{"mentor":`, 30)+`{"born":7}`+strings.Repeat("}", 32)),
		bad("GET /v1/echo?book.author."+strings.Repeat("mentor.", 31)+"born=7", invalid, "too deep"),
		bad("GET /v1/echo?"+strings.Repeat("a.", 5000)+"a=1", invalid, ""),
		// Which part of the answer.
		ok("GET /v1/echo?fields=a_string", "Echo", `{}`),
		ok("GET /v1/books/2?fields=x&$fields=title", "GetBook", `{"name":"2","fields":"x"}`),
		bad("GET /v1/echo?fields=aStrin", invalid, `did you mean \"aString\"?`),
		bad("GET /v1/echo?fields=", invalid, "fields"),
		bad("GET /v1/echo?fields=a_string&fields=a_bool", invalid, "more than once"),
		bad("GET /v1/echo?fields=book(title", invalid, "parenthesis"),
		bad("GET /v1/echo?fields="+strings.Repeat("book(author(", 100), invalid, "fields"),
		ok("GET /v1/echo", "Echo", `{}`).with("X-Goog-FieldMask", "book.title"),
		bad("GET /v1/echo", invalid, "fields").with("X-Goog-FieldMask", "nope"),
		// Bodies.
		okBody("POST /v1/books", `{"title":"T","isbn":"9","author":{"first_name":"A"}}`, "CreateBook", `{"title":"T","isbn":"9","author":{"firstName":"A"}}`),
		okBody("POST /v1/books", ``, "CreateBook", `{}`),
		okBody("POST /v1/books", " \n", "CreateBook", `{}`),
		okBody("POST /v1/books", `{"isbn":1e2,"pages":"7","author":null}`, "CreateBook", `{"isbn":"100","pages":7}`),
		okBody("PUT /v1/books/7", `{"title":"T"}`, "CreateBook", `{"name":"7","title":"T"}`),
		okBody("PUT /v1/books/7", `{"name":"7"}`, "CreateBook", `{"name":"7"}`),
		badBody("PUT /v1/books/7", `{"name":"8"}`, invalid, "name differs between path and body"),
		okBody("POST /v1/echo/0", `{"aInt32":0}`, "Echo", `{}`),
		badBody("POST /v1/echo/0", `{"aInt32":5}`, invalid, "a_int32 differs"),
		badBody("POST /v1/echo/side/x", `{"right":1}`, invalid, "left"),
		badBody("POST /v1/books?title=T", `{}`, invalid, "all fields come with the path and the body"),
		okBody("POST /v1/books?fields=title", `{}`, "CreateBook", `{}`),
		okBody("PATCH /v1/shelves/1/books/2?updateMask=title,pages", `{"title":"T"}`, "UpdateBook",
			`{"book":{"name":"shelves/1/books/2","title":"T"},"updateMask":"title,pages"}`),
		okBody("PATCH /v1/shelves/1/books/2", ``, "UpdateBook", `{"book":{"name":"shelves/1/books/2"}}`),
		okBody("PATCH /v1/shelves/1/books/2", `{"name":"shelves/1/books/2"}`, "UpdateBook", `{"book":{"name":"shelves/1/books/2"}}`),
		badBody("PATCH /v1/shelves/1/books/2", `{"name":"x"}`, invalid, "book.name differs"),
		badBody("PATCH /v1/shelves/1/books/2?book.title=x", `{}`, invalid, "the body already gives this field"),
		badBody("POST /v1/shelves/1/books/2:tag", `"x"`, invalid, "malformed"),
		badBody("DELETE /v1/books/2", `{"x":1}`, invalid, "takes no body"),
		badBody("GET /v1/books/2", `{}`, invalid, "takes no body"),
		badBody("POST /v1/books", `{`, invalid, "malformed"),
		badBody("POST /v1/books", `{}{}`, invalid, "malformed"),
		badBody("POST /v1/books", `[]`, invalid, "malformed"),
		badBody("POST /v1/books", `null`, invalid, "malformed"),
		badBody("POST /v1/books", `{"titel":"T"}`, invalid, "titel"),
		badBody("POST /v1/books", `{"title":1}`, invalid, "title"),
		badBody("POST /v1/books", `{"title":"a","title":"b"}`, invalid, "title"),
		badBody("POST /v1/books", `{"pages":2147483648}`, invalid, "pages"),
		badBody("POST /v1/books", `{"pages":1.5}`, invalid, "pages"),
		badBody("POST /v1/books", `{"tags":"x"}`, invalid, "tags"),
		badBody("POST /v1/books", `{"title":"`+"\xff"+`"}`, invalid, ""),
		badBody("POST /v1/books", `{"title":"`+"\x01"+`"}`, invalid, ""),
		badBody("POST /v1/books", `{"title":"\ud800"}`, invalid, ""),
		badBody("POST /v1/books", `{"author":`+deep+`}`, invalid, ""),
		badBody("POST /v1/any", strings.Repeat(`[`, 100_000), invalid, ""),
		badBody("POST /v1/any", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000), invalid, ""),
		badBody("POST /v1/books", `{"title":"`+strings.Repeat("a", 2<<20)+`"}`, http.StatusRequestEntityTooLarge, "larger than"),
		okBody("POST /v1/any", `{"a":[1,{"b":null}]}`, "Any", `{"a":[1,{"b":null}]}`),
		// Content types.
		okBody("POST /v1/books", `{}`, "CreateBook", `{}`).with("Content-Type", "application/json; charset=UTF-8"),
		okBody("POST /v1/books", `{}`, "CreateBook", `{}`).with("Content-Type", "application/merge-patch+json"),
		okBody("POST /v1/books", "\x12\x01T", "CreateBook", `{"title":"T"}`).with("Content-Type", "application/protobuf"),
		okBody("POST /v1/books", "\x12\x01a\x18\x05\x12\x01T", "CreateBook", `{"title":"T","pages":5}`).with("Content-Type", "application/x-protobuf"),
		okBody("PATCH /v1/shelves/1/books/2", "\x12\x01T", "UpdateBook", `{"book":{"name":"shelves/1/books/2","title":"T"}}`).
			with("Content-Type", "application/protobuf"),
		badBody("PUT /v1/books/7", "\x0a\x018", invalid, "differs").with("Content-Type", "application/protobuf"),
		badBody("POST /v1/books", "\x12\x05T", invalid, "malformed").with("Content-Type", "application/protobuf"),
		badBody("POST /v1/shelves/1/books/2:tag", "x", http.StatusUnsupportedMediaType, "send JSON").with("Content-Type", "application/protobuf"),
		badBody("POST /v1/books", `title=T`, http.StatusUnsupportedMediaType, "expected application/json or application/protobuf").with("Content-Type", "application/x-www-form-urlencoded"),
		badBody("POST /v1/books", `{}`, http.StatusUnsupportedMediaType, "content type").with("Content-Type", "text/plain"),
		badBody("POST /v1/books", `{}`, http.StatusUnsupportedMediaType, "content type").with("Content-Type", ";"),
		badBody("POST /v1/books", `{}`, http.StatusUnsupportedMediaType, "charset").with("Content-Type", "application/json; charset=latin1"),
		badBody("POST /v1/books", `{}`, http.StatusUnsupportedMediaType, "content coding").with("Content-Encoding", "lzma"),
		okBody("POST /v1/books", `{}`, "CreateBook", `{}`).with("Content-Encoding", "identity"),
		// Accept.
		ok("GET /v1/books/2", "GetBook", `{"name":"2"}`).with("Accept", "text/html, application/*;q=0.5"),
		bad("GET /v1/books/2", http.StatusNotAcceptable, "").with("Accept", "text/html"),
		bad("GET /v1/books/2", http.StatusNotAcceptable, "").with("Accept", "application/json;q=0"),
		bad("GET /v1/titles/2", http.StatusNotAcceptable, "").with("Accept", "application/protobuf"),
		// HttpBody.
		okBody("POST /v1/files/a.png", "\x00\x01", "Upload", `{"name":"a.png","file":{"contentType":"image/png","data":"AAE="}}`).with("Content-Type", "image/png"),
		badBody("POST /v1/files/a", "x", invalid, "the Content-Type is not UTF-8").with("Content-Type", "image/\xff"),
		okBody("POST /v1/files/a", "", "Upload", `{"name":"a","file":{}}`),
		okBody("POST /v1/files/a", "{", "Upload", `{"name":"a","file":{"contentType":"application/json","data":"ew=="}}`).with("Content-Type", "application/json"),
	}
}
