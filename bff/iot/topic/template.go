package topic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Template is a topic with named variables as whole levels, such as "boxes/{box_id}/telemetry". It may hold
// wildcards if it was parsed with them.
type Template struct {
	text   string
	levels []level
	names  []string
}

// level is a literal or a wildcard, or the variable with that index if variable is not negative.
type level struct {
	literal  string
	variable int
}

// ParseTemplate compiles a template without wildcards.
func ParseTemplate(text string) (*Template, error) { return parse(text, false) }

// ParseFilterTemplate compiles a template that may hold the wildcards '+' and '#'.
func ParseFilterTemplate(text string) (*Template, error) { return parse(text, true) }

func parse(text string, wildcards bool) (*Template, error) {
	if text == "" {
		return nil, errors.New("the topic is empty")
	}
	t := &Template{text: text}
	plain := make([]string, 0, 8)
	for part := range strings.SplitSeq(text, "/") {
		name, isVariable, err := variable(part)
		if err != nil {
			return nil, err
		}
		if !isVariable {
			t.levels = append(t.levels, level{literal: part, variable: -1})
			plain = append(plain, part)
			continue
		}
		if slices.Contains(t.names, name) {
			return nil, fmt.Errorf("{%s} stands twice in the topic", name)
		}
		t.levels = append(t.levels, level{variable: len(t.names)})
		t.names = append(t.names, name)
		plain = append(plain, "x")
	}
	if err := check(strings.Join(plain, "/"), wildcards); err != nil {
		return nil, err
	}
	return t, nil
}

// variable returns the name of a level of the form {name}.
func variable(part string) (string, bool, error) {
	if !strings.ContainsAny(part, "{}") {
		return "", false, nil
	}
	name, opened := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || name == "" || strings.ContainsAny(name, "{} \t+#") {
		return "", false, fmt.Errorf("level %q, expected text or a whole {variable}", part)
	}
	return name, true, nil
}

// String returns the text that was parsed.
func (t *Template) String() string { return t.text }

// Names returns the names of the variables, in order. The slice must not be changed.
func (t *Template) Names() []string { return t.names }

// Filter is the filter that matches every topic of the template: variables become '+'.
func (t *Template) Filter() string {
	filter, _ := t.Fill(func(string) (string, bool) { return "+", true })
	return filter
}

// Fill puts value(name) in the place of each variable, and returns false if value does so for one of them. The
// values are not checked.
func (t *Template) Fill(value func(name string) (string, bool)) (string, bool) {
	var b strings.Builder
	for i, l := range t.levels {
		if i > 0 {
			b.WriteByte('/')
		}
		text := l.literal
		if l.variable >= 0 {
			var ok bool
			if text, ok = value(t.names[l.variable]); !ok {
				return "", false
			}
		}
		b.WriteString(text)
	}
	return b.String(), true
}
