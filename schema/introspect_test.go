package schema_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/portico-bff/portico/schema"
)

// introspectionQuery is the one that graphql-js's getIntrospectionQuery makes with every option on.
const introspectionQuery = `
query IntrospectionQuery {
  __schema {
    description
    queryType { name kind }
    mutationType { name kind }
    subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL isOneOf
  fields(includeDeprecated: true) {
    name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type {
  kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name } } } } } } } } }
}`

// clientSchema is what a client rebuilds of an introspection, as graphql-js's buildClientSchema does.
type clientSchema struct {
	Description                               *string
	QueryType, MutationType, SubscriptionType *clientType
	Types                                     []clientType
	Directives                                []struct {
		Name, Description string
		IsRepeatable      bool
		Locations         []string
		Args              []clientInput
	}
}

type clientType struct {
	Kind                      string
	Name, Description         *string
	SpecifiedByURL            *string
	IsOneOf                   *bool
	Fields                    []clientField
	InputFields               []clientInput
	Interfaces, PossibleTypes []clientType
	EnumValues                []clientField
	OfType                    *clientType
}

type clientField struct {
	Name              string
	Description       *string
	Args              []clientInput
	Type              clientType
	IsDeprecated      bool
	DeprecationReason *string
}

type clientInput struct {
	Name                            string
	Description                     *string
	Type                            clientType
	DefaultValue, DeprecationReason *string
	IsDeprecated                    bool
}

// ref writes a type as SDL does.
func (c clientType) ref() string {
	switch {
	case c.Kind == "NON_NULL":
		return c.OfType.ref() + "!"
	case c.Kind == "LIST":
		return "[" + c.OfType.ref() + "]"
	case c.Name == nil:
		return "?"
	default:
		return *c.Name
	}
}

const introspectedSDL = `
"What can be asked."
schema { query: Root }
"The root."
type Root {
  "A book."
  book("Its id." id: ID!, old: Int = 5 @deprecated, genres: [Genre!] = [NOVEL]): Book @grpc(method: "library.v1.Library/GetBook",
    input: {book_id: "{args.id}{args.old}"}) @deprecated(reason: "why \"not\"")
  list(filter: Filter = {title: "x\n", genres: [POETRY]}, genre: Genre): [Book!]! @grpc(method: "library.v1.Library/ListBooks", select: "books",
    input: {filter: {title: "{args.filter.title}"}})
  books(one: One): JSON @grpc(method: "library.v1.Library/ListBooks", input: {page_token: "{args.one.a}"})
}
interface Named { title: String! }
type Book implements Named { title: String! next: Book @deprecated genre: Genre }
union Thing = Book
enum Genre { NOVEL "Verses." POETRY @deprecated(reason: "") }
input Filter { title: String genres: [Genre] }
input One @oneOf { a: String b: String }
extend type Root { thing: Thing @grpc(method: "library.v1.Library/GetBook") named: Named @grpc(method: "library.v1.Library/GetBook") }
`

func TestIntrospection(t *testing.T) {
	t.Parallel()
	sdl := strings.Replace(introspectedSDL, `genres: [Genre!] = [NOVEL]`, ``, 1)
	s := compileSchema(t, sdl, schema.Options{})
	r := compile(t, s, introspectionQuery).Execute(t.Context(), newFake(t, nil), nil)
	if len(r.Errors) > 0 {
		t.Fatal(r.Errors)
	}
	var got struct {
		Schema clientSchema `json:"__schema"`
	}
	d := json.NewDecoder(strings.NewReader(string(r.Data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Schema.QueryType.ref() != "Root" || got.Schema.MutationType != nil || *got.Schema.Description != "What can be asked." {
		t.Errorf("the schema is %+v", got.Schema)
	}
	seen := map[string]bool{}
	for _, typ := range got.Schema.Types {
		seen[*typ.Name] = true
		compareType(t, s.AST(), typ)
	}
	for name := range s.AST().Types {
		if !seen[name] {
			t.Errorf("type %s is missing", name)
		}
	}
	var directives []string
	for _, dir := range got.Schema.Directives {
		directives = append(directives, dir.Name)
		if len(dir.Locations) == 0 || dir.Description == "" {
			t.Errorf("directive %+v lacks something", dir)
		}
	}
	if diff := cmp.Diff([]string{"deprecated", "include", "oneOf", "skip", "specifiedBy"}, directives); diff != "" {
		t.Errorf("directives (-want +got):\n%s", diff)
	}
}

// compareType compares what was introspected with the definition, in both directions.
func compareType(t *testing.T, s *ast.Schema, got clientType) {
	t.Helper()
	def := s.Types[*got.Name]
	if def == nil || string(def.Kind) != got.Kind {
		t.Errorf("type %s is not that of the schema", *got.Name)
		return
	}
	if (got.Description == nil) != (def.Description == "") {
		t.Errorf("type %s has another description", def.Name)
	}
	fields := slices.DeleteFunc(slices.Clone(def.Fields), func(f *ast.FieldDefinition) bool { return strings.HasPrefix(f.Name, "__") })
	switch def.Kind {
	case ast.Object, ast.Interface:
		if len(got.Fields) != len(fields) || got.Interfaces == nil || got.InputFields != nil {
			t.Errorf("type %s has %d fields, want %d", def.Name, len(got.Fields), len(fields))
			return
		}
		for i, f := range fields {
			g := got.Fields[i]
			if g.Name != f.Name || g.Type.ref() != f.Type.String() || len(g.Args) != len(f.Arguments) || g.IsDeprecated != (f.Directives.ForName("deprecated") != nil) {
				t.Errorf("field %s.%s is %+v", def.Name, f.Name, g)
			}
			for j, a := range f.Arguments {
				compareInput(t, g.Args[j], a.Name, a.Type, a.DefaultValue)
			}
		}
	case ast.InputObject:
		for i, f := range fields {
			compareInput(t, got.InputFields[i], f.Name, f.Type, f.DefaultValue)
		}
	case ast.Enum:
		for i, v := range def.EnumValues {
			if got.EnumValues[i].Name != v.Name {
				t.Errorf("enum value %s.%s is %+v", def.Name, v.Name, got.EnumValues[i])
			}
		}
	case ast.Union:
		if len(got.PossibleTypes) != len(def.Types) {
			t.Errorf("union %s has %v", def.Name, got.PossibleTypes)
		}
	case ast.Scalar:
		if got.Fields != nil || got.EnumValues != nil || got.PossibleTypes != nil {
			t.Errorf("scalar %s has parts: %+v", def.Name, got)
		}
	}
}

func compareInput(t *testing.T, got clientInput, name string, typ *ast.Type, value *ast.Value) {
	t.Helper()
	if got.Name != name || got.Type.ref() != typ.String() || (got.DefaultValue == nil) != (value == nil) {
		t.Errorf("input %s: %s is %+v", name, typ, got)
	}
	if value != nil && *got.DefaultValue != value.String() {
		t.Errorf("input %s has the default %s, want %s", name, *got.DefaultValue, value)
	}
}

// TestIntrospectionDepth leaves out the validation rule that bounds introspection, as a door may.
func TestIntrospectionDepth(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, librarySDL, schema.Options{})
	doc, err := parser.ParseQuery(&ast.Source{Input: `{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compile(doc, doc.Operations[0]); err == nil || !strings.Contains(err.Error(), "introspection nests too deep") {
		t.Errorf("the error is %v", err)
	}
}

func TestIntrospectionDetails(t *testing.T) {
	t.Parallel()
	sdl := strings.Replace(introspectedSDL, `genres: [Genre!] = [NOVEL]`, ``, 1)
	s := compileSchema(t, sdl, schema.Options{})
	tests := []struct{ name, query, want string }{
		{"an unknown type", `{ __type(name: "Nope") { name } }`, `{"__type":null}`},
		{
			"deprecated ones are left out", `{ __type(name: "Book") { fields { name } all: fields(includeDeprecated: true) { name isDeprecated deprecationReason } } }`,
			`{"__type":{"fields":[{"name":"title"},{"name":"genre"}],"all":[{"name":"title","isDeprecated":false,"deprecationReason":null},` +
				`{"name":"next","isDeprecated":true,"deprecationReason":"No longer supported"},{"name":"genre","isDeprecated":false,"deprecationReason":null}]}}`,
		},
		{"enum values", `{ __type(name: "Genre") { enumValues { name } } }`, `{"__type":{"enumValues":[{"name":"NOVEL"}]}}`},
		{"oneOf", `{ __type(name: "One") { isOneOf inputFields { name } } }`, `{"__type":{"isOneOf":true,"inputFields":[{"name":"a"},{"name":"b"}]}}`},
		{"interfaces", `{ __type(name: "Book") { interfaces { name possibleTypes { name } } } }`, `{"__type":{"interfaces":[{"name":"Named","possibleTypes":[{"name":"Book"}]}]}}`},
		{"names of names", `{ __typename __schema { __typename queryType { __typename } } }`, `{"__typename":"Root","__schema":{"__typename":"__Schema","queryType":{"__typename":"__Type"}}}`},
		{"a scalar's specification", `{ __type(name: "JSON") { specifiedByURL } }`, `{"__type":{"specifiedByURL":"https://www.rfc-editor.org/rfc/rfc8259"}}`},
		{"a variable", `query($n: String = "Book") { __type(name: $n) { kind } }`, `{"__type":{"kind":"OBJECT"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, execute(t, compile(t, s, tt.query), newFake(t, nil), nil)); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}
