package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// document is a parsed YAML file that can say where a path of keys stands.
type document struct {
	name    string
	lines   []string
	root    ast.Node
	anchors map[string]ast.Node // what aliases stand for
}

// parse reads one YAML document. The only error is [Problems].
func parse(name string, text []byte) (*document, error) {
	d := &document{name: name, lines: strings.Split(string(text), "\n"), anchors: map[string]ast.Node{}}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Problems{d.yamlProblem(err)}
	}
	switch {
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return nil, Problems{{File: name, Text: "the file is empty, expected at least version: 1"}}
	case len(file.Docs) > 1:
		return nil, Problems{d.at(file.Docs[1].Start, "a second YAML document, expected one in the file")}
	}
	d.root = file.Docs[0].Body
	for _, node := range ast.Filter(ast.AnchorType, d.root) {
		if anchor, ok := node.(*ast.AnchorNode); ok {
			d.anchors[anchor.Name.GetToken().Value] = anchor.Value
		}
	}
	return d, nil
}

// decode writes the document's values into v, which must accept every key.
func (d *document) decode(v any) error {
	if err := yaml.NodeToValue(d.root, v, yaml.Strict()); err != nil {
		return Problems{d.yamlProblem(err)}
	}
	return nil
}

// locate turns every mistake in err into a [Problem].
func (d *document) locate(err error) Problems {
	var out Problems
	for _, m := range mistake.List(err) {
		if ps, ok := errors.AsType[Problems](m.Err); ok {
			out = append(out, ps...)
			continue
		}
		tok, found := d.find(m.Path, m.Key)
		text := m.Text()
		if missing := m.Path[found:]; len(missing) > 0 && !m.Key {
			text = strings.Join(missing, ".") + ": " + text
		}
		out = append(out, d.at(tok, text))
	}
	return out.sorted()
}

// where says where a path of keys stands, as file:line:col.
func (d *document) where(path ...string) string {
	tok, _ := d.find(path, false)
	p := d.at(tok, "")
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// find walks down a path as far as the document goes and returns the token there and how many keys it followed.
func (d *document) find(path []string, wantKey bool) (*token.Token, int) {
	node, tok := d.root, d.root.GetToken()
	for i, key := range path {
		keyNode, value := d.child(node, key)
		if value == nil {
			return tok, i
		}
		node, tok = value, place(value)
		if keyNode != nil && (tok == nil || wantKey && i == len(path)-1 || container(value)) {
			tok = keyNode.GetToken()
		}
	}
	return tok, len(path)
}

// child returns the node at a key or index below node, and the key's own node if it has one.
func (d *document) child(node ast.Node, key string) (keyNode, value ast.Node) {
	switch n := d.target(unwrap(node)).(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if keyText(pair.Key) == key {
				return pair.Key, pair.Value
			}
		}
	case *ast.MappingValueNode:
		if keyText(n.Key) == key {
			return n.Key, n.Value
		}
	case *ast.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Values) {
			return nil, n.Values[i]
		}
	}
	return nil, nil
}

// target is what an alias stands for, and any other node itself.
func (d *document) target(node ast.Node) ast.Node {
	if alias, ok := node.(*ast.AliasNode); ok {
		return unwrap(d.anchors[alias.Value.GetToken().Value])
	}
	return node
}

func unwrap(node ast.Node) ast.Node {
	for {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.TagNode:
			node = n.Value
		default:
			return node
		}
	}
}

// keyText is the text of a mapping key without its quotes.
func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}

func container(node ast.Node) bool {
	switch unwrap(node).(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return true
	}
	return false
}

// place is the token where a value begins. For a mapping in block style that is its first key, not its first colon.
func place(node ast.Node) *token.Token {
	switch n := unwrap(node).(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}

func (d *document) at(tok *token.Token, text string) Problem {
	p := Problem{File: d.name, Text: text}
	if tok == nil || tok.Position == nil {
		return p
	}
	p.Line, p.Col = tok.Position.Line, tok.Position.Column
	if p.Line >= 1 && p.Line <= len(d.lines) {
		p.Source = strings.TrimRight(d.lines[p.Line-1], "\r")
	}
	return p
}

// yamlProblem places an error of the YAML library.
func (d *document) yamlProblem(err error) Problem {
	if placed, ok := errors.AsType[yaml.Error](err); ok {
		return d.at(placed.GetToken(), placed.GetMessage())
	}
	return Problem{File: d.name, Text: fmt.Sprintf("no YAML: %v", err)}
}
