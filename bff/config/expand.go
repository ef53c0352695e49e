package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// LookupFunc looks up an environment variable, like os.LookupEnv.
type LookupFunc func(name string) (string, bool)

// expand replaces ${VAR} and ${VAR:-default} in every scalar value of the document; $${ stands for ${ itself. A value
// without quotes is read again afterwards, so that ${PORT} can be a number.
func (d *document) expand(lookup LookupFunc) Problems {
	e := expander{document: d, lookup: lookup}
	d.root = e.node(d.root)
	return e.problems
}

type expander struct {
	*document
	lookup   LookupFunc
	problems Problems
}

func (e *expander) node(node ast.Node) ast.Node {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			pair.Value = e.node(pair.Value)
		}
	case *ast.MappingValueNode:
		n.Value = e.node(n.Value)
	case *ast.SequenceNode:
		for i, value := range n.Values {
			n.Values[i] = e.node(value)
		}
	case *ast.AnchorNode:
		n.Value = e.node(n.Value)
	case *ast.TagNode:
		n.Value = e.node(n.Value)
	case *ast.LiteralNode:
		n.Value.Value = e.text(n.Value.Value, n.GetToken())
	case *ast.StringNode:
		return e.scalar(n)
	}
	return node
}

func (e *expander) scalar(n *ast.StringNode) ast.Node {
	if !strings.Contains(n.Value, "${") {
		return n
	}
	n.Value = e.text(n.Value, n.Token)
	if n.Token.Type != token.StringType {
		return n
	}
	file, err := parser.ParseBytes([]byte(n.Value), 0)
	if err != nil || len(file.Docs) != 1 {
		return n
	}
	switch again := file.Docs[0].Body.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		again.GetToken().Position = n.Token.Position
		return again
	}
	return n
}

// text replaces the references in s.
func (e *expander) text(s string, tok *token.Token) string {
	var out strings.Builder
	for {
		start := strings.Index(s, "${")
		if start < 0 {
			out.WriteString(s)
			return out.String()
		}
		if start > 0 && s[start-1] == '$' {
			out.WriteString(s[:start-1] + "${")
			s = s[start+2:]
			continue
		}
		end := strings.IndexByte(s[start:], '}')
		if end < 0 {
			e.problems = append(e.problems, e.at(tok, "${ without }, expected ${VAR}, ${VAR:-default} or $${ for the text ${"))
			return out.String() + s
		}
		out.WriteString(s[:start])
		out.WriteString(e.variable(s[start+2:start+end], tok))
		s = s[start+end+1:]
	}
}

func (e *expander) variable(reference string, tok *token.Token) string {
	name, fallback, hasFallback := strings.Cut(reference, ":-")
	if !variableName(name) {
		e.problems = append(e.problems, e.at(tok, fmt.Sprintf("%q is no name of an environment variable", name)))
		return ""
	}
	if value, ok := e.lookup(name); ok && (value != "" || !hasFallback) {
		return value
	}
	if !hasFallback {
		e.problems = append(e.problems, e.at(tok, fmt.Sprintf("environment variable %s is not set, expected a value or ${%s:-default}", name, name)))
	}
	return fallback
}

func variableName(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
