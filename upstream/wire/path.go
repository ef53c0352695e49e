package wire

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Path reads the values of one field, which may be nested, out of messages. It is immutable and safe for concurrent
// use.
type Path struct {
	steps []step
}

// NewPath compiles a path of field names separated by dots, each a proto name or a JSON name. All but the last must be
// singular messages.
func NewPath(md protoreflect.MessageDescriptor, path string) (*Path, error) {
	fields, err := resolvePath(md, path)
	if err != nil {
		return nil, err
	}
	p := &Path{steps: make([]step, len(fields))}
	for i, fd := range fields {
		p.steps[i] = newStep(fd)
	}
	return p, nil
}

// PathError says why a text is no path of a message.
type PathError struct {
	// Path is the text, Message the type in which Name was looked for.
	Path    string
	Message protoreflect.FullName
	// Name is the part that is wrong, What says why.
	Name, What string
	// Nearest is the nearest known name; may be empty.
	Nearest string
}

// Error tells all of it.
func (e *PathError) Error() string {
	s := fmt.Sprintf("field path %q: %s %s", e.Path, e.Message, e.What)
	if e.Nearest != "" {
		s += fmt.Sprintf(", did you mean %q?", e.Nearest)
	}
	return s
}

// resolvePath finds the fields of a path. The error is a [*PathError].
func resolvePath(md protoreflect.MessageDescriptor, path string) ([]protoreflect.FieldDescriptor, error) {
	var fields []protoreflect.FieldDescriptor
	parts := strings.Split(path, ".")
	for i, name := range parts {
		fd := fieldByAnyName(md, name)
		if fd == nil {
			return nil, &PathError{
				Path: path, Message: md.FullName(), Name: name, What: fmt.Sprintf("has no field %q", name),
				Nearest: mistake.Nearest(name, names(md)),
			}
		}
		fields = append(fields, fd)
		if i == len(parts)-1 {
			break
		}
		switch {
		case fd.IsList() || fd.IsMap():
			return nil, &PathError{Path: path, Message: md.FullName(), Name: name, What: fmt.Sprintf("has a repeated field %q, which only the end of a path may be", name)}
		case fd.Message() == nil:
			return nil, &PathError{Path: path, Message: md.FullName(), Name: name, What: fmt.Sprintf("has no message in the field %q", name)}
		}
		md = fd.Message()
	}
	return fields, nil
}

// Field is the field at the end of the path.
func (p *Path) Field() protoreflect.FieldDescriptor { return p.steps[len(p.steps)-1].fd }

// First returns the field's value, the first of a repeated field, and whether there is one. A malformed message has
// none. A field that is not on the wire has no value, even if its default would be one.
func (p *Path) First(msg []byte) (Value, bool) {
	msg, ok := p.parent(msg)
	if !ok {
		return Value{}, false
	}
	end := &p.steps[len(p.steps)-1]
	if !end.fd.IsList() && !end.fd.IsMap() {
		v, found, ok := end.last(msg)
		return v, found && ok
	}
	var first Value
	end.each(msg, func(v Value) bool {
		first = v
		return false
	})
	return first, first.IsValid()
}

// All calls yield for each value, until it returns false. A singular field has one value or none; the values of a map
// are its entries: messages with the fields 1 and 2.
func (p *Path) All(msg []byte, yield func(Value) bool) {
	msg, ok := p.parent(msg)
	if !ok {
		return
	}
	end := &p.steps[len(p.steps)-1]
	if end.fd.IsList() || end.fd.IsMap() {
		end.each(msg, yield)
		return
	}
	if v, found, ok := end.last(msg); found && ok {
		yield(v)
	}
}

// parent finds the message that holds the last field.
func (p *Path) parent(msg []byte) ([]byte, bool) {
	for i := range p.steps[:len(p.steps)-1] {
		v, found, ok := p.steps[i].last(msg)
		if !found || !ok {
			return nil, false
		}
		msg = v.raw
	}
	return msg, true
}
