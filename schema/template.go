package schema

import (
	"fmt"
	"strings"
)

// reference is "{args.id}" in a template: a root and a path below it.
type reference struct {
	root, path string
}

func (r reference) String() string { return "{" + r.root + "." + r.path + "}" }

// The roots of references.
const (
	rootArgs      = "args"
	rootParent    = "parent"
	rootPrincipal = "principal"
	rootRequest   = "request"
)

func templateRoots() []string { return []string{rootArgs, rootParent, rootPrincipal, rootRequest} }

// part is a piece of a template: a text, or a reference.
type part struct {
	text string
	ref  *reference
}

// parseTemplate splits a template such as "boxes/{args.id}" into its parts. Braces have no escape: there is no brace
// in a template that is not a reference's.
func parseTemplate(text string) ([]part, error) {
	var parts []part
	for rest := text; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			parts = append(parts, part{text: rest})
			break
		}
		if rest[open] == '}' {
			return nil, fmt.Errorf("template %q has a } without a {", text)
		}
		if open > 0 {
			parts = append(parts, part{text: rest[:open]})
		}
		end := strings.IndexAny(rest[open+1:], "{}")
		if end < 0 || rest[open+1+end] != '}' {
			return nil, fmt.Errorf("template %q has a { without a }", text)
		}
		inner := rest[open+1 : open+1+end]
		root, path, found := strings.Cut(inner, ".")
		if !found || root == "" || path == "" || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") {
			return nil, fmt.Errorf("template %q has the reference {%s}, expected one like {args.id}", text, inner)
		}
		parts = append(parts, part{ref: &reference{root: root, path: path}})
		rest = rest[open+end+2:]
	}
	return parts, nil
}

// sole returns the reference that a template consists of; nil if there is more to it.
func sole(parts []part) *reference {
	if len(parts) == 1 {
		return parts[0].ref
	}
	return nil
}
