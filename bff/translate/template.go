package translate

import (
	"fmt"
	"net/url"
	"strings"
)

// template is a path template of google.api.http, parsed. Its grammar is that of google/api/http.proto:
//
//	Template  = "/" Segments [ Verb ] ;
//	Segments  = Segment { "/" Segment } ;
//	Segment   = "*" | "**" | LITERAL | Variable ;
//	Variable  = "{" FieldPath [ "=" Segments ] "}" ;
//	FieldPath = IDENT { "." IDENT } ;
//	Verb      = ":" LITERAL ;
//
// "**" must be the last segment, and "/" alone is the root. A literal is compared decoded, so "a%20b" in a template
// and in a path are the same, however either spells it.
type template struct {
	segments []string // decoded literals, star, or doubleStar
	verb     string   // decoded; empty for none
	vars     []variable
}

// What stands for a wildcard in template.segments. No literal is like them: a literal's wildcard must be encoded,
// and is kept so.
const (
	star       = "*"
	doubleStar = "**"
)

// variable is a part of a template that is bound to a field.
type variable struct {
	field      string // path of the field
	start, end int    // segments; end is -1 if the variable ends with "**"
	single     bool   // of one segment: all of it is decoded
}

// templateError is a template that cannot be parsed.
type templateError struct {
	template string
	offset   int
	what     string
}

func (e *templateError) Error() string {
	return fmt.Sprintf("path template %q: column %d: %s", e.template, e.offset+1, e.what)
}

func parseTemplate(text string) (*template, error) {
	p := templateParser{text: text, out: &template{}}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.out, nil
}

// Variables lists the names of a path template's variables.
func Variables(path string) ([]string, error) {
	t, err := parseTemplate(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(t.vars))
	for i := range t.vars {
		names[i] = t.vars[i].field
	}
	return names, nil
}

type templateParser struct {
	text  string
	at    int
	inVar bool
	out   *template
}

func (p *templateParser) errorf(format string, args ...any) error {
	return &templateError{template: p.text, offset: p.at, what: fmt.Sprintf(format, args...)}
}

func (p *templateParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *templateParser) parse() error {
	if p.peek() != '/' {
		return p.errorf("expected a slash")
	}
	p.at++
	if p.at == len(p.text) {
		return nil
	}
	if err := p.segments(); err != nil {
		return err
	}
	if p.peek() == ':' {
		p.at++
		verb, err := p.literal(p.text[p.at:])
		if err != nil {
			return err
		}
		p.out.verb = verb
		p.at = len(p.text)
	}
	if p.at < len(p.text) {
		return p.errorf("unexpected %q", p.text[p.at])
	}
	return nil
}

func (p *templateParser) segments() error {
	for {
		if n := len(p.out.segments); n > 0 && p.out.segments[n-1] == doubleStar {
			return p.errorf("** must be the last segment")
		}
		if err := p.segment(); err != nil {
			return err
		}
		if p.peek() != '/' {
			return nil
		}
		p.at++
	}
}

func (p *templateParser) segment() error {
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, doubleStar):
		p.at += 2
		p.out.segments = append(p.out.segments, doubleStar)
	case strings.HasPrefix(rest, star):
		p.at++
		p.out.segments = append(p.out.segments, star)
	case strings.HasPrefix(rest, "{"):
		if p.inVar {
			return p.errorf("a variable cannot hold another one")
		}
		return p.variable()
	default:
		end := strings.IndexAny(rest, "/{}*=")
		if end < 0 {
			end = len(rest)
		}
		// A colon in the last segment, the last one if there are several, begins the verb.
		if colon := strings.LastIndexByte(rest[:end], ':'); colon >= 0 && end == len(rest) {
			end = colon
		}
		literal, err := p.literal(rest[:end])
		if err != nil {
			return err
		}
		p.at += end
		p.out.segments = append(p.out.segments, literal)
		return nil
	}
	if c := p.peek(); c != 0 && c != '/' && c != ':' && c != '}' {
		return p.errorf("unexpected %q behind a wildcard", c)
	}
	return nil
}

func (p *templateParser) variable() error {
	p.at++
	end := strings.IndexAny(p.text[p.at:], "=}")
	if end < 0 {
		return p.errorf("a variable is not closed")
	}
	v := variable{field: p.text[p.at : p.at+end], start: len(p.out.segments)}
	for name := range strings.SplitSeq(v.field, ".") {
		if !identifier(name) {
			return p.errorf("%q is no field path", v.field)
		}
	}
	for _, other := range p.out.vars {
		if other.field == v.field {
			return p.errorf("field %q is bound twice", v.field)
		}
	}
	p.at += end
	if p.peek() == '=' {
		p.at++
		p.inVar = true
		if err := p.segments(); err != nil {
			return err
		}
		p.inVar = false
	} else {
		p.out.segments = append(p.out.segments, star)
	}
	if p.peek() != '}' {
		return p.errorf("a variable is not closed")
	}
	p.at++
	if c := p.peek(); c != 0 && c != '/' && c != ':' {
		return p.errorf("unexpected %q behind a variable", c)
	}
	v.end = len(p.out.segments)
	last := p.out.segments[v.end-1]
	v.single = v.end-v.start == 1 && last != doubleStar
	if last == doubleStar {
		v.end = -1
	}
	p.out.vars = append(p.out.vars, v)
	return nil
}

// literal checks and decodes a literal.
func (p *templateParser) literal(s string) (string, error) {
	if s == "" {
		return "", p.errorf("expected a segment")
	}
	if i := strings.IndexAny(s, "/{}*=?# "); i >= 0 {
		p.at += i
		return "", p.errorf("unexpected %q in a literal", s[i])
	}
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return "", p.errorf("%q has a malformed percent-encoding", s)
	}
	switch decoded {
	case star, doubleStar:
		return "", p.errorf("a literal cannot be %q", decoded)
	case ".", "..":
		return "", p.errorf("a dot segment can never match")
	}
	return decoded, nil
}

func identifier(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
