package schema_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/schema"
	"github.com/portico-bff/portico/upstream"
)

func TestMutationsAreSerial(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	f := newFake(t, map[string]handler{
		"Touch":           answer(`{}`),
		"GetBook":         answer(`{"author_id": "a"}`),
		"BatchGetAuthors": authors(),
	})
	op := compile(t, s, `mutation { one: touch(id: "1") two: touchBook(id: "2") { author { id } } three: touch(id: "1") four: touchBook(id: "4") { author { id } } }`)
	got := execute(t, op, f, nil)
	if want := `{"one":true,"two":{"author":{"id":"a"}},"three":true,"four":{"author":{"id":"a"}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := []string{
		`Touch {"book_id":"1"}`, `GetBook {"book_id":"2"}`, `BatchGetAuthors {"author_ids":["a"]}`, `Touch {"book_id":"1"}`,
		`GetBook {"book_id":"4"}`, `BatchGetAuthors {"author_ids":["a"]}`,
	}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("calls in order (-want +got):\n%s", diff)
	}
}

// TestMutationStops asserts that after a root field that must not be null has failed, no later one is executed.
func TestMutationStops(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	f := newFake(t, map[string]handler{"Touch": refuse(codes.Aborted, "no"), "GetBook": refuse(codes.Aborted, "no")})
	got := execute(t, compile(t, s, `mutation { one: touch(id: "1") two: touchBook(id: "2") { id } three: touch(id: "3") }`), f, nil)
	want := "null\none: the service answered with Aborted (1:12) [Aborted]\ntwo: the service answered with Aborted (1:32) [Aborted]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{`Touch {"book_id":"1"}`, `GetBook {"book_id":"2"}`}, f.calls); diff != "" {
		t.Errorf("calls in order (-want +got):\n%s", diff)
	}
}

func TestSubscription(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	op := compile(t, s, `subscription($id: ID!) { book(id: $id) { id author { id } editor { name } } }`)
	f := newFake(t, map[string]handler{
		"WatchBook": func(_ context.Context, req map[string]any) (string, error) {
			if req["book_id"] != "7" {
				t.Errorf("the request is %v", req)
			}
			return `{"book_id": "7", "author_id": "a", "editor_id": "b"}` + "\n" + `{"author_id": "a"}`, statusError(codes.Unavailable)
		},
		"BatchGetAuthors": authors(),
	})
	sub, err := op.Subscribe(t.Context(), f, map[string]any{"id": "7"})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var got []string
	for {
		r, ok := sub.Next()
		if !ok {
			break
		}
		got = append(got, show(t, r))
	}
	want := []string{
		`{"book":{"id":"7","author":{"id":"a"},"editor":{"name":"Name of b"}}}`,
		`{"book":{"id":"","author":{"id":"a"},"editor":null}}`,
		"\nbook: the service answered with Unavailable (1:26) [Unavailable]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`BatchGetAuthors {"author_ids":["a","b"]}`, `BatchGetAuthors {"author_ids":["a"]}`}, f.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestSubscriptionCloses(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	op := compile(t, s, `subscription { book(id: "1") { id } }`)
	f := newFake(t, map[string]handler{"WatchBook": answer("wait")})
	sub, err := op.Subscribe(t.Context(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		_, more := sub.Next()
		ended <- more
	}()
	sub.Close()
	if <-ended {
		t.Error("a closed subscription has events")
	}
	if _, more := sub.Next(); more {
		t.Error("it goes on after its end")
	}
}

func TestSubscriptionRequestErrors(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	op := compile(t, s, `subscription($id: ID!) { book(id: $id) { id } }`)
	_, err := op.Subscribe(t.Context(), newFake(t, nil), nil)
	var errs schema.Errors
	if !errors.As(err, &errs) || len(errs) != 1 || errs[0].Message != "variable $id: is missing, and it is ID!" {
		t.Errorf("the error is %v", err)
	}
	r := op.Execute(t.Context(), newFake(t, nil), map[string]any{"id": "1"})
	if r.Data != nil || len(r.Errors) != 1 {
		t.Errorf("executing a subscription gives %s", show(t, r))
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(t, map[string]handler{
		"ListBooks": func(context.Context, map[string]any) (string, error) {
			cancel()
			return `{"books": [{"author_id": "a"}]}`, nil
		},
		"BatchGetAuthors": authors(),
	})
	got := show(t, compile(t, s, `{ allBooks { author { id } } }`).Execute(ctx, f, nil))
	want := `{"allBooks":[{"author":null}]}` + "\n" + `allBooks[0].author: the service answered with Canceled (1:14) [Canceled]`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(f.calls) != 1 {
		t.Errorf("calls after the end: %v", f.calls)
	}
}

// panicking is a Caller with a bug.
type panicking struct{ upstream.Caller }

func (panicking) Invoke(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
	panic("a bug in a caller") //nolint:forbidigo // that is the test
}

func TestPanicInCaller(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	got := execute(t, compile(t, s, `{ a: book(id: "1") { id } b: book(id: "2") { id } }`), panicking{}, nil)
	want := `{"a":null,"b":null}` + "\na: internal error (1:3) [Internal]\nb: internal error (1:27) [Internal]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// raw is a Caller that answers with given bytes.
type raw struct {
	upstream.Caller
	reply []byte
}

func (r raw) Invoke(context.Context, *upstream.Method, []byte) (upstream.Reply, error) {
	return upstream.Reply{Message: r.reply}, nil
}

func TestMalformedAnswers(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	for name, reply := range map[string]string{
		"truncated":           "\x0a\x05ab",
		"truncated below":     "\x0a\x03\x0a\x05a",
		"a tag of field zero": "\x00\x00",
	} {
		for _, query := range []string{`{ allBooks { id } }`, `{ allBooks { author { id } } }`, `{ books { books { title chapters { translator { id } } } } }`} {
			got := execute(t, compile(t, s, query), raw{reply: []byte(reply)}, nil)
			if !strings.Contains(got, "malformed") {
				t.Errorf("%s: %s gives %s", name, query, got)
			}
		}
	}
}

func TestPrincipal(t *testing.T) {
	t.Parallel()
	type subject struct{}
	lookup := func(ctx context.Context, path string) (string, bool) {
		s, ok := ctx.Value(subject{}).(string)
		return s, ok && path == "principal.subject"
	}
	s := compileSchema(t, `
		type Query {
			me: Author @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "{principal.subject}", locale: "{request.locale}"})
			mine: Author @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "a-{principal.subject}-z"})
		}
		type Author { name: String! }`, schema.Options{Lookup: lookup})
	f := newFake(t, map[string]handler{"GetAuthor": answer(`{"name": "N"}`)})
	op := compile(t, s, `{ me { name } mine { name } }`)
	op.Execute(context.WithValue(t.Context(), subject{}, "usr-1"), f, nil)
	op.Execute(t.Context(), f, nil)
	want := []string{`GetAuthor {"author_id":"a-usr-1-z"}`, `GetAuthor {"author_id":"usr-1"}`, `GetAuthor {}`}
	if diff := cmp.Diff(want, f.sorted()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestBlame asserts that what the client sent is the client's fault, and what we made of other answers is not.
func TestBlame(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	var composed []string
	note := func(name string, next handler) handler {
		return func(ctx context.Context, req map[string]any) (string, error) {
			if fault.IsComposed(ctx) {
				composed = append(composed, name)
			}
			return next(ctx, req)
		}
	}
	f := newFake(t, map[string]handler{
		"GetBook":         note("GetBook", answer(`{"author_id": "a"}`)),
		"BatchGetAuthors": note("BatchGetAuthors", authors()),
		"GetAuthor":       note("GetAuthor", answer(`{}`)),
	})
	execute(t, compile(t, s, `{ author(id: "x") { id } }`), f, nil)
	if len(composed) > 0 {
		t.Errorf("the client's own request counts as ours: %v", composed)
	}
	execute(t, compile(t, s, `{ book(id: "1") { author { id } } }`), f, nil)
	execute(t, compile(t, s, `{ book(id: "1") { owner { id } } }`), f, nil)
	if diff := cmp.Diff([]string{"BatchGetAuthors", "GetAuthor"}, composed); diff != "" {
		t.Errorf("composed calls (-want +got):\n%s", diff)
	}
	r := compile(t, s, `{ books(first: 1, filter: {since: "0000-01-01T00:00:00Z"}) { total } }`).Execute(t.Context(), f, nil)
	if len(r.Errors) == 0 || fault.From(r.Errors[0].Cause).Code != codes.InvalidArgument {
		t.Errorf("a time before the first gives %v", r.Errors)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{Limits: schema.Limits{Depth: 4, Fields: 12, Aliases: 3}})
	tests := []struct{ name, query, want string }{
		{"depth", `{ book(id: "1") { next { next { next { id } } } } }`, "the operation nests fields deeper than 4"},
		{"fields", `{ a: book(id: "1") { ...F } b: book(id: "2") { ...F } } fragment F on Book { id title genre next { id title genre } }`, "the operation selects more than 12 fields"},
		{"aliases", `{ book(id: "1") { a: id b: id c: id d: id } }`, "the operation uses more than 3 aliases"},
		{"fits", `{ book(id: "1") { next { next { id } } } __schema { types { fields { type { ofType { ofType { ofType { name } } } } } } } }`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			doc, errs := s.Parse("q", tt.query)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			_, err := s.Compile(doc, doc.Operations[0])
			var got string
			if list := schema.Errors(nil); errors.As(err, &list) {
				got = list[0].Message
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestExponentialFragments asserts that fragments that multiply are stopped while they are written out.
func TestExponentialFragments(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{Limits: schema.Limits{Depth: 100}})
	var b strings.Builder
	b.WriteString(`{ book(id: "1") { ...F0 } }`)
	for i := range 40 {
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(" fragment F# on Book { a: next { ...F@ } b: next { ...F@ } }", "#", itoa(i)), "@", itoa(i+1)))
	}
	b.WriteString(" fragment F40 on Book { id }")
	doc, errs := s.Parse("q", b.String())
	if len(errs) > 0 {
		t.Skip("validation refuses it already:", errs)
	}
	if _, err := s.Compile(doc, doc.Operations[0]); err == nil {
		t.Error("2^40 fields are planned")
	}
}

func itoa(i int) string {
	return strings.TrimSpace(strings.Join([]string{string(rune('A' + i/10)), string(rune('A' + i%10))}, ""))
}

func TestErrorIsReadable(t *testing.T) {
	t.Parallel()
	cause := status.Error(codes.Internal, "disk on fire")
	err := &schema.Error{Message: "the service answered with Internal", Cause: cause}
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("the error is %v", err)
	}
}
