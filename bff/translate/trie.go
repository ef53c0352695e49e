package translate

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/portico-bff/portico/bff/translate/urlpath"
)

// trie finds the route of a request. At each segment, from left to right, a literal goes before * and * before **;
// a verb is one only where a route has it, and then goes before the same route's lack of it. Only routes for the
// request's HTTP method count.
//
// It is a tree, so a search visits each node at most once, however much it has to turn back: its time is bounded by
// the number of routes, whatever the path. It is immutable once built.
type trie[R any] struct{ root node[R] }

type node[R any] struct {
	literals map[string]*node[R]
	star     *node[R]
	ends     []ending[R] // routes that end here
	rests    []ending[R] // routes that end here with **
}

// ending holds the routes that end at a node with the same verb, by HTTP method.
type ending[R any] struct {
	verb     string
	byMethod map[string]*leaf[R]
}

// leaf is a route in the trie.
type leaf[R any] struct {
	template *template
	route    R
}

// anyMethod is the HTTP method of routes that take whatever method no other route takes.
const anyMethod = "*"

// insert adds a route. If an equal one is there, it returns that and changes nothing.
func (t *trie[R]) insert(method string, tmpl *template, route R) (taken *R) {
	n := &t.root
	endings := &n.ends
	for _, segment := range tmpl.segments {
		switch segment {
		case doubleStar:
			endings = &n.rests
			continue
		case star:
			if n.star == nil {
				n.star = &node[R]{}
			}
			n = n.star
		default:
			next := n.literals[segment]
			if next == nil {
				next = &node[R]{}
				if n.literals == nil {
					n.literals = map[string]*node[R]{}
				}
				n.literals[segment] = next
			}
			n = next
		}
		endings = &n.ends
	}
	for i := range *endings {
		if e := (*endings)[i]; e.verb == tmpl.verb {
			if other := e.byMethod[method]; other != nil {
				return &other.route
			}
			e.byMethod[method] = &leaf[R]{template: tmpl, route: route}
			return nil
		}
	}
	*endings = append(*endings, ending[R]{verb: tmpl.verb, byMethod: map[string]*leaf[R]{method: {template: tmpl, route: route}}})
	return nil
}

// lookup finds the leaf for a method and a path; nil if there is none.
func (t *trie[R]) lookup(method string, p *urlpath.Path) *leaf[R] {
	s, ok := newSearch[R](method, p)
	if !ok {
		return nil
	}
	return s.find(&t.root, 0)
}

// methods lists the HTTP methods that the path has routes for.
func (t *trie[R]) methods(p *urlpath.Path) map[string]bool {
	s, ok := newSearch[R]("", p)
	if !ok {
		return nil
	}
	s.all = map[string]bool{}
	s.find(&t.root, 0)
	return s.all
}

// search is the state of one search.
type search[R any] struct {
	method     string
	path       *urlpath.Path
	stem, verb string          // of the last segment; no verb if empty
	all        map[string]bool // collects methods instead of finding one, if not nil
}

// newSearch begins a search; false if no route can match. An empty segment matches nothing: GET /orders/ is not
// GET /orders/{id} with an empty id.
func newSearch[R any](method string, p *urlpath.Path) (search[R], bool) {
	if slices.Contains(p.Segments, "") {
		return search[R]{}, false
	}
	s := search[R]{method: method, path: p}
	s.stem, s.verb, _ = p.Verb()
	return s, true
}

// find searches below n for the segments from i on.
func (s *search[R]) find(n *node[R], i int) *leaf[R] {
	if i == len(s.path.Segments) {
		return s.end(n, "")
	}
	segment := s.path.Segments[i]
	last := i == len(s.path.Segments)-1
	if last && s.verb != "" {
		if next := n.literals[s.stem]; next != nil {
			if found := s.end(next, s.verb); found != nil {
				return found
			}
		}
	}
	if next := n.literals[segment]; next != nil {
		if found := s.find(next, i+1); found != nil {
			return found
		}
	}
	if n.star != nil {
		if last && s.verb != "" {
			if found := s.end(n.star, s.verb); found != nil {
				return found
			}
		}
		if found := s.find(n.star, i+1); found != nil {
			return found
		}
	}
	if s.verb != "" {
		if found := s.pick(n.rests, s.verb); found != nil {
			return found
		}
	}
	return s.pick(n.rests, "")
}

// end looks among the routes that end at n, and those whose ** is empty there.
func (s *search[R]) end(n *node[R], verb string) *leaf[R] {
	if found := s.pick(n.ends, verb); found != nil {
		return found
	}
	return s.pick(n.rests, verb)
}

func (s *search[R]) pick(endings []ending[R], verb string) *leaf[R] {
	for i := range endings {
		e := &endings[i]
		if e.verb != verb {
			continue
		}
		if s.all != nil {
			for method := range e.byMethod {
				s.all[method] = true
			}
			return nil
		}
		if found := e.byMethod[s.method]; found != nil {
			return found
		}
		if s.method == http.MethodHead {
			if found := e.byMethod[http.MethodGet]; found != nil {
				return found
			}
		}
		return e.byMethod[anyMethod]
	}
	return nil
}

// values appends the text of each variable of the template that p matched.
func (t *template) values(dst []string, p *urlpath.Path) []string {
	withoutVerb := t.verb != ""
	for i := range t.vars {
		v := &t.vars[i]
		if v.single {
			dst = append(dst, p.Single(v.start, withoutVerb))
			continue
		}
		end := v.end
		if end < 0 {
			end = len(p.Segments)
		}
		dst = append(dst, p.Several(v.start, end, withoutVerb))
	}
	return dst
}

// String writes the template anew, with what it binds: what logs and metrics name the route.
func (t *template) String() string {
	var b strings.Builder
	for i := 0; i < len(t.segments); {
		b.WriteByte('/')
		v := t.varAt(i)
		if v == nil {
			b.WriteString(t.segments[i])
			i++
			continue
		}
		end := v.end
		if end < 0 {
			end = len(t.segments)
		}
		pattern := strings.Join(t.segments[i:end], "/")
		if pattern == star {
			fmt.Fprintf(&b, "{%s}", v.field)
		} else {
			fmt.Fprintf(&b, "{%s=%s}", v.field, pattern)
		}
		i = end
	}
	if b.Len() == 0 {
		b.WriteByte('/')
	}
	if t.verb != "" {
		b.WriteString(":" + t.verb)
	}
	return b.String()
}

func (t *template) varAt(segment int) *variable {
	for i := range t.vars {
		if t.vars[i].start == segment {
			return &t.vars[i]
		}
	}
	return nil
}
