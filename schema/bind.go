package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// object is a GraphQL object type bound to a message type. One GraphQL type can be bound to several message types,
// such as a PageInfo that every list method's answer fills.
type object struct {
	def *ast.Definition
	// md is the message that the fields are read from; nil for root types.
	md     protoreflect.MessageDescriptor
	fields map[string]*field
}

// field is how one field of an object is had.
type field struct {
	def   *ast.FieldDefinition
	owner *object
	// call fetches the message that path starts from; nil if that is the object's own message.
	call *call
	// path leads to the value through singular messages; empty if the value is the message itself.
	path []protoreflect.FieldDescriptor
	out  *output
}

// output is how the values of a field are rendered.
type output struct {
	typ *ast.Type
	// elem renders the elements of a list; nil for anything else.
	elem *output
	// Exactly one of leaf, message, comp and whole is set unless elem is.
	leaf leaf
	// message renders a whole message, such as a method's answer, as a scalar.
	message rawLeaf
	comp    *composite
	// whole renders a repeated field or a map as one JSON value, out of the message that holds it.
	whole *wire.Renderer
	// empty is what it renders for no elements: [] or {}.
	empty string
	// absent reports that a value that is not on the wire is null rather than its default.
	absent bool
	// nullIfEmpty makes an empty string, bytes, list or zero null.
	nullIfEmpty bool
}

// composite is how a message becomes an object.
type composite struct {
	def *ast.Definition
	// alternatives are the objects that the message can be. The first one whose member is set is taken; a nil member is
	// the message itself.
	alternatives []alternative
	// table reads the members; nil if the message itself is the only alternative.
	table *wire.Table
}

type alternative struct {
	member protoreflect.FieldDescriptor
	object *object
}

type objectKey struct {
	name string
	md   protoreflect.FullName
}

// binder binds the types of a schema to messages, beginning at the root types.
type binder struct {
	*mistakes
	ast         *ast.Schema
	descriptors *upstream.Descriptors
	render      wire.RenderOptions
	parse       wire.ParseOptions
	objects     map[objectKey]*object
	inputs      map[objectKey]*inputObject
	enums       map[objectKey]bool
	// results holds, for each batch method and the field of its keys, the path of the rows that are cached.
	results  map[string]string
	warnings []Warning
}

func (b *binder) root(op ast.Operation, def *ast.Definition) *object {
	o := &object{def: def, fields: map[string]*field{}}
	for _, fdef := range def.Fields {
		if isIntrospective(fdef.Name) {
			continue
		}
		dir := fdef.Directives.ForName("grpc")
		if dir == nil {
			b.add(fdef.Position, "field %s.%s has no method", def.Name, fdef.Name).
				expect(`@grpc(method: "package.Service/Method")`)
			continue
		}
		if p := fdef.Directives.ForName("proto"); p != nil {
			b.add(p.Position, "@proto on a field of a root type").expect("the select argument of @grpc")
			continue
		}
		if f := b.joined(o, fdef, dir, op); f != nil {
			o.fields[fdef.Name] = f
		}
	}
	return o
}

// object binds a GraphQL object type to a message type, once.
func (b *binder) object(def *ast.Definition, md protoreflect.MessageDescriptor, pos *ast.Position) *object {
	key := objectKey{def.Name, md.FullName()}
	if o := b.objects[key]; o != nil {
		return o
	}
	o := &object{def: def, md: md, fields: map[string]*field{}}
	b.objects[key] = o
	if want := protoString(def.Directives, "message"); want != "" && want != string(md.FullName()) {
		b.add(pos, "type %s is bound to message %s, but here it comes from %s", def.Name, want, md.FullName()).
			expect("a field of message %s", want)
		return o
	}
	for _, fdef := range def.Fields {
		if isIntrospective(fdef.Name) {
			continue
		}
		var f *field
		if dir := fdef.Directives.ForName("grpc"); dir != nil {
			f = b.joined(o, fdef, dir, ast.Query)
		} else {
			f = b.read(o, fdef)
		}
		if f != nil {
			o.fields[fdef.Name] = f
		}
	}
	return o
}

// joined binds a field whose value another method fetches.
func (b *binder) joined(o *object, fdef *ast.FieldDefinition, dir *ast.Directive, op ast.Operation) *field {
	f := &field{def: fdef, owner: o}
	c, row := b.call(o, fdef, dir, op)
	if row == nil {
		return nil
	}
	if c == nil {
		c = &call{method: b.method(dir, op)} // for the mistakes of the answer's types
	}
	f.call = c
	typ := fdef.Type
	sel := stringArgument(dir, "select")
	if sel == "" {
		if c.batch.plural() {
			typ = elemType(typ)
		}
		f.out = b.message(typ, row, fdef.Position, "the answer of "+c.method.Name)
	} else {
		pos := dir.Arguments.ForName("select").Value.Position
		path, ok := b.path(row, sel, pos)
		if !ok {
			return nil
		}
		f.path = path
		switch {
		case c.batch != nil && c.batch.many && path[len(path)-1].IsList():
			c.batch.many = false // one row for each key, and the list is within it
		case c.batch.plural():
			typ = elemType(typ)
		}
		f.out = b.value(typ, path[len(path)-1], fdef.Position)
	}
	if f.out == nil {
		return nil
	}
	if c.batch.plural() {
		f.out = &output{typ: fdef.Type, elem: f.out}
	}
	f.out.nullIfEmpty = protoBool(fdef.Directives, "nullIfEmpty")
	return f
}

// elemType is the type of a list's elements; a type that is no list is its own.
func elemType(t *ast.Type) *ast.Type {
	if t.Elem != nil {
		return t.Elem
	}
	return t
}

// read binds a field that is read from the object's own message.
func (b *binder) read(o *object, fdef *ast.FieldDefinition) *field {
	if len(fdef.Arguments) > 0 {
		b.add(fdef.Arguments[0].Position, "field %s.%s has arguments but is read from message %s", o.def.Name, fdef.Name,
			o.md.FullName()).expect("@grpc on the field, or no arguments")
		return nil
	}
	f := &field{def: fdef, owner: o}
	if bound := protoString(fdef.Directives, "field"); bound != "" {
		pos := fdef.Directives.ForName("proto").Arguments.ForName("field").Value.Position
		if od := oneofNamed(o.md, bound); od != nil && o.md.Fields().ByName(protoreflect.Name(bound)) == nil {
			return b.oneof(f, od)
		}
		path, ok := b.path(o.md, bound, pos)
		if !ok {
			return nil
		}
		f.path = path
	} else {
		fd := fieldNamed(o.md, fdef.Name)
		if fd == nil {
			if od := oneofNamed(o.md, fdef.Name); od != nil {
				return b.oneof(f, od)
			}
			b.add(fdef.Position, "message %s has no field for %s.%s", o.md.FullName(), o.def.Name, fdef.Name).
				expect("the name of a field, @proto(field:) or @grpc").near(fdef.Name, fieldNames(o.md))
			return nil
		}
		f.path = []protoreflect.FieldDescriptor{fd}
	}
	f.out = b.value(fdef.Type, f.path[len(f.path)-1], fdef.Position)
	if f.out == nil {
		return nil
	}
	f.out.nullIfEmpty = protoBool(fdef.Directives, "nullIfEmpty")
	return f
}

// path resolves a path of proto field names; all but the last must be singular messages.
func (b *binder) path(md protoreflect.MessageDescriptor, text string, pos *ast.Position) ([]protoreflect.FieldDescriptor, bool) {
	var path []protoreflect.FieldDescriptor
	for name := range splitPath(text) {
		if len(path) > 0 {
			last := path[len(path)-1]
			if last.Message() == nil || last.IsList() || last.IsMap() {
				b.add(pos, "%q goes through %s, which is %s", text, last.Name(), kindWord(last)).expect("a singular message")
				return nil, false
			}
			md = last.Message()
		}
		fd := fieldNamed(md, name)
		if fd == nil {
			b.add(pos, "message %s has no field %q", md.FullName(), name).expect("a field path").near(name, protoNames(md))
			return nil, false
		}
		path = append(path, fd)
	}
	return path, true
}

// oneof binds a field of an abstract type to a oneof of the object's message.
func (b *binder) oneof(f *field, od protoreflect.OneofDescriptor) *field {
	def := b.ast.Types[f.def.Type.Name()]
	if f.def.Type.Elem != nil || !def.IsAbstractType() {
		b.add(f.def.Position, "field %s.%s of type %s is bound to oneof %s", f.owner.def.Name, f.def.Name, f.def.Type, od.Name()).
			expect("a union or an interface, or one field for each member of the oneof")
		return nil
	}
	comp := b.members(def, od, f.def.Position)
	if comp == nil {
		return nil
	}
	f.out = &output{typ: f.def.Type, comp: comp, absent: true}
	return f
}

// value binds a type to the values of a message field.
func (b *binder) value(typ *ast.Type, fd protoreflect.FieldDescriptor, pos *ast.Position) *output {
	def := b.ast.Types[typ.Name()]
	if def == nil {
		return nil // noted before
	}
	repeated := fd.IsList() || fd.IsMap()
	switch {
	case def.Name == scalarJSON && typ.Elem == nil && repeated:
		return b.whole(typ, fd, pos)
	case typ.Elem != nil && !repeated:
		b.add(pos, "%s is a list, but field %s of %s is not repeated: it is %s", typ, fd.Name(), fd.Parent().FullName(),
			kindWord(fd)).expect("%s", typ.Elem)
		return nil
	case typ.Elem != nil && typ.Elem.Elem != nil:
		b.add(pos, "%s is a list of lists, which no message field is", typ).expect("a list of objects or scalars")
		return nil
	case typ.Elem == nil && repeated:
		m := b.add(pos, "%s is no list, but field %s of %s is %s", typ, fd.Name(), fd.Parent().FullName(), kindWord(fd))
		if fd.IsMap() {
			m.expect("[Entry] with the fields key and value, or %s", scalarJSON)
		} else {
			m.expect("[%s]", typ.Name())
		}
		return nil
	case typ.Elem != nil:
		elem := b.single(typ.Elem, def, fd, pos)
		if elem == nil {
			return nil
		}
		return &output{typ: typ, elem: elem}
	default:
		out := b.single(typ, def, fd, pos)
		if out != nil {
			out.absent = fd.HasPresence()
		}
		return out
	}
}

// single binds a type that is no list to single values of a field.
func (b *binder) single(typ *ast.Type, def *ast.Definition, fd protoreflect.FieldDescriptor, pos *ast.Position) *output {
	switch {
	case def.Kind == ast.Enum:
		return b.enum(typ, def, fd, pos)
	case def.Kind == ast.Scalar:
		of := fd
		if inner := wrapped(fd); inner != nil {
			of = inner
		}
		if ok, expected := fits(def.Name, classify(of), false); !ok {
			b.add(pos, "type %s does not fit field %s of %s, which is %s", def.Name, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
				expect("%s", expected)
			return nil
		}
		l, err := leafFor(def.Name, fd, b.render)
		if err != nil {
			b.add(pos, "field %s of %s cannot be rendered: %v", fd.Name(), fd.Parent().FullName(), err)
			return nil
		}
		return &output{typ: typ, leaf: l}
	case fd.Message() == nil || wrapped(fd) != nil || classify(fd) != classMessage:
		b.add(pos, "type %s is an object, but field %s of %s is %s", def.Name, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
			expect("%s", expectedFor(fd))
		return nil
	default:
		return b.message(typ, fd.Message(), pos, "field "+string(fd.FullName()))
	}
}

// expectedFor names a type that would fit a field that is no message of its own.
func expectedFor(fd protoreflect.FieldDescriptor) string {
	if inner := wrapped(fd); inner != nil {
		fd = inner
	}
	if c := classify(fd); c == classEnum {
		return "an enum"
	} else {
		_, expected := fits("", c, false)
		return expected
	}
}

// message binds a type to a whole message.
func (b *binder) message(typ *ast.Type, md protoreflect.MessageDescriptor, pos *ast.Position, what string) *output {
	def := b.ast.Types[typ.Name()]
	switch {
	case def == nil:
		return nil
	case typ.Elem != nil:
		b.add(pos, "%s is a list, but %s is one %s", typ, what, md.FullName()).
			expect("%s, or the path of a repeated field in @grpc(select:)", typ.Name())
		return nil
	case def.Kind == ast.Scalar && def.Name == scalarJSON:
		l, err := messageLeaf(md, b.render)
		if err != nil {
			b.add(pos, "%s cannot be rendered: %v", what, err)
			return nil
		}
		return &output{typ: typ, message: l, absent: true}
	case def.Kind == ast.Scalar && def.Name == "Boolean" && md.FullName() == "google.protobuf.Empty":
		return &output{typ: typ, message: func(dst, _ []byte) ([]byte, bool, error) {
			return append(dst, "true"...), false, nil
		}, absent: true}
	case def.IsLeafType():
		b.add(pos, "%s is a %s, but %s is message %s", typ, kindName(def.Kind), what, md.FullName()).
			expect("an object type, or the path of a field in @grpc(select:)")
		return nil
	case def.Kind == ast.Object:
		return &output{typ: typ, absent: true, comp: &composite{
			def: def, alternatives: []alternative{{object: b.object(def, md, pos)}},
		}}
	case !def.IsAbstractType():
		return nil // noted before: no output type
	default:
		comp := b.abstract(def, md, pos)
		if comp == nil {
			return nil
		}
		return &output{typ: typ, comp: comp, absent: true}
	}
}

// whole binds JSON to a repeated field or a map.
func (b *binder) whole(typ *ast.Type, fd protoreflect.FieldDescriptor, pos *ast.Position) *output {
	r, err := wire.NewRenderer(fd.ContainingMessage(), &wire.Selection{
		Fields: []wire.Selected{{Name: fd.Name(), As: wholeKey}},
	}, b.render)
	if err != nil {
		b.add(pos, "field %s of %s cannot be rendered: %v", fd.Name(), fd.Parent().FullName(), err)
		return nil
	}
	empty := "[]"
	if fd.IsMap() {
		empty = "{}"
	}
	return &output{typ: typ, whole: r, empty: empty}
}

// wholeKey is the one key of the object that output.whole renders.
const wholeKey = "v"

// abstract binds a union or an interface to a message: to the type that is bound to it, or to its one oneof.
func (b *binder) abstract(def *ast.Definition, md protoreflect.MessageDescriptor, pos *ast.Position) *composite {
	for _, possible := range b.ast.PossibleTypes[def.Name] {
		if isMessageOf(possible, md) {
			return &composite{def: def, alternatives: []alternative{{object: b.object(possible, md, pos)}}}
		}
	}
	var oneofs []protoreflect.OneofDescriptor
	for i := range md.Oneofs().Len() {
		if od := md.Oneofs().Get(i); !od.IsSynthetic() {
			oneofs = append(oneofs, od)
		}
	}
	if len(oneofs) != 1 {
		b.add(pos, "%s is abstract, and nothing says which of its types message %s is", def.Name, md.FullName()).
			expect("a type named %s, a type with @proto(message: %q), or a message with one oneof", md.Name(), md.FullName())
		return nil
	}
	return b.members(def, oneofs[0], pos)
}

// members binds the types of a union or an interface to the members of a oneof.
func (b *binder) members(def *ast.Definition, od protoreflect.OneofDescriptor, pos *ast.Position) *composite {
	comp := &composite{def: def}
	var fields []protoreflect.FieldDescriptor
	for _, possible := range b.ast.PossibleTypes[def.Name] {
		member := memberFor(possible, od)
		if member == nil {
			b.add(pos, "type %s of %s is no member of oneof %s", possible.Name, def.Name, od.FullName()).
				expect("a type named as a member's message, or @proto(message:) on it")
			return nil
		}
		fields = append(fields, member)
		comp.alternatives = append(comp.alternatives, alternative{member: member, object: b.object(possible, member.Message(), pos)})
	}
	comp.table = wire.NewTable(od.Parent().(protoreflect.MessageDescriptor), fields) //nolint:errcheck,forcetypeassert // a oneof stands in a message
	return comp
}

// memberFor finds the member of a oneof that a type is bound to: by message, or by the member's name.
func memberFor(def *ast.Definition, od protoreflect.OneofDescriptor) protoreflect.FieldDescriptor {
	for _, byName := range []bool{false, true} {
		for i := range od.Fields().Len() {
			fd := od.Fields().Get(i)
			if fd.Message() == nil {
				continue
			}
			if !byName && isMessageOf(def, fd.Message()) || byName && snake(def.Name) == string(fd.Name()) {
				return fd
			}
		}
	}
	return nil
}

// isMessageOf reports whether a type says that it is bound to a message, or is named like it.
func isMessageOf(def *ast.Definition, md protoreflect.MessageDescriptor) bool {
	if want := protoString(def.Directives, "message"); want != "" {
		return want == string(md.FullName())
	}
	return def.Name == string(md.Name())
}

// enum binds an enum type to a field.
func (b *binder) enum(typ *ast.Type, def *ast.Definition, fd protoreflect.FieldDescriptor, pos *ast.Position) *output {
	if fd.Enum() == nil {
		b.add(pos, "type %s is an enum, but field %s of %s is %s", def.Name, fd.Name(), fd.Parent().FullName(), kindWord(fd)).
			expect("%s", expectedFor(fd))
		return nil
	}
	b.enumType(def, fd.Enum())
	b.enumGaps(def, fd.Enum())
	return &output{typ: typ, leaf: b.enumLeaf(def, fd.Enum())}
}

// enumGaps warns of proto values that answers may hold but the GraphQL enum cannot say.
func (b *binder) enumGaps(def *ast.Definition, ed protoreflect.EnumDescriptor) {
	said := map[protoreflect.EnumNumber]bool{0: isUnspecified(ed)}
	for _, v := range def.EnumValues {
		if value := b.enumValue(v, ed); value != nil {
			said[value.Number()] = true
		}
	}
	for i := range ed.Values().Len() {
		if v := ed.Values().Get(i); !said[v.Number()] {
			b.warn(def.Position, "enum %s has no value for %s: an answer that holds it is an error", def.Name, v.Name())
		}
	}
}

// enumType checks once that every value of a GraphQL enum has one in the proto enum.
func (b *binder) enumType(def *ast.Definition, ed protoreflect.EnumDescriptor) {
	key := objectKey{def.Name, ed.FullName()}
	if b.enums[key] {
		return
	}
	b.enums[key] = true
	for _, v := range def.EnumValues {
		if b.enumValue(v, ed) != nil {
			continue
		}
		name, names := v.Name, enumValueNames(ed)
		if bound := protoString(v.Directives, "value"); bound != "" {
			name = bound
			names = names[:0]
			for i := range ed.Values().Len() {
				names = append(names, string(ed.Values().Get(i).Name()))
			}
		}
		b.add(v.Position, "enum %s has no value for %s.%s", ed.FullName(), def.Name, name).
			expect("one of its values, or @proto(value:)").near(name, names)
	}
}

func (b *binder) enumValue(v *ast.EnumValueDefinition, ed protoreflect.EnumDescriptor) protoreflect.EnumValueDescriptor {
	if bound := protoString(v.Directives, "value"); bound != "" {
		return ed.Values().ByName(protoreflect.Name(bound))
	}
	return enumValueNamed(ed, v.Name)
}

// isIntrospective reports whether a field is one that GraphQL itself defines.
func isIntrospective(name string) bool { return len(name) > 1 && name[:2] == "__" }

// kindName writes a kind of type in words.
func kindName(k ast.DefinitionKind) string {
	switch k {
	case ast.Scalar:
		return "scalar"
	case ast.Enum:
		return "enum"
	case ast.Object:
		return "object type"
	case ast.Interface:
		return "interface"
	case ast.Union:
		return "union"
	default:
		return "input type"
	}
}

// bound reports whether a type was reached from a root type.
func (b *binder) bound(name string) bool {
	for key := range b.objects {
		if key.name == name {
			return true
		}
	}
	return slices.ContainsFunc([]*ast.Definition{b.ast.Query, b.ast.Mutation, b.ast.Subscription},
		func(def *ast.Definition) bool { return def != nil && def.Name == name })
}
