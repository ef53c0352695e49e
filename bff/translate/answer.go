package translate

import (
	"container/list"
	"errors"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream/wire"
)

// answers renders the messages that a route answers with: all of a message, or the selection that a client asks for
// with "fields". Selections are compiled when they first come and kept, the least recently used ones are dropped.
// It is safe for concurrent use.
type answers struct {
	md    protoreflect.MessageDescriptor
	field protoreflect.FieldDescriptor // response_body; nil for the whole message
	o     wire.RenderOptions
	whole *answer
	// raw tells that the answer is a google.api.HttpBody, message that it is one message, which has a wire format.
	raw, message bool

	// mu guards the selections.
	mu     sync.Mutex
	byText map[string]*list.Element // of *selected
	recent list.List
}

// selected is a compiled selection and its text.
type selected struct {
	text   string
	answer *answer
}

// maxSelections bounds the compiled selections that a route keeps.
const maxSelections = 64

// answer is a compiled way to render a message.
type answer struct {
	renderer  *wire.Renderer
	projector *wire.Projector // nil for the whole message
	path      *wire.Path      // to the field that is the answer, if that is a message; else nil
	field     bool            // the answer is the value of one field, rendered as wrapped
	empty     string          // what stands for the field if it is not set
}

// wrapped is what the renderer puts before the value of the response_body field.
const wrapped = `{"v":`

func newAnswers(md protoreflect.MessageDescriptor, responseBody string, o wire.RenderOptions) (*answers, error) {
	a := &answers{md: md, o: o, byText: map[string]*list.Element{}}
	if responseBody != "" {
		if a.field = fieldNamed(md, responseBody); a.field == nil {
			return nil, &mistake.Mistake{
				What: fmt.Sprintf("response_body: %s has no field %q", md.FullName(), responseBody), Nearest: mistake.Nearest(responseBody, fieldNames(md)),
			}
		}
		a.message = a.field.Message() != nil && !a.field.IsList() && !a.field.IsMap()
		a.raw = a.message && isHTTPBody(a.field.Message())
	} else {
		a.message, a.raw = true, isHTTPBody(md)
	}
	whole, err := a.compile(nil)
	a.whole = whole
	return a, err
}

// get returns how to render what fields selects; all if it is empty. The error is the client's.
func (a *answers) get(fields string) (*answer, error) {
	if fields == "" {
		return a.whole, nil
	}
	a.mu.Lock()
	if e := a.byText[fields]; e != nil {
		a.recent.MoveToFront(e)
		found, _ := e.Value.(*selected)
		a.mu.Unlock()
		return found.answer, nil
	}
	a.mu.Unlock()
	md := a.md
	if a.field != nil {
		if md = a.field.Message(); md == nil || a.field.IsMap() {
			return nil, errors.New("fields: the answer has no fields to select from")
		}
	}
	selection, err := wire.ParseFields(md, fields)
	if err != nil {
		return nil, err
	}
	made, err := a.compile(selection)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byText[fields] == nil {
		// The text is kept for long: let it not keep the request's memory.
		text := strings.Clone(fields)
		a.byText[text] = a.recent.PushFront(&selected{text, made})
		if a.recent.Len() > maxSelections {
			if last, ok := a.recent.Remove(a.recent.Back()).(*selected); ok {
				delete(a.byText, last.text)
			}
		}
	}
	return made, nil
}

func (a *answers) compile(selection *wire.Selection) (*answer, error) {
	made := &answer{}
	if a.field != nil {
		made.field, made.empty = true, emptyJSON(a.field)
		if a.message {
			path, err := wire.NewPath(a.md, string(a.field.Name()))
			if err != nil {
				return nil, err
			}
			made.path = path
		}
		selection = &wire.Selection{Fields: []wire.Selected{{Name: a.field.Name(), As: "v", Sub: selection}}}
	}
	var err error
	if selection != nil {
		if made.projector, err = wire.NewProjector(a.md, selection); err != nil {
			return nil, err
		}
	}
	made.renderer, err = wire.NewRenderer(a.md, selection, a.o)
	return made, err
}

// appendProto appends a message in wire format, or what is selected of it.
func (a *answer) appendProto(dst, msg []byte) ([]byte, error) {
	if a.projector != nil {
		projected, err := a.projector.Append(nil, msg)
		if err != nil {
			return dst, err
		}
		msg = projected
	}
	return append(dst, a.inner(msg)...), nil
}

// inner returns the message that is the answer: all of it, or one field.
func (a *answer) inner(msg []byte) []byte {
	if a.path == nil {
		return msg
	}
	value, _ := a.path.First(msg)
	return value.Raw()
}

// httpBody takes the google.api.HttpBody out of a message.
func (a *answer) httpBody(msg []byte) (contentType string, data []byte, err error) {
	return unwrapHTTPBody(a.inner(msg))
}

// append appends the JSON of a message.
func (a *answer) append(dst, msg []byte) ([]byte, error) {
	start := len(dst)
	dst, err := a.renderer.Append(dst, msg)
	if err != nil || !a.field {
		return dst, err
	}
	value := dst[start:]
	if len(value) < len(wrapped) {
		return append(dst[:start], a.empty...), nil
	}
	n := copy(value, value[len(wrapped):len(value)-1])
	return dst[:start+n], nil
}

// emptyJSON is the JSON of a field that is not set.
func emptyJSON(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsList():
		return "[]"
	case fd.IsMap():
		return "{}"
	case fd.HasPresence():
		return "null"
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "false"
	case protoreflect.StringKind, protoreflect.BytesKind:
		return `""`
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return `"0"`
	case protoreflect.EnumKind:
		return `"` + string(fd.DefaultEnumValue().Name()) + `"`
	default:
		return "0"
	}
}
