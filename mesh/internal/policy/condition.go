package policy

import (
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

// condition reads key: request.headers[x], values, notValues.
func (r *reader) condition(n ast.Node) []authz.Header {
	name, before := "", len(r.mistakes)
	var wanted, unwanted *authz.Header
	r.mapping(n, "when",
		key{name: "key", must: true, read: func(n ast.Node) {
			s, ok := r.text(n, "key")
			if !ok {
				return
			}
			rest, open := strings.CutPrefix(s, "request.headers[")
			inner, closed := strings.CutSuffix(rest, "]")
			if !open || !closed || inner == "" {
				r.fail(place(n), `key: the mesh does not honour %q, want "request.headers[name]"`, s)
				return
			}
			name = strings.ToLower(inner)
		}},
		key{name: "values", read: func(n ast.Node) { wanted = r.headerValues(n, "values") }},
		key{name: "notValues", read: func(n ast.Node) {
			if unwanted = r.headerValues(n, "notValues"); unwanted != nil {
				unwanted.Not = true
			}
		}})
	if wanted == nil && unwanted == nil && len(r.mistakes) == before {
		r.fail(place(n), `when: want "values" or "notValues" with at least one entry`)
	}
	var headers []authz.Header
	for _, h := range []*authz.Header{wanted, unwanted} {
		if h != nil {
			h.Name = name
			headers = append(headers, *h)
		}
	}
	return headers
}

// headerValues reads "*" as present, "text*" as a prefix and {regex: text} as an
// expression for the whole value. It is nil for no values.
func (r *reader) headerValues(n ast.Node, what string) *authz.Header {
	var h authz.Header
	some := false
	r.each(n, what, func(n ast.Node) {
		some = true
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			r.mapping(n, what, key{name: "regex", must: true, read: func(n ast.Node) {
				s, ok := r.text(n, "regex")
				if !ok {
					return
				}
				re, err := fullRegexp(s)
				if err != nil {
					r.fail(place(n), "regex: %v", err)
					return
				}
				h.Regexps = append(h.Regexps, re)
			}})
			return
		}
		value, ok := r.text(n, what)
		if !ok {
			return
		}
		switch prefix, ok := strings.CutSuffix(value, "*"); {
		case value == "*":
			h.Present = true
		case ok:
			h.Prefixes = append(h.Prefixes, prefix)
		default:
			h.Values = append(h.Values, value)
		}
	})
	if !some {
		return nil
	}
	return &h
}
