package scaffold

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
)

// typeKey is a GraphQL type: of a message as answers or requests have it, or of an enum.
type typeKey struct {
	name  protoreflect.FullName
	input bool
}

// sdl writes a schema over services.
type sdl struct {
	services []service
	// types are those that are reached from the methods, in the order in which they are met.
	types []typeKey
	descs map[typeKey]protoreflect.Descriptor
	names map[typeKey]string
	b     strings.Builder
}

func newSDL(services []service) *sdl {
	return &sdl{services: services, descs: map[typeKey]protoreflect.Descriptor{}, names: map[typeKey]string{}}
}

// roots sorts the methods by the root type that they go to. GraphQL wants a query type: if no method is known to change
// nothing, all unary ones go there.
type roots struct {
	queries, mutations, subscriptions, left []*upstream.Method
	// unsure says that the queries are there for want of better ones.
	unsure bool
}

func rootsOf(services []service) roots {
	var r roots
	for _, s := range services {
		for _, m := range s.methods {
			switch {
			case m.ClientStreaming:
				r.left = append(r.left, m)
			case m.ServerStreaming:
				r.subscriptions = append(r.subscriptions, m)
			case readOnly(m):
				r.queries = append(r.queries, m)
			default:
				r.mutations = append(r.mutations, m)
			}
		}
	}
	if len(r.queries) == 0 {
		r.queries, r.mutations, r.unsure = r.mutations, nil, true
	}
	return r
}

// text writes the schema; nil if there is nothing to query.
func (g *sdl) text() []byte {
	r := rootsOf(g.services)
	if len(r.queries) == 0 {
		return nil
	}
	for _, m := range slices.Concat(r.queries, r.mutations, r.subscriptions) {
		if rootType(m.Output) == "" {
			g.reach(m.Output, false)
		}
		g.reachFields(m.Input, true)
	}
	g.nameTypes()
	g.b.WriteString(`# A first GraphQL schema over your services, made from their descriptors. It is yours to edit: rename, leave out,
# join services with @grpc(batch:). "bff check" tells what no longer fits.
`)
	if r.unsure {
		g.b.WriteString(`#
# No method says that it changes nothing (option idempotency_level = NO_SIDE_EFFECTS, or a name such as GetX), but GraphQL
# needs queries. So all methods are queries here: move those that change something to a type Mutation.
`)
	}
	g.root("Query", "What clients read.", r.queries)
	g.root("Mutation", "What clients change.", r.mutations)
	g.root("Subscription", "What clients watch.", r.subscriptions)
	if len(r.left) > 0 {
		g.b.WriteString("\n# Not here, because their requests are streams, which GraphQL has not. They are called over WebSockets:\n")
		for _, m := range r.left {
			fmt.Fprintf(&g.b, "#   /ws/%s\n", m.Name)
		}
	}
	for _, key := range g.types {
		switch d := g.descs[key].(type) {
		case protoreflect.EnumDescriptor:
			g.enum(key, d)
		case protoreflect.MessageDescriptor:
			g.message(key, d)
		}
	}
	return []byte(g.b.String())
}

// rootType is the scalar that stands for the whole answer of a method; empty if an object does.
func rootType(md protoreflect.MessageDescriptor) string {
	switch {
	case md.FullName() == "google.protobuf.Empty":
		return "Boolean"
	case classOf(md) != object, len(fieldsOf(md, false)) == 0:
		return "JSON"
	default:
		return ""
	}
}

// reach notes a message and what its fields need.
func (g *sdl) reach(md protoreflect.MessageDescriptor, input bool) {
	key := typeKey{md.FullName(), input}
	if g.descs[key] != nil {
		return
	}
	g.types = append(g.types, key)
	g.descs[key] = md
	g.reachFields(md, input)
}

func (g *sdl) reachFields(md protoreflect.MessageDescriptor, input bool) {
	for _, fd := range fieldsOf(md, input) {
		switch {
		case fd.Enum() != nil:
			key := typeKey{name: fd.Enum().FullName()}
			if g.descs[key] == nil {
				g.types = append(g.types, key)
				g.descs[key] = fd.Enum()
			}
		case fd.Message() != nil && classOf(fd.Message()) == object && len(fieldsOf(fd.Message(), input)) > 0:
			g.reach(fd.Message(), input)
		}
	}
}

// nameTypes gives every type a name: the message's own where that is free, else one with its package.
func (g *sdl) nameTypes() {
	candidates := make([][]string, len(g.types))
	for i, key := range g.types {
		pkg := strings.Split(string(g.descs[key].ParentFile().Package()), ".")
		nested := strings.TrimPrefix(string(key.name), string(g.descs[key].ParentFile().Package())+".")
		short := joined(strings.Split(nested, "."))
		suffix := ""
		if key.input {
			suffix = "Input"
		}
		last := slices.DeleteFunc(slices.Clone(pkg), versioned)
		last = last[max(len(last)-1, 0):]
		candidates[i] = []string{short + suffix, joined(last) + short + suffix, joined(pkg) + short + suffix}
	}
	reserved := []string{
		"Query", "Mutation", "Subscription", "Int", "Float", "String", "Boolean", "ID", "Int64", "DateTime", "Duration", "Base64", "JSON",
	}
	names := assign(candidates, func(name string) bool { return slices.Contains(reserved, name) })
	for i, key := range g.types {
		g.names[key] = names[i]
	}
}

// joined makes one name for a type of the parts of a full name.
func joined(parts []string) string {
	var b strings.Builder
	for _, part := range parts {
		if part != "" {
			b.WriteString(title(nameFrom(part)))
		}
	}
	return b.String()
}

// root writes a root type.
func (g *sdl) root(name, description string, methods []*upstream.Method) {
	if len(methods) == 0 {
		return
	}
	candidates := make([][]string, len(methods))
	for i, m := range methods {
		candidates[i] = rootNames(m)
	}
	names := assign(candidates, func(name string) bool { return !validName(name) })
	g.b.WriteString("\n")
	g.describe("", description)
	fmt.Fprintf(&g.b, "type %s {\n", name)
	for i, m := range methods {
		if i > 0 {
			g.b.WriteString("\n")
		}
		g.rootField(names[i], m)
	}
	g.b.WriteString("}\n")
}

// rootNames lists names for a method's field: order for GetOrder, else getOrder, else one with the service.
func rootNames(m *upstream.Method) []string {
	w := words(nameFrom(string(m.Desc.Name())))
	var list []string
	if first := strings.ToLower(w[0]); len(w) > 1 && (first == "get" || first == "list") && m.Unary() {
		list = append(list, lowerCamel(w[1:]))
	}
	service := strings.TrimSuffix(string(m.Desc.Parent().Name()), "Service")
	if service == "" {
		service = "Service"
	}
	all := append(words(nameFrom(service)), w...)
	list = append(list, lowerCamel(w), lowerCamel(all))
	var pkg []string
	for part := range strings.SplitSeq(string(m.Desc.ParentFile().Package()), ".") {
		pkg = append(pkg, words(nameFrom(part))...)
	}
	return append(list, lowerCamel(append(pkg, all...)))
}

func (g *sdl) rootField(name string, m *upstream.Method) {
	text := comment(m.Desc)
	if text == "" {
		text = "Calls " + m.Name + "."
	}
	g.describe("  ", text)
	g.b.WriteString("  " + name)
	if fields := fieldsOf(m.Input, true); len(fields) > 0 {
		g.b.WriteString("(\n")
		names := fieldNames(fields)
		for i, fd := range fields {
			g.describe("    ", comment(fd))
			g.b.WriteString("    " + names[i] + ": " + g.input(fd) + bound(m.Input, fd, names[i]) + "\n")
		}
		g.b.WriteString("  )")
	}
	typ := rootType(m.Output)
	if typ == "" {
		typ = g.names[typeKey{m.Output.FullName(), false}]
	}
	fmt.Fprintf(&g.b, ": %s @grpc(method: %q)%s\n", typ, m.Name, deprecation(m.Desc))
}

// message writes an object type or an input type.
func (g *sdl) message(key typeKey, md protoreflect.MessageDescriptor) {
	keyword, plain := "type", string(md.Name())
	if key.input {
		keyword, plain = "input", plain+"Input"
	}
	g.b.WriteString("\n")
	text := comment(md)
	if text == "" && md.IsMapEntry() {
		text = "An entry of a map."
	}
	g.describe("", text)
	fmt.Fprintf(&g.b, "%s %s", keyword, g.names[key])
	if g.names[key] != plain {
		fmt.Fprintf(&g.b, " @proto(message: %q)", md.FullName())
	}
	g.b.WriteString(" {\n")
	fields := fieldsOf(md, key.input)
	names := fieldNames(fields)
	for i, fd := range fields {
		text := comment(fd)
		if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
			text = strings.TrimSpace(text + "\nAt most one of the fields of " + string(od.Name()) + " is set.")
		}
		g.describe("  ", text)
		g.b.WriteString("  " + names[i] + ": ")
		if key.input {
			g.b.WriteString(g.input(fd) + bound(md, fd, names[i]))
		} else {
			g.b.WriteString(g.output(fd) + bound(md, fd, names[i]) + deprecation(fd))
		}
		g.b.WriteString("\n")
	}
	g.b.WriteString("}\n")
}

// one is the type of single values of a field; sure says that every value can be rendered as it.
func (g *sdl) one(fd protoreflect.FieldDescriptor, input bool) (name string, sure bool) {
	if fd.Enum() != nil {
		return g.names[typeKey{name: fd.Enum().FullName()}], false // later versions may have more values
	}
	if name, sure = scalar(fd); name != "" {
		return name, sure
	}
	if name = g.names[typeKey{fd.Message().FullName(), input}]; name != "" {
		return name, true
	}
	return "JSON", false // a message without fields
}

// output is the type of a field in answers.
func (g *sdl) output(fd protoreflect.FieldDescriptor) string {
	name, sure := g.one(fd, false)
	mark := map[bool]string{true: "!"}
	switch {
	case !fd.IsList() && !fd.IsMap():
		return name + mark[sure && !fd.HasPresence()]
	case name == "JSON":
		return name
	default:
		return "[" + name + mark[sure] + "]!"
	}
}

// input is the type of a field in requests.
func (g *sdl) input(fd protoreflect.FieldDescriptor) string {
	name, _ := g.one(fd, true)
	many := fd.IsList() || fd.IsMap()
	if many && name != "JSON" {
		name = "[" + name + "!]"
	}
	required := fd.Cardinality() == protoreflect.Required || behaves(fd, annotations.FieldBehavior_REQUIRED)
	// A message that needs one of its own kind could never be written.
	loop := fd.Message() != nil && classOf(fd.Message()) == object && !many
	if required && !loop || fd.ContainingMessage().IsMapEntry() {
		name += "!"
	}
	return name
}

// fieldNames gives the fields of a message their names.
func fieldNames(fields []protoreflect.FieldDescriptor) []string {
	candidates := make([][]string, len(fields))
	for i, fd := range fields {
		json := fd.JSONName()
		if !validName(json) {
			json = nameFrom(lowerCamel(words(string(fd.Name()))))
		}
		candidates[i] = []string{json, nameFrom(string(fd.Name()))}
	}
	return assign(candidates, func(name string) bool { return !validName(name) })
}

// bound is the directive that binds a name to a field, where the name alone would not.
func bound(md protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor, name string) string {
	found := md.Fields().ByName(protoreflect.Name(name))
	if found == nil {
		found = md.Fields().ByJSONName(name)
	}
	if found == fd {
		return ""
	}
	return fmt.Sprintf(" @proto(field: %q)", fd.Name())
}

func deprecation(d protoreflect.Descriptor) string {
	if deprecated(d) {
		return " @deprecated"
	}
	return ""
}

// enum writes an enum. A zero that says "unspecified" is null in GraphQL.
func (g *sdl) enum(key typeKey, ed protoreflect.EnumDescriptor) {
	g.b.WriteString("\n")
	g.describe("", comment(ed))
	fmt.Fprintf(&g.b, "enum %s {\n", g.names[key])
	prefix := enumPrefix(string(ed.Name()))
	var values []protoreflect.EnumValueDescriptor
	numbers := map[protoreflect.EnumNumber]bool{}
	for i := range ed.Values().Len() {
		v := ed.Values().Get(i)
		unspecified := v.Number() == 0 && slices.Contains([]string{prefix + "UNSPECIFIED", "UNSPECIFIED", prefix + "UNKNOWN_UNSPECIFIED"}, string(v.Name()))
		if numbers[v.Number()] || unspecified && ed.Values().Len() > 1 {
			continue
		}
		numbers[v.Number()] = true
		values = append(values, v)
	}
	candidates := make([][]string, len(values))
	for i, v := range values {
		full := nameFrom(string(v.Name()))
		candidates[i] = []string{full, prefix + full}
		if rest, ok := strings.CutPrefix(string(v.Name()), prefix); ok && validName(rest) {
			candidates[i] = []string{rest, full}
		}
	}
	names := assign(candidates, func(name string) bool { return name == "true" || name == "false" || name == "null" })
	for i, v := range values {
		g.describe("  ", comment(v))
		g.b.WriteString("  " + names[i])
		found := ed.Values().ByName(protoreflect.Name(prefix + names[i]))
		if found == nil {
			found = ed.Values().ByName(protoreflect.Name(names[i]))
		}
		if found != v {
			fmt.Fprintf(&g.b, " @proto(value: %q)", v.Name())
		}
		g.b.WriteString(deprecation(v) + "\n")
	}
	g.b.WriteString("}\n")
}

// describe writes a description.
func (g *sdl) describe(indent, text string) {
	switch {
	case text == "":
	case strings.Contains(text, "\n"):
		g.b.WriteString(indent + `"""` + "\n")
		for line := range strings.SplitSeq(strings.ReplaceAll(text, `"""`, `\"""`), "\n") {
			g.b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
		}
		g.b.WriteString(indent + `"""` + "\n")
	default:
		g.b.WriteString(indent + `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + "\"\n")
	}
}
