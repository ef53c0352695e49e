package scaffold

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/translate"
	"github.com/portico-bff/portico/upstream"
)

// guess is the route of a method that has no annotation.
type guess struct {
	selector         string
	verb, path, body string
}

func (g guess) rule() translate.Rule {
	r := translate.Rule{Selector: g.selector, Binding: translate.Binding{Body: g.body}}
	switch g.verb {
	case "get":
		r.Get = g.path
	case "post":
		r.Post = g.path
	case "patch":
		r.Patch = g.path
	case "delete":
		r.Delete = g.path
	}
	return r
}

// guessRoutes finds routes for the methods without an annotation, by the habits of the API Improvement Proposals
// (google.aip.dev, 131 to 136). Each fits its method, and no two match the same requests. Methods whose requests stream
// are left out: they are called over WebSockets.
func guessRoutes(services []service, d *upstream.Descriptors) map[string]guess {
	taken := map[string]bool{}
	for _, s := range services {
		for _, m := range s.methods {
			for _, shape := range annotatedShapes(annotated(m)) {
				taken[shape] = true
			}
		}
	}
	out := map[string]guess{}
	for _, s := range services {
		for _, m := range s.methods {
			if m.ClientStreaming || annotated(m) != nil {
				continue
			}
			for _, g := range guesses(m) {
				shape := g.verb + " " + shapeOf(g.path)
				if taken[shape] {
					continue
				}
				if _, err := (translate.Config{Rules: []translate.Rule{g.rule()}}).Compile(d); err != nil {
					continue
				}
				taken[shape] = true
				out[m.Name] = g
				break
			}
		}
	}
	return out
}

// guesses lists routes for a method, the nicest first. The last one is every method's own.
func guesses(m *upstream.Method) []guess {
	pkg := strings.Split(string(m.Desc.ParentFile().Package()), ".")
	base := "/v1"
	if v := pkg[len(pkg)-1]; versioned(v) {
		base = "/" + v
	}
	short := strings.TrimSuffix(string(m.Desc.Parent().Name()), "Service")
	if short == "" {
		short = "Service"
	}
	service := lowerCamel(words(short))
	route := func(verb, path, body string) guess {
		return guess{strings.Replace(m.Name, "/", ".", 1), verb, path, body}
	}
	var list []guess
	if g, path, ok := resource(m); ok {
		list = append(list, route(g.verb, base+path, g.body), route(g.verb, base+"/"+service+path, g.body))
	}
	method := lowerCamel(words(string(m.Desc.Name())))
	if readOnly(m) && queryable(m.Input, 0) {
		list = append(list, route("get", base+"/"+service+":"+method, ""))
	}
	return append(list, route("post", base+"/"+service+":"+method, "*"), route("post", base+"/"+m.Service()+":"+string(m.Desc.Name()), "*"))
}

func versioned(s string) bool {
	return len(s) > 1 && s[0] == 'v' && '0' <= s[1] && s[1] <= '9'
}

// resource finds a route below a collection of resources, for methods named as the proposals want it.
func resource(m *upstream.Method) (g guess, path string, ok bool) {
	w := words(string(m.Desc.Name()))
	verb, noun := strings.ToLower(w[0]), w[1:]
	if len(noun) == 0 || !m.Unary() && !slices.Contains([]string{"watch", "stream", "subscribe"}, verb) {
		return guess{}, "", false
	}
	one := "/" + lowerCamel(plural(noun))
	id := idField(m.Input, noun)
	inQuery := queryable(m.Input, 0)
	switch verb {
	case "get":
		if id == "" {
			return guess{verb: "get"}, "/" + lowerCamel(noun), inQuery
		}
		return guess{verb: "get"}, one + "/{" + id + "}", inQuery
	case "list":
		return guess{verb: "get"}, "/" + lowerCamel(noun), inQuery
	case "search":
		return guess{verb: "get"}, "/" + lowerCamel(noun) + ":search", inQuery
	case "batch":
		if strings.EqualFold(noun[0], "get") && len(noun) > 1 {
			return guess{verb: "get"}, "/" + lowerCamel(noun[1:]) + ":batchGet", inQuery
		}
		return guess{}, "", false
	case "watch", "stream", "subscribe":
		if id == "" {
			return guess{verb: "get"}, "/" + lowerCamel(noun) + ":" + verb, inQuery
		}
		return guess{verb: "get"}, one + "/{" + id + "}:" + verb, inQuery
	case "create":
		return guess{verb: "post", body: bodyField(m.Input, noun)}, one, true
	case "update":
		body := bodyField(m.Input, noun)
		if body != "*" {
			if inner := idField(m.Input.Fields().ByName(protoreflect.Name(body)).Message(), noun); inner != "" {
				return guess{verb: "patch", body: body}, one + "/{" + body + "." + inner + "}", true
			}
		}
		return guess{verb: "patch", body: "*"}, one + "/{" + id + "}", id != ""
	case "delete":
		return guess{verb: "delete"}, one + "/{" + id + "}", id != "" && inQuery
	default:
		return guess{}, "", false
	}
}

// bodyField is the field of the request that is the resource; * for all fields.
func bodyField(md protoreflect.MessageDescriptor, noun []string) string {
	fd := md.Fields().ByName(protoreflect.Name(snake(noun)))
	if fd == nil || fd.Message() == nil || fd.IsList() || fd.IsMap() {
		return "*"
	}
	return string(fd.Name())
}

// idField is the field of a request that names a resource; empty if there is none.
func idField(md protoreflect.MessageDescriptor, noun []string) string {
	n := snake(noun)
	for _, name := range []string{n + "_id", "id", "name", n + "_name", n, "uid", "uuid", "key", "slug", "code"} {
		if fd := md.Fields().ByName(protoreflect.Name(name)); inPath(fd) {
			return name
		}
	}
	if md.Fields().Len() == 1 && inPath(md.Fields().Get(0)) {
		return string(md.Fields().Get(0).Name())
	}
	return ""
}

// inPath reports whether a field suits a path: a text or a whole number.
func inPath(fd protoreflect.FieldDescriptor) bool {
	if fd == nil || fd.IsList() {
		return false
	}
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind,
		protoreflect.Sint32Kind, protoreflect.Sint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind,
		protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		return true
	default:
		return false
	}
}

// maxQueryDepth is how deep a message in query parameters may be.
const maxQueryDepth = 3

// queryable reports whether query parameters can say everything that a message can.
func queryable(md protoreflect.MessageDescriptor, depth int) bool {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		switch {
		case fd.Message() == nil:
		case classOf(fd.Message()) == textual || classOf(fd.Message()) == wrapper:
		case fd.IsMap(), fd.IsList(), classOf(fd.Message()) == dynamic, depth == maxQueryDepth, !queryable(fd.Message(), depth+1):
			return false
		}
	}
	return true
}

// annotated reads the google.api.http annotation of a method; nil if there is none. Encoding the options and decoding
// them again gives the generated type, whatever the loader made of them.
func annotated(m *upstream.Method) *annotations.HttpRule {
	rule, _ := option(m.Desc, &descriptorpb.MethodOptions{}, annotations.E_Http).(*annotations.HttpRule)
	return rule
}

// option reads an option of a descriptor; nil if it has none. into is an empty message of the options' type.
func option(d protoreflect.Descriptor, into proto.Message, ext protoreflect.ExtensionType) any {
	data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(d.Options())
	if err != nil || len(data) == 0 {
		return nil
	}
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: protoregistry.GlobalTypes}).Unmarshal(data, into); err != nil || !proto.HasExtension(into, ext) {
		return nil
	}
	return proto.GetExtension(into, ext)
}

// annotatedShapes lists the shapes of the routes of an annotation.
func annotatedShapes(rule *annotations.HttpRule) []string {
	if rule == nil {
		return nil
	}
	var list []string
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		for verb, path := range map[string]string{
			"get": r.GetGet(), "put": r.GetPut(), "post": r.GetPost(), "delete": r.GetDelete(), "patch": r.GetPatch(),
			strings.ToLower(r.GetCustom().GetKind()): r.GetCustom().GetPath(),
		} {
			if path != "" {
				list = append(list, verb+" "+shapeOf(path))
			}
		}
	}
	return list
}

// shapeOf is a path template without the names of its variables: two routes of one shape match the same requests.
func shapeOf(path string) string {
	path = regexp.MustCompile(`\{[^={}]*=([^{}]*)\}`).ReplaceAllString(path, "$1")
	return regexp.MustCompile(`\{[^{}]*\}`).ReplaceAllString(path, "*")
}
