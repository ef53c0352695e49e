package schema

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream/wire"
)

// requestBinding binds the request of one field's call.
type requestBinding struct {
	*binder
	object *object
	field  *ast.FieldDefinition
	// used holds the arguments that a template refers to, and set the request fields that the binding sets.
	used map[string]bool
	set  []string
	// into takes the keys of a batch; nil if there is none.
	into protoreflect.FieldDescriptor
}

func (b *requestBinding) request(md protoreflect.MessageDescriptor) *request {
	return &request{builder: wire.NewBuilder(md, b.parse)}
}

// compile compiles the template of the fields that a request's steps set.
func (b *requestBinding) compile(r *request) bool {
	slots := make([]*wire.Slot, 0, len(r.steps))
	for _, s := range r.steps {
		slots = append(slots, s.slot)
		t, err := r.builder.Template(slots...)
		if err != nil {
			b.add(s.pos, "the request cannot be made: %v", err).expect("one value for each field")
			return false
		}
		r.template = t
	}
	return true
}

// fields binds @grpc(input:): an object of request fields.
func (b *requestBinding) fields(r *request, md protoreflect.MessageDescriptor, prefix string, children ast.ChildValueList) bool {
	ok := true
	for _, child := range children {
		fd := fieldNamed(md, child.Name)
		if fd == nil {
			b.add(child.Position, "message %s has no field %q", md.FullName(), child.Name).
				expect("a field of the request").near(child.Name, protoNames(md))
			ok = false
			continue
		}
		path := prefix + string(fd.Name())
		if child.Value.Kind == ast.ObjectValue {
			if fd.Message() == nil || fd.IsList() || fd.IsMap() {
				b.add(child.Value.Position, "field %s of %s takes no object: it is %s", fd.Name(), md.FullName(), kindWord(fd)).
					expect("a template or a value")
				ok = false
				continue
			}
			ok = b.fields(r, fd.Message(), path+".", child.Value.Children) && ok
			continue
		}
		b.set = append(b.set, path)
		ok = b.value(r, path, fd, child.Value) && ok
	}
	return ok
}

// value binds one template or constant to a request field.
func (b *requestBinding) value(r *request, path string, fd protoreflect.FieldDescriptor, v *ast.Value) bool {
	slot, err := r.builder.Slot(path)
	if err != nil {
		b.add(v.Position, "field %q cannot be set: %v", path, err)
		return false
	}
	if slices.Contains(stringKinds(), v.Kind) && strings.ContainsAny(v.Raw, "{}") {
		set := b.template(r, fd, v)
		if set == nil {
			return false
		}
		r.steps = append(r.steps, step{slot: slot, set: set, pos: v.Position})
		return true
	}
	json, err := constantJSON(nil, v)
	if err == nil {
		err = r.builder.New().SetJSON(slot, json)
	}
	if err != nil {
		b.add(v.Position, "%s does not fit field %s of %s, which is %s: %v", v, fd.Name(), fd.Parent().FullName(), kindWord(fd), err)
		return false
	}
	r.steps = append(r.steps, step{slot: slot, pos: v.Position, set: func(to *wire.Target, _ *inputs) (bool, error) {
		return true, to.SetJSON(json)
	}})
	return true
}

// template binds a string with references.
func (b *requestBinding) template(r *request, fd protoreflect.FieldDescriptor, v *ast.Value) setter {
	parts, err := parseTemplate(v.Raw)
	if err != nil {
		b.add(v.Position, "%v", err)
		return nil
	}
	if ref := sole(parts); ref != nil {
		return b.reference(r, fd, *ref, v.Position)
	}
	if fd.Message() != nil && wrapped(fd) == nil && classify(fd) == classMessage || fd.IsMap() {
		b.add(v.Position, "template %q is a text, but field %s is %s", v.Raw, fd.Name(), kindWord(fd)).expect("one reference")
		return nil
	}
	type textPart struct {
		text string
		get  func(in *inputs) (string, bool)
	}
	var texts []textPart
	for _, p := range parts {
		if p.ref == nil {
			texts = append(texts, textPart{text: p.text})
			continue
		}
		get := b.text(r, *p.ref, v.Position)
		if get == nil {
			return nil
		}
		texts = append(texts, textPart{get: get})
	}
	return func(to *wire.Target, in *inputs) (bool, error) {
		var out strings.Builder
		for _, t := range texts {
			if t.get == nil {
				out.WriteString(t.text)
				continue
			}
			s, ok := t.get(in)
			if !ok {
				return false, nil
			}
			out.WriteString(s)
		}
		return true, to.SetText(out.String())
	}
}

// text binds a reference within a longer text.
func (b *requestBinding) text(r *request, ref reference, pos *ast.Position) func(in *inputs) (string, bool) {
	switch ref.root {
	case rootArgs:
		typ, ok := b.argument(ref, pos)
		if !ok {
			return nil
		}
		if def := b.ast.Types[typ.Name()]; typ.Elem != nil || def == nil || !def.IsLeafType() {
			b.add(pos, "%s is %s within a text", ref, typ).expect("a scalar")
			return nil
		}
		path := strings.Split(ref.path, ".")
		return func(in *inputs) (string, bool) { return textOf(dig(in.args, path)) }
	case rootParent:
		p := b.parentPath(r, ref, pos)
		if p == nil {
			return nil
		}
		return func(in *inputs) (string, bool) {
			v, ok := p.First(in.parent)
			return v.String(), ok
		}
	default:
		if !b.known(ref, pos) {
			return nil
		}
		name := ref.root + "." + ref.path
		return func(in *inputs) (string, bool) { return in.lookup(in.ctx, name) }
	}
}

// reference binds a template that is one reference, so that the value keeps its type.
func (b *requestBinding) reference(r *request, fd protoreflect.FieldDescriptor, ref reference, pos *ast.Position) setter {
	switch ref.root {
	case rootArgs:
		typ, ok := b.argument(ref, pos)
		if !ok {
			return nil
		}
		var write inputWriter
		if def := b.ast.Types[typ.Name()]; fd == b.into && typ.Elem == nil && def != nil {
			if write = b.one(typ, def, fd, pos, ref.String()); write != nil {
				write = writeOnly(write)
			}
		} else {
			write = b.input(typ, fd, pos, ref.String())
		}
		if write == nil {
			return nil
		}
		return setArgument(strings.Split(ref.path, "."), write)
	case rootParent:
		p := b.parentPath(r, ref, pos)
		if p == nil {
			return nil
		}
		from := p.Field()
		switch {
		case from.IsMap() || from.IsList() && !fd.IsList():
			b.add(pos, "%s is %s, but field %s is %s", ref, kindWord(from), fd.Name(), kindWord(fd)).expect("the same type")
			return nil
		case !sameType(from, fd) && (from.Message() != nil || fd.Message() != nil):
			b.add(pos, "%s is %s, but field %s is %s", ref, kindWord(from), fd.Name(), kindWord(fd)).expect("the same type")
			return nil
		}
		return func(to *wire.Target, in *inputs) (has bool, err error) {
			p.All(in.parent, func(v wire.Value) bool {
				has = true
				err = to.SetValue(v)
				return err == nil
			})
			return has, err
		}
	default:
		if !b.known(ref, pos) {
			return nil
		}
		name := ref.root + "." + ref.path
		return func(to *wire.Target, in *inputs) (bool, error) {
			s, ok := in.lookup(in.ctx, name)
			if !ok {
				return false, nil
			}
			return true, to.SetText(s)
		}
	}
}

// known checks the root of a reference that is neither an argument nor the parent.
func (b *requestBinding) known(ref reference, pos *ast.Position) bool {
	if ref.root == rootPrincipal || ref.root == rootRequest {
		return true
	}
	b.add(pos, "unknown reference %s", ref).expect("{args.…}, {parent.…}, {principal.…} or {request.…}").near(ref.root, templateRoots())
	return false
}

// parentPath binds a reference to a field of the parent's message.
func (b *requestBinding) parentPath(r *request, ref reference, pos *ast.Position) *wire.Path {
	if b.object.md == nil {
		b.add(pos, "%s on a field of a root type, which has no parent", ref).expect("{args.…} or {principal.…}")
		return nil
	}
	if _, ok := b.path(b.object.md, ref.path, pos); !ok {
		return nil
	}
	names := make([]string, 0, 2)
	md := b.object.md
	for name := range splitPath(ref.path) {
		fd := fieldNamed(md, name)
		names = append(names, string(fd.Name()))
		md = fd.Message()
	}
	p, err := wire.NewPath(b.object.md, strings.Join(names, "."))
	if err != nil {
		b.add(pos, "%s cannot be read: %v", ref, err)
		return nil
	}
	r.usesParent = true
	return p
}

// argument finds the type of the argument, or of the input field below it, that a reference stands for.
func (b *requestBinding) argument(ref reference, pos *ast.Position) (*ast.Type, bool) {
	name, rest, nested := strings.Cut(ref.path, ".")
	arg := b.field.Arguments.ForName(name)
	if arg == nil {
		names := make([]string, len(b.field.Arguments))
		for i, a := range b.field.Arguments {
			names[i] = a.Name
		}
		b.add(pos, "field %s.%s has no argument %q", b.object.def.Name, b.field.Name, name).
			expect("one of its arguments").near(name, names)
		return nil, false
	}
	b.used[name] = true
	typ := arg.Type
	for nested {
		def := b.ast.Types[typ.Name()]
		name, rest, nested = strings.Cut(rest, ".")
		if def == nil || def.Kind != ast.InputObject || typ.Elem != nil {
			b.add(pos, "%s goes through %s", ref, typ).expect("an input object")
			return nil, false
		}
		f := def.Fields.ForName(name)
		if f == nil {
			names := make([]string, len(def.Fields))
			for i, f := range def.Fields {
				names[i] = f.Name
			}
			b.add(pos, "input type %s has no field %q", def.Name, name).near(name, names)
			return nil, false
		}
		typ = f.Type
	}
	return typ, true
}

// rest binds every argument that no template refers to to the request field of its name.
func (b *requestBinding) rest(r *request, md protoreflect.MessageDescriptor) bool {
	ok := true
	for _, arg := range b.field.Arguments {
		if b.used[arg.Name] {
			continue
		}
		name := protoString(arg.Directives, "field")
		if name == "" {
			name = arg.Name
		}
		fd := fieldNamed(md, name)
		switch {
		case fd == nil:
			b.add(arg.Position, "argument %s of %s.%s goes nowhere: message %s has no field for it", arg.Name, b.object.def.Name,
				b.field.Name, md.FullName()).expect("the name of a request field, @proto(field:), or a reference to it in @grpc(input:)").
				near(name, fieldNames(md))
			ok = false
			continue
		case fd == b.into || slices.Contains(b.set, string(fd.Name())):
			b.add(arg.Position, "argument %s of %s.%s goes nowhere: request field %s is set by @grpc", arg.Name, b.object.def.Name,
				b.field.Name, fd.Name()).expect("a reference to it in @grpc(input:)")
			ok = false
			continue
		}
		write := b.input(arg.Type, fd, arg.Position, "argument "+arg.Name)
		slot, err := r.builder.Slot(string(fd.Name()))
		if write == nil || err != nil {
			ok = false
			continue
		}
		r.steps = append(r.steps, step{slot: slot, set: setArgument([]string{arg.Name}, write), pos: arg.Position})
	}
	return ok
}

// setArgument sets a slot to an argument or to a field below it.
func setArgument(path []string, write inputWriter) setter {
	return func(to *wire.Target, in *inputs) (bool, error) {
		v := dig(in.args, path)
		if v == nil {
			return false, nil
		}
		var err error
		if in.json, err = write(in.json[:0], v); err != nil {
			return false, err
		}
		return true, to.SetJSON(in.json)
	}
}

// key binds the key of a batch.
func (b *requestBinding) key(out *batch, builder *wire.Builder, into protoreflect.FieldDescriptor, v *ast.Value) bool {
	if v.Kind == ast.ObjectValue {
		return b.keyObject(out, into, v)
	}
	parts, err := parseTemplate(v.Raw)
	if err != nil {
		b.add(v.Position, "%v", err)
		return false
	}
	r := &request{builder: builder}
	if ref := sole(parts); ref != nil && ref.root == rootParent {
		p := b.parentPath(r, *ref, v.Position)
		if p == nil {
			return false
		}
		if from := p.Field(); sameType(from, into) && !from.IsMap() {
			out.fan = from.IsList()
			if out.fan && b.field.Type.Elem == nil {
				b.add(v.Position, "%s holds many keys, but %s.%s is no list", ref, b.object.def.Name, b.field.Name).expect("[%s]", b.field.Type.Name())
				return false
			}
			appendKey, err := b.keyWriter(into)
			if err != nil {
				b.add(v.Position, "keys of %s cannot be compared: %v", into.Name(), err)
				return false
			}
			unset := !p.Field().HasPresence() && !out.fan
			whole := into.Kind() == protoreflect.StringKind || into.Kind() == protoreflect.BytesKind
			out.keys = func(in *inputs, yield func([]byte)) (err error) {
				p.All(in.parent, func(v wire.Value) bool {
					if unset && isEmpty(v) {
						return true // some services write fields that are not set
					}
					if whole { // the parent's own bytes are the key
						yield(v.Raw())
						return true
					}
					start := len(in.arena)
					if in.arena, err = appendKey(in.arena, v); err != nil {
						return false
					}
					yield(slices.Clip(in.arena[start:]))
					return true
				})
				return err
			}
			return true
		}
	}
	if sole(parts) == nil && len(parts) == 0 || !slices.ContainsFunc(parts, func(p part) bool { return p.ref != nil }) {
		b.add(v.Position, "key %q is the same for every parent", v.Raw).expect(`a template such as "{parent.id}"`)
		return false
	}
	if !b.value(r, string(into.Name()), into, v) {
		return false
	}
	if ref := sole(parts); ref != nil && ref.root == rootArgs {
		if typ, ok := b.argument(*ref, v.Position); ok && typ.Elem != nil {
			out.fan = true
			if b.field.Type.Elem == nil {
				b.add(v.Position, "%s holds many keys, but %s.%s is no list", ref, b.object.def.Name, b.field.Name).expect("[%s]", b.field.Type.Name())
				return false
			}
		}
	}
	r.steps[0].needed = true
	if !b.compile(r) {
		return false
	}
	table := wire.NewTable(into.ContainingMessage(), []protoreflect.FieldDescriptor{into})
	out.keys = func(in *inputs, yield func([]byte)) error {
		start := len(in.arena)
		var (
			ok  bool
			err error
		)
		if in.arena, ok, err = r.build(in.arena, in); err != nil || !ok {
			return err
		}
		var slots [1]wire.Span
		if err := table.Scan(in.arena[start:], slots[:]); err != nil {
			return err
		}
		slots[0].Each(func(v wire.Value) bool {
			yield(v.Raw())
			return true
		})
		return nil
	}
	return true
}

// keyObject binds a key that is a message: all its parts must have a value.
func (b *requestBinding) keyObject(out *batch, into protoreflect.FieldDescriptor, v *ast.Value) bool {
	if into.Message() == nil {
		b.add(v.Position, "the key is an object, but field %s is %s", into.Name(), kindWord(into)).expect("a template")
		return false
	}
	r := b.request(into.Message())
	set := b.set
	ok := b.fields(r, into.Message(), "", v.Children)
	b.set = set
	if !ok || len(r.steps) == 0 {
		return false
	}
	for i := range r.steps {
		r.steps[i].needed = true
	}
	if !b.compile(r) {
		return false
	}
	out.keys = func(in *inputs, yield func([]byte)) error {
		start := len(in.arena)
		var (
			ok  bool
			err error
		)
		if in.arena, ok, err = r.build(in.arena, in); ok {
			yield(slices.Clip(in.arena[start:]))
		}
		return err
	}
	return true
}

// matchObject binds @grpc(batch: {match: {key_field: "row_field"}}): the parts of a row that make up its key.
func (b *requestBinding) matchObject(out *batch, into protoreflect.FieldDescriptor, row protoreflect.MessageDescriptor, v *ast.Value) bool {
	if into.Message() == nil {
		b.add(v.Position, "match is an object, but keys are %s", kindOf(into)).expect("the path of a field")
		return false
	}
	r := b.request(into.Message())
	ok := true
	for _, child := range v.Children {
		fd := fieldNamed(into.Message(), child.Name)
		if fd == nil || !slices.Contains(stringKinds(), child.Value.Kind) {
			b.add(child.Position, "message %s has no field %q, or its match %s is no path", into.Message().FullName(), child.Name, child.Value).
				near(child.Name, protoNames(into.Message()))
			ok = false
			continue
		}
		path, found := b.path(row, child.Value.Raw, child.Value.Position)
		if !found {
			ok = false
			continue
		}
		if last := path[len(path)-1]; last.IsList() || last.IsMap() || !sameType(last, fd) {
			b.add(child.Value.Position, "key field %s is %s, but %q of %s is %s", fd.Name(), kindWord(fd), child.Value.Raw, row.FullName(),
				kindWord(last)).expect("the same type")
			ok = false
			continue
		}
		p, err := wire.NewPath(row, child.Value.Raw)
		slot, slotErr := r.builder.Slot(string(fd.Name()))
		if err != nil || slotErr != nil {
			b.add(child.Value.Position, "the match %q cannot be bound", child.Value.Raw)
			ok = false
			continue
		}
		r.steps = append(r.steps, step{slot: slot, pos: child.Value.Position, needed: true, set: func(to *wire.Target, in *inputs) (bool, error) {
			v, has := p.First(in.parent)
			if !has {
				return false, nil
			}
			return true, to.SetValue(v)
		}})
	}
	out.match = func(dst []byte, in *inputs) ([]byte, bool) {
		key, ok, err := r.build(dst, in)
		return key, ok && err == nil
	}
	return ok && len(r.steps) > 0 && b.compile(r)
}
