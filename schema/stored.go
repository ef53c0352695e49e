package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// Stored is a stored operation: a document that is trusted by its hash, and may also be a REST endpoint or an MQTT
// request topic.
type Stored struct {
	// Name is the operation's name.
	Name string
	// Text is the document that clients know: without @rest and @mqtt. Hash is its SHA-256 in lower-case hex.
	Text, Hash string
	// REST and MQTT say where else the operation can be called; nil if nowhere.
	REST *REST
	MQTT *MQTT
	// Operation is the compiled operation.
	Operation *Operation
	// Position is where the operation stands.
	Position *ast.Position
}

// REST is the argument of @rest: a route of the mobile door.
type REST struct {
	// Method is the HTTP method: GET for queries only, otherwise POST, PUT, PATCH or DELETE.
	Method string
	// Path is the template, such as /v1/orders/{id}: captures and query parameters are variables.
	Path string
}

// MQTT is the argument of @mqtt: a request topic of the IoT door.
type MQTT struct {
	// Topic is the template, such as d/{device}/rpc/home.
	Topic string
}

// Stored compiles stored operations: one operation a file, with the fragments it needs. The error joins every
// [*Mistake].
func (s *Schema) Stored(sources []Source) ([]*Stored, error) {
	ms := &mistakes{}
	var out []*Stored
	for _, source := range sources {
		if one := s.stored(source, ms); one != nil {
			out = append(out, one)
		}
	}
	unique(out, ms)
	if err := ms.err(); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Schema) stored(source Source, ms *mistakes) *Stored {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Name: source.Name, Input: string(source.Text)}, maxTokens)
	if err != nil {
		ms.list = append(ms.list, syntaxMistake(source.Name, err))
		return nil
	}
	if len(doc.Operations) != 1 {
		pos := &ast.Position{Line: 1, Column: 1, Src: &ast.Source{Name: source.Name}}
		if len(doc.Operations) > 1 {
			pos = doc.Operations[1].Position
		}
		ms.add(pos, "the file holds %d operations", len(doc.Operations)).expect("one")
		return nil
	}
	op := doc.Operations[0]
	before := len(ms.list)
	one := &Stored{Name: op.Name, Position: op.Position}
	if op.Name == "" {
		ms.add(op.Position, "a stored operation has no name").expect("%s Name { ... }", op.Operation)
	}
	one.Text = one.directives(op, string(source.Text), ms)
	sum := sha256.Sum256([]byte(one.Text))
	one.Hash = hex.EncodeToString(sum[:])
	for _, e := range validator.ValidateWithRules(s.ast, doc, rules.NewDefaultRules()) {
		ms.list = append(ms.list, placed(source.Name, e))
	}
	if len(ms.list) > before {
		return nil
	}
	if one.Operation, err = s.Compile(doc, op); err != nil {
		for _, e := range asErrors(err) {
			m := &Mistake{File: source.Name, What: e.Message}
			if len(e.Locations) > 0 {
				m.Line, m.Column = e.Locations[0].Line, e.Locations[0].Column
			}
			ms.list = append(ms.list, m)
		}
		return nil
	}
	return one
}

func placed(name string, err *gqlerror.Error) *Mistake {
	m := syntaxMistake(name, err)
	m.What = strings.TrimSuffix(m.What, ".")
	return m
}

// directives takes @rest and @mqtt off an operation and out of its text.
func (o *Stored) directives(op *ast.OperationDefinition, text string, ms *mistakes) string {
	var (
		rest ast.DirectiveList
		cuts []span
	)
	for _, dir := range op.Directives {
		var read func(*ast.Directive, *ast.OperationDefinition, *mistakes)
		switch dir.Name {
		case "rest":
			read = o.rest
		case "mqtt":
			read = o.mqtt
		default:
			rest = append(rest, dir)
			continue
		}
		read(dir, op, ms)
		cuts = append(cuts, directiveSpan(text, dir))
	}
	op.Directives = rest
	slices.SortFunc(cuts, func(a, b span) int { return b.from - a.from })
	for _, c := range cuts {
		text = text[:c.from] + text[c.to:]
	}
	return text
}

func (o *Stored) rest(dir *ast.Directive, op *ast.OperationDefinition, ms *mistakes) {
	if o.REST != nil {
		ms.add(dir.Position, "directive @rest stands twice")
		return
	}
	o.REST = &REST{}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	for _, arg := range dir.Arguments {
		switch arg.Name {
		case "method":
			o.REST.Method = arg.Value.Raw
			switch {
			case !slices.Contains(methods, arg.Value.Raw):
				ms.add(arg.Value.Position, "unknown HTTP method %s", arg.Value).expect("%s", strings.Join(methods, ", ")).
					near(arg.Value.Raw, methods)
			case arg.Value.Raw == "GET" && op.Operation != ast.Query:
				ms.add(arg.Value.Position, "GET for a %s", op.Operation).expect("POST, PUT, PATCH or DELETE")
			}
		case "path":
			o.REST.Path = arg.Value.Raw
			if !slices.Contains(stringKinds(), arg.Value.Kind) || !strings.HasPrefix(arg.Value.Raw, "/") {
				ms.add(arg.Value.Position, "the path is %s", arg.Value).expect(`one that begins with a slash, such as "/v1/orders/{id}"`)
				continue
			}
			captures(arg, op, ms)
		default:
			ms.add(arg.Position, "@rest has no argument %q", arg.Name).expect("method, path").near(arg.Name, []string{"method", "path"})
		}
	}
	for _, name := range []string{"method", "path"} {
		if dir.Arguments.ForName(name) == nil {
			ms.add(dir.Position, "@rest lacks the argument %q", name)
		}
	}
	if op.Operation == ast.Subscription {
		ms.add(dir.Position, "@rest on a subscription").expect("a query or a mutation")
	}
}

// captures checks that each capture of a path is a variable.
func captures(arg *ast.Argument, op *ast.OperationDefinition, ms *mistakes) {
	for rest := arg.Value.Raw; ; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			return
		}
		end := strings.IndexByte(rest[open:], '}')
		if end < 0 {
			ms.add(arg.Value.Position, "path %q has a { without a }", arg.Value.Raw)
			return
		}
		name, _, _ := strings.Cut(rest[open+1:open+end], "=")
		if op.VariableDefinitions.ForName(name) == nil {
			var names []string
			for _, v := range op.VariableDefinitions {
				names = append(names, v.Variable)
			}
			ms.add(arg.Value.Position, "path %q captures %q, which is no variable", arg.Value.Raw, name).
				expect("$%s among the variables", name).near(name, names)
		}
		rest = rest[open+end+1:]
	}
}

func (o *Stored) mqtt(dir *ast.Directive, op *ast.OperationDefinition, ms *mistakes) {
	if o.MQTT != nil {
		ms.add(dir.Position, "directive @mqtt stands twice")
		return
	}
	o.MQTT = &MQTT{}
	if op.Operation == ast.Subscription {
		ms.add(dir.Position, "@mqtt on a subscription").expect("a query or a mutation")
	}
	for _, arg := range dir.Arguments {
		if arg.Name != "topic" {
			ms.add(arg.Position, "@mqtt has no argument %q", arg.Name).expect("topic").near(arg.Name, []string{"topic"})
			continue
		}
		o.MQTT.Topic = arg.Value.Raw
		if !slices.Contains(stringKinds(), arg.Value.Kind) || arg.Value.Raw == "" || strings.ContainsAny(arg.Value.Raw, "#+\x00") {
			ms.add(arg.Value.Position, "the topic is %s", arg.Value).expect("a topic without wildcards")
		}
	}
	if dir.Arguments.ForName("topic") == nil {
		ms.add(dir.Position, `@mqtt lacks the argument "topic"`)
	}
}

// unique checks that no two operations share a name, a route or a topic.
func unique(list []*Stored, ms *mistakes) {
	seen := map[string]*Stored{}
	note := func(o *Stored, what, key string) {
		if first := seen[what+key]; first != nil {
			ms.add(o.Position, "%s %q is taken by %s:%d", what, key, first.Position.Src.Name, first.Position.Line)
			return
		}
		seen[what+key] = o
	}
	for _, o := range list {
		note(o, "the name", o.Name)
		if o.REST != nil {
			note(o, "the route", o.REST.Method+" "+o.REST.Path)
		}
		if o.MQTT != nil {
			note(o, "the topic", o.MQTT.Topic)
		}
	}
}

type span struct{ from, to int }

// directiveSpan finds the bytes of a directive of an operation, with the blanks before it. Positions of gqlparser count
// characters, not bytes.
func directiveSpan(text string, dir *ast.Directive) span {
	from := byteOffset(text, dir.Position.Start)
	// The position may be of the name rather than of the @.
	for from > 0 && text[from] != '@' {
		from--
	}
	to := from + len("@"+dir.Name)
	if open := skipBlanks(text, to); open < len(text) && text[open] == '(' {
		to = closing(text, open)
	}
	for from > 0 && strings.IndexByte(" \t\r\n", text[from-1]) >= 0 {
		from--
	}
	return span{from, to}
}

func byteOffset(text string, characters int) int {
	n := 0
	for i := range text {
		if n == characters {
			return i
		}
		n++
	}
	return len(text)
}

func skipBlanks(text string, at int) int {
	for at < len(text) && strings.IndexByte(" \t\r\n,", text[at]) >= 0 {
		at++
	}
	return at
}

// closing finds the end of the parenthesis that opens at a place; parentheses in strings do not count. The text has
// been parsed.
func closing(text string, at int) int {
	for ; at < len(text); at++ {
		switch text[at] {
		case ')':
			return at + 1
		case '"':
			for at++; at < len(text) && text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
		}
	}
	return len(text)
}
