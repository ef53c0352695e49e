package translate

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// route is one HTTP method and path template of a gRPC method, compiled. It is immutable.
type route struct {
	method     *upstream.Method
	httpMethod string
	template   *template
	name       string // the template as text: what logs call the route

	builder *wire.Builder
	// parser and canonical read bodies that are the whole message; canonical also those that are one field, if that is a
	// message. They are nil otherwise.
	parser    *wire.Parser
	canonical *wire.Canonicalizer
	vars      []boundVar
	query     *query     // nil if the body takes all fields
	body      bodyKind   // what the body is
	slot      *wire.Slot // of the body, if it is one field
	rawBody   bool       // the body is the data of a google.api.HttpBody
	answers   *answers
	// socketOnly tells that nothing but WebSockets is served here.
	socketOnly bool
	// place says where the rule is, if it is none of the method's own annotation.
	place string
	// uploads takes the parts of an upload as the messages of a client-streaming method; nil if they are none.
	uploads *route
}

// bodyKind is what a request's body is.
type bodyKind int

const (
	noBody    bodyKind = iota // there is none
	wholeBody                 // the message, body: "*"
	fieldBody                 // one field of it
)

// boundVar is a variable of the template, bound to its field.
type boundVar struct {
	path string // of the field, as the proto file spells it
	slot *wire.Slot
	// inBody reads the field out of a message made from a body that may hold it too; nil if none can.
	inBody *wire.Path
	// rivals read the fields that cannot be set together with it, in the same case.
	rivals []*wire.Path
}

// settings is what the routes of one router share.
type settings struct {
	render wire.RenderOptions
	parse  wire.ParseOptions
}

// compile makes the route of a binding. The error joins all that is wrong with it.
func compile(m *upstream.Method, b binding, s settings) (*route, error) {
	if !m.ClientStreaming {
		return compileBinding(m, b, s)
	}
	var uploads *route
	if fd := fieldNamed(m.Input, b.body); !m.ServerStreaming && (b.body == "*" && isHTTPBody(m.Input) || fd != nil && !fd.IsList() && isHTTPBody(fd.Message())) {
		var err error
		if uploads, err = compileBinding(m, b, s); err != nil {
			return nil, err
		}
	}
	b.body = "*" // each frame of a WebSocket is a whole message
	rt, err := compileBinding(m, b, s)
	if err == nil {
		rt.uploads = uploads
	}
	return rt, err
}

func compileBinding(m *upstream.Method, b binding, s settings) (*route, error) {
	rt := &route{method: m, httpMethod: b.httpMethod, builder: wire.NewBuilder(m.Input, s.parse)}
	var errs []error
	var err error
	if rt.template, err = parseTemplate(b.path); err != nil {
		return nil, err
	}
	rt.name = rt.template.String()
	errs = append(errs, rt.compileBody(b.body, s.parse))
	for i := range rt.template.vars {
		v, err := rt.compileVar(rt.template.vars[i].field, b.body)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, other := range rt.vars {
			if overlap(other.path, v.path) {
				errs = append(errs, fmt.Errorf("the variables %q and %q bind the same field", other.path, v.path))
			}
		}
		rt.vars = append(rt.vars, v)
	}
	if rt.answers, err = newAnswers(m.Output, b.responseBody, s.render); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if rt.body != wholeBody {
		rt.query = newQuery(m.Input, rt.builder, rt.boundPaths(b.body))
	}
	return rt, nil
}

func (rt *route) compileBody(body string, o wire.ParseOptions) (err error) {
	switch body {
	case "":
	case "*":
		rt.body = wholeBody
		rt.rawBody = isHTTPBody(rt.method.Input)
		if rt.parser, err = wire.NewParser(rt.method.Input, o); err != nil {
			return err
		}
		rt.canonical, err = wire.NewCanonicalizer(rt.method.Input, o)
	default:
		if strings.Contains(body, ".") {
			return fmt.Errorf("body: %q is not a field at the top of %s", body, rt.method.Input.FullName())
		}
		rt.body = fieldBody
		rt.slot, err = rt.builder.Slot(body)
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		if fd := rt.slot.Field(); fd.Message() != nil && !fd.IsList() && !fd.IsMap() {
			rt.canonical, err = wire.NewCanonicalizer(fd.Message(), o)
			rt.rawBody = isHTTPBody(fd.Message())
		}
	}
	return err
}

func (rt *route) compileVar(field, body string) (boundVar, error) {
	slot, err := rt.builder.Slot(field)
	if err != nil {
		return boundVar{}, err
	}
	fd := slot.Field()
	switch {
	case fd.IsMap(), fd.IsList():
		return boundVar{}, fmt.Errorf("field %q is repeated or a map, which a path cannot hold", field)
	case fd.Message() != nil && !hasText(fd.Message()):
		return boundVar{}, fmt.Errorf("field %q is a %s, which a path cannot hold", field, fd.Message().FullName())
	}
	v := boundVar{path: spelled(rt.method.Input, field), slot: slot}
	if rt.body == wholeBody || rt.body == fieldBody && overlap(v.path, spelled(rt.method.Input, body)) {
		if v.inBody, err = wire.NewPath(rt.method.Input, v.path); err != nil {
			return boundVar{}, err
		}
		if v.rivals, err = rivals(rt.method.Input, v.path); err != nil {
			return boundVar{}, err
		}
	}
	return v, nil
}

// rivals returns paths to the fields that share a oneof with a field on the path, which is spelled as in the proto file.
func rivals(md protoreflect.MessageDescriptor, path string) ([]*wire.Path, error) {
	var all []*wire.Path
	prefix := ""
	at := md
	for name := range strings.SplitSeq(path, ".") {
		fd := fieldNamed(at, name)
		if oneof := fd.ContainingOneof(); oneof != nil {
			for i := range oneof.Fields().Len() {
				if other := oneof.Fields().Get(i); other.Number() != fd.Number() {
					made, err := wire.NewPath(md, prefix+string(other.Name()))
					if err != nil {
						return nil, err
					}
					all = append(all, made)
				}
			}
		}
		prefix += string(fd.Name()) + "."
		at = fd.Message()
	}
	return all, nil
}

// boundPaths lists the field paths that query parameters cannot name, with what binds them.
func (rt *route) boundPaths(body string) []bound {
	all := make([]bound, 0, len(rt.vars)+1)
	for _, v := range rt.vars {
		all = append(all, bound{path: v.path, by: "path"})
	}
	if rt.body == fieldBody {
		all = append(all, bound{path: spelled(rt.method.Input, body), by: "body"})
	}
	return all
}

// String names the route and its method, for messages about the configuration.
func (rt *route) String() string {
	at := rt.place
	if at == "" {
		at = position(rt.method)
	}
	return fmt.Sprintf("%s (%s %s%s)", rt.method.Name, rt.httpMethod, rt.name, at)
}

// place says that the rule is one of the configuration, and where it stands, if that is known.
func (c Configured) place() string {
	const source = ", by http.rules of the configuration"
	if c.At == "" {
		return source
	}
	return source + " at " + c.At
}

// declaredAt says where something is declared, if that is known.
func declaredAt(at string) string {
	if at == "" {
		return ""
	}
	return ", declared at " + at
}

// position says where a method is declared, if its descriptor knows the line.
func position(m *upstream.Method) string {
	file := m.Desc.ParentFile()
	at := file.SourceLocations().ByDescriptor(m.Desc)
	if at.Path == nil {
		return ""
	}
	return declaredAt(fmt.Sprintf("%s:%d:%d", file.Path(), at.StartLine+1, at.StartColumn+1))
}

// safe reports whether an answer may be kept by the client: the request only read.
func safe(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// overlap reports whether two field paths are the same, or one leads into the other.
func overlap(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

// spelled writes a field path, valid in md, with the names of the proto file.
func spelled(md protoreflect.MessageDescriptor, path string) string {
	var b strings.Builder
	for name := range strings.SplitSeq(path, ".") {
		fd := fieldNamed(md, name)
		if fd == nil {
			return path
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(string(fd.Name()))
		md = fd.Message()
	}
	return b.String()
}

// fieldNamed finds a field by either of its names; nil if md is nil or has none.
func fieldNamed(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if md == nil {
		return nil
	}
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByTextName(name)
}

// fieldNames lists the names of md's fields, both of each.
func fieldNames(md protoreflect.MessageDescriptor) []string {
	names := make([]string, 0, 2*md.Fields().Len())
	for i := range md.Fields().Len() {
		names = append(names, string(md.Fields().Get(i).Name()), md.Fields().Get(i).JSONName())
	}
	return names
}

// hasText reports whether messages of the type can be written as one text, as in a URL.
func hasText(md protoreflect.MessageDescriptor) bool {
	switch md.FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask",
		"google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value",
		"google.protobuf.UInt64Value", "google.protobuf.Int32Value", "google.protobuf.UInt32Value",
		"google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return true
	}
	return false
}
