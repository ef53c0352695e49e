package mobile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// selection says which members of a JSON object are wanted; a nil one wants all of them.
type selection map[string]selection

// The bounds of a text for parseSelection.
const (
	maxFieldsLength = 8 << 10
	maxFieldsDepth  = 32
)

// parseSelection reads a partial response such as "items(id,title),next", or a field mask such as "items.id,next".
func parseSelection(text string) (*selection, error) {
	if len(text) > maxFieldsLength {
		return nil, fmt.Errorf("fields: longer than %d bytes", maxFieldsLength)
	}
	out := selection{}
	rest, err := parseNames(text, out, 0)
	if err == nil && rest != "" {
		err = fmt.Errorf("fields: unexpected %q", rest[:1])
	}
	return &out, err
}

// parseNames reads names separated by commas into a selection, and returns what follows them.
func parseNames(text string, into selection, depth int) (rest string, err error) {
	for {
		if text, err = parseName(text, into, depth); err != nil {
			return "", err
		}
		if !strings.HasPrefix(text, ",") {
			return text, nil
		}
		text = text[1:]
	}
}

func parseName(text string, into selection, depth int) (rest string, err error) {
	end := strings.IndexAny(text, ",()./")
	if end < 0 {
		end = len(text)
	}
	name := strings.TrimSpace(text[:end])
	rest = text[end:]
	switch {
	case depth >= maxFieldsDepth:
		return "", fmt.Errorf("fields: %q is too deep", name)
	case name == "":
		return "", fmt.Errorf("fields: a name is missing before %.16q", text)
	case rest == "" || rest[0] == ',' || rest[0] == ')':
		into[name] = nil // all of it, whatever was selected within it before
		return rest, nil
	}
	sub, again := into[name]
	if sub == nil {
		sub = selection{}
	}
	if rest[0] != '(' {
		rest, err = parseName(rest[1:], sub, depth+1)
	} else if rest, err = parseNames(rest[1:], sub, depth+1); err == nil {
		if !strings.HasPrefix(rest, ")") {
			return "", fmt.Errorf("fields: a closing parenthesis is missing behind %q", name)
		}
		rest = rest[1:]
	}
	if before := into[name]; !again || before != nil {
		into[name] = sub
	}
	return rest, err
}

// project keeps of a JSON text what is selected, in the order of the text.
func (s *selection) project(text []byte) ([]byte, error) {
	return project(make([]byte, 0, len(text)), text, *s)
}

// project appends what is selected of one value: members of an object, or of each object in a list. Other values have
// nothing to select from.
func project(dst, value []byte, wanted selection) ([]byte, error) {
	value = bytes.TrimSpace(value)
	if wanted == nil || len(value) == 0 || value[0] != '{' && value[0] != '[' {
		return append(dst, value...), nil
	}
	d := json.NewDecoder(bytes.NewReader(value))
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("reading the answer of an operation: %w", err)
	}
	dst = append(dst, value[0])
	first := true
	for d.More() {
		sub, name := wanted, ""
		if value[0] == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, fmt.Errorf("reading the answer of an operation: %w", err)
			}
			name, _ = token.(string)
		}
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return nil, fmt.Errorf("reading the answer of an operation: %w", err)
		}
		if value[0] == '{' {
			var selected bool
			if sub, selected = wanted[name]; !selected {
				continue
			}
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if value[0] == '{' {
			dst = append(append(append(dst, '"'), name...), `":`...) // a GraphQL name needs no escapes
		}
		var err error
		if dst, err = project(dst, element, sub); err != nil {
			return nil, err
		}
	}
	return append(dst, value[0]+2), nil // the closing bracket of either kind
}
