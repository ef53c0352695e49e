package translate

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream/wire"
)

// maxParameters bounds the query parameters of a request.
const maxParameters = 1000

// query knows the query parameters of a route: all fields that neither the path nor the body binds, by the path of
// their names, each name as the proto file or as JSON spells it. It is immutable.
type query struct {
	md      protoreflect.MessageDescriptor
	builder *wire.Builder
	bound   []bound
	known   map[string]*parameter // the shallow ones; deeper ones are compiled when they come
}

// bound is a field that query parameters cannot name.
type bound struct{ path, by string }

// parameter is one query parameter.
type parameter struct {
	path     string // of the field, as the proto file spells it
	slot     *wire.Slot
	repeated bool
}

// parameterError is a query parameter that is wrong. Its text is for the client.
type parameterError struct {
	name, what string
	field      string // path of the field, if it is one
}

func (e *parameterError) Error() string { return fmt.Sprintf("query parameter %q: %s", e.name, e.what) }

// The parameters compiled beforehand.
const (
	knownDepth = 3
	knownCount = 500
)

func newQuery(md protoreflect.MessageDescriptor, b *wire.Builder, bounds []bound) *query {
	q := &query{md: md, builder: b, bound: bounds, known: map[string]*parameter{}}
	q.learn(md, "", "", knownDepth)
	return q
}

// learn compiles the parameters of md's fields, under both spellings.
func (q *query) learn(md protoreflect.MessageDescriptor, protoPrefix, jsonPrefix string, depth int) {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		protoName, jsonName := protoPrefix+string(fd.Name()), jsonPrefix+fd.JSONName()
		if len(q.known) >= knownCount {
			return
		}
		if fd.Message() != nil && !fd.IsMap() && !fd.IsList() && !hasText(fd.Message()) {
			if depth > 1 {
				q.learn(fd.Message(), protoName+".", jsonName+".", depth-1)
			}
			continue
		}
		if p, err := q.resolve(protoName); err == nil {
			q.known[protoName], q.known[jsonName] = p, p
		}
	}
}

// lookup finds the parameter of a name. The error is a [*parameterError].
func (q *query) lookup(name string) (*parameter, error) {
	if p := q.known[name]; p != nil {
		return p, nil
	}
	return q.resolve(name)
}

func (q *query) resolve(name string) (*parameter, error) {
	md := q.md
	if strings.Count(name, ".") > 32 {
		return nil, &parameterError{name: name, what: "too deep"}
	}
	for part := range strings.SplitSeq(name, ".") {
		fd := fieldNamed(md, part)
		if fd == nil {
			return nil, &parameterError{name: name, what: unknownField(md, part)}
		}
		md = nil
		if fd.Message() != nil && !fd.IsMap() && !fd.IsList() && !hasText(fd.Message()) {
			md = fd.Message()
		}
	}
	path := spelled(q.md, name)
	for _, b := range q.bound {
		if overlap(b.path, path) {
			return nil, &parameterError{name: name, field: path, what: "the " + b.by + " already gives this field"}
		}
	}
	slot, err := q.builder.Slot(path)
	if err != nil {
		return nil, &parameterError{name: name, field: path, what: "no such field"}
	}
	fd := slot.Field()
	switch {
	case md != nil:
		return nil, &parameterError{name: name, field: path, what: "the field is a message, name one of its fields" + example(name, md)}
	case fd.IsMap(), fd.Message() != nil && !hasText(fd.Message()):
		return nil, &parameterError{name: name, field: path, what: "a query cannot hold a field of this type"}
	}
	return &parameter{path: path, slot: slot, repeated: fd.IsList()}, nil
}

func example(name string, md protoreflect.MessageDescriptor) string {
	if md.Fields().Len() == 0 {
		return ""
	}
	return fmt.Sprintf(" like %s.%s", name, md.Fields().Get(0).Name())
}

// unknownField says that md has no such field, and which one is near.
func unknownField(md protoreflect.MessageDescriptor, name string) string {
	what := fmt.Sprintf("unknown field %q", name)
	if md == nil {
		return what
	}
	if near := mistake.Nearest(name, fieldNames(md)); near != "" {
		what += fmt.Sprintf(", did you mean %q?", near)
	}
	return what
}

// apply assigns the parameters of a raw query to m. Those that belong to the system are returned. q may be nil: then
// no other parameters are allowed.
func (q *query) apply(m *wire.Message, raw string) (system systemParameters, err error) {
	count := 0
	var seen []*parameter // singular ones
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if count++; count > maxParameters {
			return system, &parameterError{name: "...", what: fmt.Sprintf("more than %d parameters", maxParameters)}
		}
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			return system, &parameterError{name: pair, what: "malformed percent-encoding"}
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return system, &parameterError{name: name, what: "malformed percent-encoding"}
		}
		taken, err := system.take(name, value, q)
		if taken || err != nil {
			if err != nil {
				return system, err
			}
			continue
		}
		if q == nil {
			return system, &parameterError{name: name, what: "all fields come with the path and the body"}
		}
		p, err := q.lookup(name)
		if err != nil {
			return system, err
		}
		if !p.repeated {
			for _, other := range seen {
				if other.path == p.path {
					return system, &parameterError{name: name, field: p.path, what: "given more than once"}
				}
			}
			seen = append(seen, p)
		}
		if err := m.SetText(p.slot, value); err != nil {
			return system, &parameterError{name: name, field: p.path, what: valueText(err)}
		}
	}
	return system, nil
}

// systemParameters are the query parameters that are about the answer rather than about the request.
type systemParameters struct {
	fields    string
	hasFields bool
}

// take takes a parameter if it is the system's. "fields" belongs to the request's message if that has such a field;
// "$fields" never does.
func (s *systemParameters) take(name, value string, q *query) (bool, error) {
	switch name {
	case "fields":
		if q != nil && q.md.Fields().ByTextName("fields") != nil {
			return false, nil
		}
	case "$fields":
	default:
		return false, nil
	}
	if s.hasFields {
		return true, &parameterError{name: name, what: "given more than once"}
	}
	s.fields, s.hasFields = value, true
	return true, nil
}
