package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/schema"
)

// mistakesOf compiles SDL and returns the lines of the error.
func mistakesOf(t *testing.T, sdl string) []string {
	t.Helper()
	_, err := schema.New([]schema.Source{{Name: "t.graphqls", Text: []byte(sdl)}}, library(t), schema.Options{})
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// ok is a schema to which the cases add a mistake.
const ok = `type Query { book(id: ID!): Book @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{args.id}"}) }
type Book { title: String! }
`

func TestMistakes(t *testing.T) {
	t.Parallel()
	const (
		get  = `@grpc(method: "library.v1.Library/GetBook")`
		sink = `@grpc(method: "library.v1.Library/GetKitchenSink")`
	)
	// batch binds Book.author with a batch of the given arguments.
	batch := func(args string) string {
		return "extend type Book { author: Author @grpc(method: \"library.v1.Library/BatchGetAuthors\", batch: {" + args + "}) }\ntype Author { name: String! }"
	}
	tests := []struct{ name, sdl, want string }{
		{"syntax", `type Query {`, `t.graphqls:1:13: Expected Name, found <EOF>`},
		{"no query", `type Mutation { a: Boolean @grpc(method: "library.v1.Library/Touch") }`, `there is no query type, expected type Query`},
		{"unknown method", `type Query { a: JSON @grpc(method: "library.v1.Library/GetBok") }`, `t.graphqls:1:36: unknown method "library.v1.Library/GetBok", expected a method in the loaded descriptors, did you mean "library.v1.Library/GetBook"?`},
		{"unknown service", `type Query { a: JSON @grpc(method: "library.v1.Librarry/GetBook") }`, `t.graphqls:1:36: unknown method "library.v1.Librarry/GetBook", expected a method in the loaded descriptors, did you mean "library.v1.Library/GetBook"?`},
		{"no slash", `type Query { a: JSON @grpc(method: "GetBook") }`, `t.graphqls:1:36: unknown method "GetBook", expected "package.Service/Method"`},
		{"method is no string", `type Query { a: JSON @grpc(method: 3) }`, `t.graphqls:1:36: argument "method" of @grpc is 3, expected a string`},
		{"no method", `type Query { a: JSON @grpc(select: "x") }`, `t.graphqls:1:22: @grpc lacks the argument "method", expected a string`},
		{"unknown argument", `type Query { a: JSON @grpc(method: "library.v1.Library/GetKitchenSink", inptu: {}) }`, `t.graphqls:1:73: @grpc has no argument "inptu", expected batch, input, method, select, did you mean "input"?`},
		{"root without method", ok + `extend type Query { other: Book }`, `t.graphqls:3:21: field Query.other has no method, expected @grpc(method: "package.Service/Method")`},
		{"stream on a query", `type Query { a: JSON @grpc(method: "library.v1.Library/WatchBook") }`, `t.graphqls:1:36: method library.v1.Library/WatchBook streams its answer, expected a unary method, or a field of the subscription type`},
		{"unary on a subscription", ok + `type Subscription { a: Book @grpc(method: "library.v1.Library/GetBook") }`, `t.graphqls:3:43: method library.v1.Library/GetBook is unary, but the field is of a subscription, expected a server-streaming method`},
		{"client stream", `type Query { a: JSON @grpc(method: "library.v1.Library/Import") }`, `t.graphqls:1:36: method library.v1.Library/Import takes a stream of messages, expected a method that takes one message`},
		{"unknown field", ok + `extend type Book { titel: String }`, `t.graphqls:3:20: message library.v1.Book has no field for Book.titel, expected the name of a field, @proto(field:) or @grpc, did you mean "title"?`},
		{"unknown bound field", ok + `extend type Book { name: String @proto(field: "titel") }`, `t.graphqls:3:47: message library.v1.Book has no field "titel", expected a field path, did you mean "title"?`},
		{"path through a list", ok + `extend type Book { name: String @proto(field: "chapters.title") }`, `t.graphqls:3:47: "chapters.title" goes through chapters, which is repeated library.v1.Chapter, expected a singular message`},
		{"type of a scalar", ok + `extend type Book { shelf: Int @proto(field: "shelf_id") }`, `t.graphqls:3:20: type Int does not fit field shelf_id of library.v1.Book, which is int64, expected Int64`},
		{"object for a scalar", ok + `extend type Book { shelf: Book @proto(field: "title") }`, `t.graphqls:3:20: type Book is an object, but field title of library.v1.Book is string, expected String`},
		{"scalar for an object", ok + `extend type Book { next: String }`, `t.graphqls:3:20: type String does not fit field next of library.v1.Book, which is library.v1.Book, expected JSON`},
		{"list for one", ok + `extend type Book { next: [Book] }`, `t.graphqls:3:20: [Book] is a list, but field next of library.v1.Book is not repeated: it is library.v1.Book, expected Book`},
		{"one for a list", ok + `extend type Book { chapters: Book }`, `t.graphqls:3:20: Book is no list, but field chapters of library.v1.Book is repeated library.v1.Chapter, expected [Book]`},
		{"list of lists", ok + `extend type Book { words: [[String]] @proto(field: "sequel_author_ids") }`, `t.graphqls:3:20: [[String]] is a list of lists, which no message field is, expected a list of objects or scalars`},
		{"one for a map", `type Query { s: S ` + sink + ` } type S { counts: Int }`, `t.graphqls:1:81: Int is no list, but field counts of library.v1.KitchenSink is map<string, int32>, expected [Entry] with the fields key and value, or JSON`},
		{"enum for a string", ok + `extend type Book { title2: G @proto(field: "title") } enum G { A }`, `t.graphqls:3:20: type G is an enum, but field title of library.v1.Book is string, expected String`},
		{"unknown enum value", ok + `extend type Book { genre: G } enum G { NOVEL POETRI }`, `t.graphqls:3:46: enum library.v1.Genre has no value for G.POETRI, expected one of its values, or @proto(value:), did you mean "POETRY"?`},
		{"arguments without a call", ok + `extend type Book { genre(upper: Boolean): JSON }`, `t.graphqls:3:26: field Book.genre has arguments but is read from message library.v1.Book, expected @grpc on the field, or no arguments`},
		{"argument that goes nowhere", `type Query { a(x: Int): JSON ` + get + ` }`, `t.graphqls:1:16: argument x of Query.a goes nowhere: message library.v1.GetBookRequest has no field for it, expected the name of a request field, @proto(field:), or a reference to it in @grpc(input:)`},
		{"argument of another type", `type Query { a(bookId: Boolean): JSON ` + get + ` }`, `t.graphqls:1:16: argument bookId of type Boolean does not fit field book_id of library.v1.GetBookRequest, which is string, expected String`},
		{"list argument", `type Query { a(bookId: [ID]): JSON ` + get + ` }`, `t.graphqls:1:16: argument bookId of type [ID] is a list, but field book_id of library.v1.GetBookRequest is string, expected ID`},
		{"unknown request field", `type Query { a(x: ID): JSON @grpc(method: "library.v1.Library/GetBook", input: {bok_id: "{args.x}"}) }`, `t.graphqls:1:81: message library.v1.GetBookRequest has no field "bok_id", expected a field of the request, did you mean "book_id"?`},
		{"arguments for one field", `type Query { a(x: ID @proto(field: "book_id"), bookId: ID): JSON ` + get + ` }`, `t.graphqls:1:48: the request cannot be made: field path "book_id": library.v1.GetBookRequest has the field "bookId" bound already, by "book_id", expected one value for each field`},
		{"argument around a field", `type Query { a(filter: JSON): JSON @grpc(method: "library.v1.Library/ListBooks", input: {filter: {title: "x"}}) }`, `t.graphqls:1:16: the request cannot be made: field path "filter": library.v1.ListBooksRequest has the field "filter" bound already, by "filter.title", expected one value for each field`},
		{"unknown reference", `type Query { a(x: ID): JSON @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{arg.x}"}) }`, `t.graphqls:1:90: unknown reference {arg.x}, expected {args.…}, {parent.…}, {principal.…} or {request.…}, did you mean "args"?`},
		{"unknown argument in a reference", `type Query { a(xyz: ID): JSON @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{args.xz}"}) }`, `t.graphqls:1:92: field Query.a has no argument "xz", expected one of its arguments, did you mean "xyz"?`},
		{"broken template", `type Query { a(x: ID): JSON @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{args.x"}) }`, `t.graphqls:1:90: template "{args.x" has a { without a }`},
		{"parent of a root", `type Query { a: JSON @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{parent.x}"}) }`, `t.graphqls:1:83: {parent.x} on a field of a root type, which has no parent, expected {args.…} or {principal.…}`},
		{"constant of another type", `type Query { a: JSON @grpc(method: "library.v1.Library/ListBooks", input: {page_size: "many"}) }`, `t.graphqls:1:87: "many" does not fit field page_size of library.v1.ListBooksRequest, which is int32: `},
		{"unknown directive", ok + `extend type Book { genre: JSON @protto(field: "x") }`, `t.graphqls:3:32: unknown directive @protto, did you mean "proto"?`},
		{"directive not honoured yet", ok + `extend type Book { genre: JSON @cost(weight: 3) }`, `t.graphqls:3:32: directive @cost is not supported by this version`},
		{"declared directive", ok + `directive @mine on FIELD`, `t.graphqls:3:11: directive @mine is declared, but nothing honours it`},
		{"directive in the wrong place", ok + `enum G @proto(field: "x") { A }`, `t.graphqls:3:8: directive @proto cannot stand on an enum`},
		{"rest in a schema", ok + `extend type Book { genre: JSON @rest(method: GET, path: "/") }`, `t.graphqls:3:32: directive @rest stands in a schema, expected it on a stored operation`},
		{"argument of @proto in the wrong place", ok + `extend type Book { genre: JSON @proto(value: "x") }`, `t.graphqls:3:39: @proto(value:) on a field definition, expected field or nullIfEmpty`},
		{"unknown type", ok + `extend type Book { next: Bok }`, `t.graphqls:3:26: field Book.next has the unknown type "Bok", did you mean "Book"?`},
		{"input as output", ok + `extend type Book { next: I } input I { a: Int }`, `t.graphqls:3:26: field Book.next has the type I, which is input type, expected a scalar, an enum, an object type, an interface or a union`},
		{"output as input", ok + `extend type Query { c(bookId: Book): JSON ` + get + ` }`, `t.graphqls:3:31: argument bookId of field Query.c has the type Book, which is object type, expected a scalar, an enum or an input type`},
		{"type declared twice", ok + `type Book { a: Int }`, `t.graphqls:3:6: type Book is declared twice, expected extend Book, or another name`},
		{"field declared twice", ok + `extend type Book { title: String! }`, `t.graphqls:3:20: field Book.title is declared twice`},
		{"unknown scalar", ok + `scalar Money`, `t.graphqls:3:8: unknown scalar "Money", expected one that Portico knows`},
		{"reserved name", ok + `extend type Book { __x: String }`, `t.graphqls:3:20: field "__x" begins with __, which is GraphQL's own`},
		{"interface not satisfied", ok + `interface N { id: ID! } extend type Book implements N`, `t.graphqls:2:6: Book implements N but lacks its field id, expected id: ID!`},
		{"union of a scalar", ok + `union U = Book | Genre enum Genre { NOVEL }`, `t.graphqls:3:18: Genre in union U is enum, expected an object type`},
		{"default value", ok + `extend type Query { c(bookId: ID = true): JSON ` + get + ` }`, `t.graphqls:3:36: the default value of argument bookId of field Query.c does not fit ID: true is no ID`},
		{"list answer", ok + `extend type Query { c: [Book] ` + get + ` }`, `t.graphqls:3:21: [Book] is a list, but the answer of library.v1.Library/GetBook is one library.v1.Book, expected Book, or the path of a repeated field in @grpc(select:)`},
		{"union without a match", ok + `extend type Query { u: U ` + get + ` } union U = A | B type A { x: Int } type B { x: Int }`, `t.graphqls:3:21: U is abstract, and nothing says which of its types message library.v1.Book is, expected a type named Book, a type with @proto(message: "library.v1.Book"), or a message with one oneof`},
		{"batch into one", batch(`key: "{parent.author_id}", into: "locale", results: "authors"`), `locale of library.v1.BatchGetAuthorsRequest cannot take many keys: it is string, expected a repeated field`},
		{"batch into nothing", batch(`key: "{parent.author_id}", into: "author_idz", results: "authors"`), `has no field "author_idz" for the keys, did you mean "author_ids"?`},
		{"batch without results", batch(`key: "{parent.author_id}", into: "author_ids"`), `@grpc batch lacks the argument "results", expected a string`},
		{"batch with wrong results", batch(`key: "{parent.author_id}", into: "author_ids", results: "author"`), `message library.v1.BatchGetAuthorsResponse has no field "author", expected a field path, did you mean "authors"?`},
		{"batch match of another type", `extend type Book { shelf: Shelf @grpc(method: "library.v1.Library/BatchGetCopies", batch: {key: "{parent.copy}", into: "keys", results: "copies", match: "branch"}) } type Shelf { state: String }`, `keys are library.v1.CopyKey, but field "branch" of library.v1.Copy is string, expected a field of the same type`},
		{"batch with a constant key", batch(`key: "x", into: "author_ids", results: "authors"`), `key "x" is the same for every parent, expected a template such as "{parent.id}"`},
		{"batch with a bad max", batch(`key: "{parent.author_id}", into: "author_ids", results: "authors", max: 0`), `max is 0, expected a number from 1 to 100000`},
		{"batch get with another answer", batch(`key: "{parent.author_id}", into: "author_ids", results: "authors", get: "library.v1.Library/GetBook"`), `method library.v1.Library/GetBook answers with library.v1.Book, expected a unary method that answers with a row: library.v1.Author`},
		{"batch on a mutation", ok + `type Mutation { a(id: ID!): JSON @grpc(method: "library.v1.Library/BatchGetAuthors", batch: {key: "{args.id}", into: "author_ids", results: "authors"}) }`, `t.graphqls:3:86: field Mutation.a of a mutation has a batch, expected a method that answers for one object`},
		{"batch key of a missing field", batch(`key: "{parent.authorr_id}", into: "author_ids", results: "authors"`), `message library.v1.Book has no field "authorr_id", expected a field path, did you mean "author_id"?`},
		{"many keys for one", batch(`key: "{parent.sequel_author_ids}", into: "author_ids", results: "authors"`), `{parent.sequel_author_ids} holds many keys, but Book.author is no list, expected [Author]`},
		{"input field", `type Query { a(in: In): JSON @grpc(method: "library.v1.Library/ListBooks", input: {filter: "{args.in}"}) } input In { titel: String }`, `t.graphqls:1:119: message library.v1.Filter has no field for In.titel, expected the name of a field, or @proto(field:), did you mean "title"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sdl := tt.sdl
			if strings.HasPrefix(sdl, "extend type Book") {
				sdl = ok + sdl
			}
			got := mistakesOf(t, sdl)
			if len(got) != 1 {
				t.Errorf("%d mistakes, want one:\n%s", len(got), strings.Join(got, "\n"))
			}
			if len(got) > 0 && !strings.Contains(got[0], tt.want) {
				t.Errorf("got  %s\nwant %s", got[0], tt.want)
			}
		})
	}
}

// TestAllMistakesAtOnce asserts that one run reports mistakes of every kind, in the order of their places.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	got := mistakesOf(t, `type Query {
  book(id: ID!): Book @grpc(method: "library.v1.Library/GetBok", input: {book_id: "{args.id}"})
  other(id: ID!): Book @grpc(method: "library.v1.Library/GetBook", input: {bookid: "{args.id}"})
  third: Book
}
type Book {
  title: Int
  genre: Genr
  author: Strin @auth(rule: "true")
}`)
	want := []string{
		`t.graphqls:2:37: unknown method "library.v1.Library/GetBok", expected a method in the loaded descriptors, did you mean "library.v1.Library/GetBook"?`,
		`t.graphqls:3:76: message library.v1.GetBookRequest has no field "bookid", expected a field of the request, did you mean "book_id"?`,
		`t.graphqls:4:3: field Query.third has no method, expected @grpc(method: "package.Service/Method")`,
		`t.graphqls:7:3: type Int does not fit field title of library.v1.Book, which is string, expected String`,
		`t.graphqls:8:10: field Book.genre has the unknown type "Genr"`,
		`t.graphqls:9:3: message library.v1.Book has no field for Book.author, expected the name of a field, @proto(field:) or @grpc, did you mean "authorId"?`,
		`t.graphqls:9:11: field Book.author has the unknown type "Strin", did you mean "String"?`,
		`t.graphqls:9:17: directive @auth is not supported by this version`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestSyntaxErrorsOfEveryFile(t *testing.T) {
	t.Parallel()
	_, err := schema.New([]schema.Source{
		{Name: "a.graphqls", Text: []byte("type A {")}, {Name: "b.graphqls", Text: []byte("type Query { a: Int }")}, {Name: "c.graphqls", Text: []byte("typ C")},
	}, library(t), schema.Options{})
	want := "a.graphqls:1:9: Expected Name, found <EOF>\nc.graphqls:1:1: Unexpected Name \"typ\""
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, `
type Query { book(id: ID!): Book @grpc(method: "library.v1.Library/GetBook", input: {book_id: "{args.id}"}) }
type Book { owner: Author @grpc(method: "library.v1.Library/GetAuthor", input: {author_id: "{parent.author_id}"}) }
type Author { name: String! }
type Nowhere { a: Int }
`, schema.Options{})
	var got []string
	for _, w := range s.Warnings() {
		got = append(got, w.String())
	}
	want := []string{
		"test.graphqls:3:13: Book.owner calls library.v1.Library/GetAuthor once for each Book: N+1 calls where a batch method would do",
		"test.graphqls:5:6: type Nowhere is the type of no field that can be reached",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
