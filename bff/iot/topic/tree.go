package topic

import "strings"

// Tree finds the template that a name matches among templates that do not overlap. The zero Tree is empty. Adding
// must end before finding begins; finding is safe for concurrent use.
type Tree[T any] struct {
	root node[T]
}

type node[T any] struct {
	literals map[string]*node[T]
	any      *node[T]
	value    *T
}

// Add adds a template without wildcards. A template with the same levels is replaced.
func (t *Tree[T]) Add(tpl *Template, value T) {
	n := &t.root
	for _, l := range tpl.levels {
		n = n.child(l)
	}
	n.value = &value
}

func (n *node[T]) child(l level) *node[T] {
	if l.variable >= 0 {
		if n.any == nil {
			n.any = &node[T]{}
		}
		return n.any
	}
	if n.literals == nil {
		n.literals = make(map[string]*node[T])
	}
	if n.literals[l.literal] == nil {
		n.literals[l.literal] = &node[T]{}
	}
	return n.literals[l.literal]
}

// Find returns the value of the template that name matches, and what its variables stand for, in order.
func (t *Tree[T]) Find(name string) (value T, captures []string, ok bool) {
	found, captures := t.root.find(name, nil)
	if found == nil {
		return value, nil, false
	}
	return *found, captures, true
}

// find prefers literals, and goes back to the variable where they lead nowhere.
func (n *node[T]) find(name string, captures []string) (*T, []string) {
	head, rest, more := strings.Cut(name, "/")
	if next := n.literals[head]; next != nil {
		if v, c := next.end(rest, more, captures); v != nil {
			return v, c
		}
	}
	if n.any == nil || head == "" {
		return nil, nil
	}
	return n.any.end(rest, more, append(captures, head))
}

func (n *node[T]) end(rest string, more bool, captures []string) (*T, []string) {
	if more {
		return n.find(rest, captures)
	}
	return n.value, captures
}
