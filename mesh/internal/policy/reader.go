package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Mistake is one thing wrong with a file, at its place.
//
//nolint:errname // what it is comes before what it implements
type Mistake struct {
	File      string
	Line, Col int
	Text      string
}

// Error gives the place and the text.
func (m *Mistake) Error() string {
	if m.Line == 0 {
		return m.File + ": " + m.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Col, m.Text)
}

// reader walks the nodes of a file and gathers mistakes.
type reader struct {
	file     string
	mistakes []error

	named      []reference // in the route being read
	references []reference // to subsets, in all
}

// key is a key that a mapping may have.
type key struct {
	name string
	read func(ast.Node)
	must bool
}

func (r *reader) err() error { return errors.Join(r.mistakes...) }

func (r *reader) fail(at *token.Token, format string, args ...any) {
	m := &Mistake{File: r.file, Text: fmt.Sprintf(format, args...)}
	if at != nil && at.Position != nil {
		m.Line, m.Col = at.Position.Line, at.Position.Column
	}
	r.mistakes = append(r.mistakes, m)
}

// place is the token that a message about a node should point at.
func place(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// pairs returns the entries of a mapping.
func (r *reader) pairs(n ast.Node, what string) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	r.fail(place(n), "%s: %s, want a mapping", what, describe(n))
	return nil, false
}

// mapping reads a mapping with these keys and no others.
func (r *reader) mapping(n ast.Node, what string, keys ...key) {
	pairs, ok := r.pairs(n, what)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		at := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
		if at < 0 {
			r.unknown(pair.Key.GetToken(), what, name, keys)
			continue
		}
		seen[name] = true
		keys[at].read(pair.Value)
	}
	for _, k := range keys {
		if k.must && !seen[k.name] {
			r.fail(place(n), "%s: %q is missing", what, k.name)
		}
	}
}

func (r *reader) unknown(at *token.Token, what, name string, keys []key) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	r.fail(at, "%s: the mesh does not honour %q, want %s%s", what, name, list(names), advice(what, name, names))
}

// each reads the elements of a sequence.
func (r *reader) each(n ast.Node, what string, read func(ast.Node)) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(place(n), "%s: %s, want a list", what, describe(n))
		return
	}
	for _, value := range sequence.Values {
		read(value)
	}
}

// text reads a string that is not empty.
func (r *reader) text(n ast.Node, what string) (string, bool) {
	if s, ok := n.(*ast.StringNode); ok && s.Value != "" {
		return s.Value, true
	}
	r.fail(place(n), "%s: %s, want text", what, describe(n))
	return "", false
}

// texts reads a list of strings that are not empty.
func (r *reader) texts(n ast.Node, what string) []string {
	var list []string
	r.each(n, what, func(n ast.Node) {
		if s, ok := r.text(n, what); ok {
			list = append(list, s)
		}
	})
	return list
}

// word reads one of some words.
func (r *reader) word(n ast.Node, what string, words ...string) (string, bool) {
	s, ok := r.text(n, what)
	if !ok {
		return "", false
	}
	if slices.Contains(words, s) {
		return s, true
	}
	r.fail(place(n), "%s: the mesh does not honour %q, want %s%s", what, s, list(words), advice(what, s, words))
	return "", false
}

// duration reads a positive duration.
func (r *reader) duration(n ast.Node, what string, to *time.Duration) {
	s, ok := n.(*ast.StringNode)
	if ok {
		if d, err := time.ParseDuration(s.Value); err == nil && d > 0 {
			*to = d
			return
		}
	}
	r.fail(place(n), "%s: %s, want a positive duration such as 500ms, 2s or 1m", what, describe(n))
}

// integer reads a whole number between low and high.
func (r *reader) integer(n ast.Node, what string, low, high int, to *int) {
	if i, ok := n.(*ast.IntegerNode); ok {
		if v, err := strconv.Atoi(i.GetToken().Value); err == nil && v >= low && v <= high {
			*to = v
			return
		}
	}
	r.fail(place(n), "%s: %s, want a whole number from %d to %d", what, describe(n), low, high)
}

// number reads a number between low and high.
func (r *reader) number(n ast.Node, what string, low, high float64, to *float64) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if v, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil && v >= low && v <= high {
			*to = v
			return
		}
	}
	r.fail(place(n), "%s: %s, want a number from %g to %g", what, describe(n), low, high)
}

// boolean reads true or false.
func (r *reader) boolean(n ast.Node, what string, to *bool) {
	if b, ok := n.(*ast.BoolNode); ok {
		*to = b.Value
		return
	}
	r.fail(place(n), "%s: %s, want true or false", what, describe(n))
}

// describe says what a node is.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag (not supported here)"
	case *ast.StringNode:
		return strconv.Quote(n.Value)
	}
	return n.GetToken().Value
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// advice says what to write in the place of a word.
func advice(what, word string, words []string) string {
	if reason := instead(what, word); reason != "" {
		return "; " + reason
	}
	return hint(word, words)
}

// hint names the nearest word if one is near.
func hint(word string, words []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w)); d < least {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
