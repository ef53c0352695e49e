package wire

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Selection says which fields of a message are wanted, in which order. A nil Selection wants all of them.
type Selection struct {
	// Fields are the selected fields. The same field may be selected more than once under different names.
	Fields []Selected
}

// Selected is one field of a [Selection].
type Selected struct {
	// Name is the proto name of the field.
	Name protoreflect.Name
	// As is the field's name in the output; "" is its JSON name, or its proto name where options say so.
	As string
	// Sub selects within the field's messages, or within the messages of its map values; nil wants all.
	Sub *Selection
}

// The bounds of a text for [ParseFields].
const (
	maxFieldsLength = 8 << 10
	maxFieldsDepth  = 32
)

// FieldsError says what is wrong in a text for [ParseFields].
type FieldsError struct {
	// Text is the part that is wrong.
	Text string
	// What says what is wrong with it.
	What string
	// Nearest is the nearest known name; may be empty.
	Nearest string
	// Offset is where the part begins.
	Offset int
}

// Error tells all of it.
func (e *FieldsError) Error() string {
	if e.Nearest != "" {
		return fmt.Sprintf("fields: %s %q, did you mean %q?", e.What, e.Text, e.Nearest)
	}
	return fmt.Sprintf("fields: %s %q", e.What, e.Text)
}

// ParseFields reads a selection written as a partial response, such as "items(id,title),next" or "items/id,next", or as
// a field mask, such as "items.id,next". Names are JSON names or proto names; "*" is every field. A field named more
// than once has all that is selected in any of the places. The error is a [*FieldsError].
func ParseFields(md protoreflect.MessageDescriptor, text string) (*Selection, error) {
	if len(text) > maxFieldsLength {
		return nil, &FieldsError{Text: text[:32] + "...", What: fmt.Sprintf("longer than %d bytes:", maxFieldsLength)}
	}
	p := fieldsParser{text: text}
	root := new(Selection)
	if err := p.list(md, root, 0); err != nil {
		return nil, err
	}
	if p.at < len(text) {
		return nil, &FieldsError{Text: text[p.at : p.at+1], What: "unexpected", Offset: p.at}
	}
	if len(root.Fields) == 0 {
		return nil, &FieldsError{What: "no field is named in"}
	}
	return root, nil
}

// fieldsParser walks over a fields text.
type fieldsParser struct {
	text string
	at   int
}

// list reads names separated by commas, until the end or a closing parenthesis.
func (p *fieldsParser) list(md protoreflect.MessageDescriptor, into *Selection, depth int) error {
	for {
		if err := p.field(md, into, depth); err != nil {
			return err
		}
		if p.at == len(p.text) || p.text[p.at] != ',' {
			return nil
		}
		p.at++
	}
}

// field reads one name and what follows it.
func (p *fieldsParser) field(md protoreflect.MessageDescriptor, into *Selection, depth int) error {
	p.space()
	start := p.at
	for p.at < len(p.text) && !strings.ContainsRune(",()./ ", rune(p.text[p.at])) {
		p.at++
	}
	name := p.text[start:p.at]
	p.space()
	switch {
	case depth >= maxFieldsDepth:
		return &FieldsError{Text: name, What: "too deep:", Offset: start}
	case name == "":
		return &FieldsError{Text: p.text[start:min(start+16, len(p.text))], What: "a name is missing before", Offset: start}
	case name == "*":
		all(md, into)
		return nil
	}
	fd := fieldByAnyName(md, name)
	if fd == nil {
		return &FieldsError{Text: name, What: "unknown field", Nearest: mistake.Nearest(name, names(md)), Offset: start}
	}
	if p.at == len(p.text) || !strings.ContainsRune("(./", rune(p.text[p.at])) {
		add(into, fd.Name(), nil)
		return nil
	}
	sub := new(Selection)
	child := selectable(fd)
	if child == nil {
		return &FieldsError{Text: name, What: "nothing can be selected within", Offset: start}
	}
	open := p.text[p.at]
	p.at++
	if open != '(' {
		if err := p.field(child, sub, depth+1); err != nil {
			return err
		}
		add(into, fd.Name(), sub)
		return nil
	}
	if err := p.list(child, sub, depth+1); err != nil {
		return err
	}
	if p.at == len(p.text) || p.text[p.at] != ')' {
		return &FieldsError{Text: p.text[start:], What: "a closing parenthesis is missing in", Offset: start}
	}
	p.at++
	p.space()
	add(into, fd.Name(), sub)
	return nil
}

// space skips spaces.
func (p *fieldsParser) space() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// all selects every field.
func all(md protoreflect.MessageDescriptor, into *Selection) {
	for i := range md.Fields().Len() {
		add(into, md.Fields().Get(i).Name(), nil)
	}
}

// add selects a field, merging with what was selected of it before.
func add(into *Selection, name protoreflect.Name, sub *Selection) {
	for i := range into.Fields {
		f := &into.Fields[i]
		if f.Name != name {
			continue
		}
		if f.Sub == nil || sub == nil {
			f.Sub = nil
			return
		}
		for _, s := range sub.Fields {
			add(f.Sub, s.Name, s.Sub)
		}
		return
	}
	into.Fields = append(into.Fields, Selected{Name: name, Sub: sub})
}

// selectable returns the message within which fields of fd can be selected: its own, or that of its map values. Types
// with a JSON form of their own have no selectable parts.
func selectable(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	md := fd.Message()
	if fd.IsMap() {
		md = fd.MapValue().Message()
	}
	if md == nil || specialOf(md) != notSpecial {
		return nil
	}
	return md
}

// fieldByAnyName finds a field by its JSON name or its proto name.
func fieldByAnyName(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByTextName(name)
}

// names lists the JSON names of all fields.
func names(md protoreflect.MessageDescriptor) []string {
	out := make([]string, md.Fields().Len())
	for i := range out {
		out[i] = md.Fields().Get(i).JSONName()
	}
	return out
}

// checkSelection reports the first name of a selection that is no field.
func checkSelection(md protoreflect.MessageDescriptor, sel *Selection) error {
	if sel == nil {
		return nil
	}
	for _, f := range sel.Fields {
		fd := md.Fields().ByName(f.Name)
		if fd == nil {
			return fmt.Errorf("%s has no field %q", md.FullName(), f.Name)
		}
		if f.Sub == nil {
			continue
		}
		child := selectable(fd)
		if child == nil {
			return fmt.Errorf("nothing can be selected within %s", fd.FullName())
		}
		if err := checkSelection(child, f.Sub); err != nil {
			return err
		}
	}
	return nil
}
