package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/upstream"
	"github.com/portico-bff/portico/upstream/wire"
)

// defaultBatch is how many keys go into one call unless the binding says so.
const defaultBatch = 100

// call binds a field's @grpc. It returns the message that the field's value is read from: the answer, or a batch's row;
// nil if that is not known. If the call is nil but the message is not, the request is wrong but the answer can be bound.
func (b *binder) call(o *object, fdef *ast.FieldDefinition, dir *ast.Directive, op ast.Operation) (*call, protoreflect.MessageDescriptor) {
	m := b.method(dir, op)
	if m == nil {
		return nil, nil
	}
	c := &call{method: m, pos: dir.Position}
	binding := &requestBinding{binder: b, object: o, field: fdef, used: map[string]bool{}}
	c.request = binding.request(m.Input)
	ok := true
	if input := dir.Arguments.ForName("input"); input != nil && input.Value.Kind == ast.ObjectValue {
		ok = binding.fields(c.request, m.Input, "", input.Value.Children) && ok
	}
	row := m.Output
	arg := dir.Arguments.ForName("batch")
	switch {
	case arg != nil && arg.Value.Kind != ast.ObjectValue:
		ok = false // noted before
	case arg != nil && op != ast.Query:
		b.add(arg.Position, "field %s.%s of a %s has a batch", o.def.Name, fdef.Name, op).expect("a method that answers for one object")
		ok = false
	case arg != nil:
		c.batch, row = b.batch(binding, c, arg.Value)
		ok = ok && c.batch != nil
	case o.md != nil && m.Unary():
		b.warn(fdef.Position, "%s.%s calls %s once for each %s: N+1 calls where a batch method would do", o.def.Name, fdef.Name, m.Name, o.def.Name)
	}
	ok = ok && binding.rest(c.request, m.Input) && binding.compile(c.request)
	if !ok && arg == nil {
		return nil, row
	}
	if !ok {
		return nil, nil
	}
	return c, row
}

func (b *binder) warn(pos *ast.Position, format string, args ...any) {
	w := Warning{Message: fmt.Sprintf(format, args...)}
	w.File, w.Line, w.Column = place(pos)
	if !slices.Contains(b.warnings, w) {
		b.warnings = append(b.warnings, w)
	}
}

// method finds the method of @grpc and checks that its stream kind suits the operation.
func (b *binder) method(dir *ast.Directive, op ast.Operation) *upstream.Method {
	arg := dir.Arguments.ForName("method")
	if arg == nil || !slices.Contains(stringKinds(), arg.Value.Kind) {
		return nil // noted before
	}
	m := b.find(arg.Value.Raw, arg.Value.Position)
	switch {
	case m == nil:
		return nil
	case m.ClientStreaming:
		b.add(arg.Value.Position, "method %s takes a stream of messages", m.Name).expect("a method that takes one message")
	case op == ast.Subscription && !m.ServerStreaming:
		b.add(arg.Value.Position, "method %s is unary, but the field is of a subscription", m.Name).expect("a server-streaming method")
	case op != ast.Subscription && m.ServerStreaming:
		b.add(arg.Value.Position, "method %s streams its answer", m.Name).expect("a unary method, or a field of the subscription type")
	default:
		return m
	}
	return nil
}

// find finds a method by name, or says what is near.
func (b *binder) find(name string, pos *ast.Position) *upstream.Method {
	if m, ok := b.descriptors.Method(name); ok {
		return m
	}
	service, _, found := strings.Cut(name, "/")
	var known []string
	if methods := b.descriptors.Methods(service); len(methods) > 0 {
		for _, m := range methods {
			known = append(known, m.Name)
		}
	} else {
		for _, s := range b.descriptors.Services() {
			for _, m := range b.descriptors.Methods(s) {
				known = append(known, m.Name)
			}
		}
	}
	m := b.add(pos, "unknown method %q", name).near(name, known)
	if !found {
		m.expect(`"package.Service/Method"`)
	} else {
		m.expect("a method in the loaded descriptors")
	}
	return nil
}

// batch binds @grpc(batch:).
func (b *binder) batch(rb *requestBinding, c *call, v *ast.Value) (*batch, protoreflect.MessageDescriptor) {
	m := c.method
	text := func(name string) (string, *ast.Position) {
		if val := v.Children.ForName(name); val != nil && slices.Contains(stringKinds(), val.Kind) {
			return val.Raw, val.Position
		}
		return "", v.Position
	}
	intoName, intoPos := text("into")
	resultsName, resultsPos := text("results")
	key := v.Children.ForName("key")
	if intoName == "" || resultsName == "" || key == nil {
		return nil, nil // noted before
	}
	out := &batch{max: defaultBatch}
	into := fieldNamed(m.Input, intoName)
	switch {
	case into == nil:
		b.add(intoPos, "message %s has no field %q for the keys", m.Input.FullName(), intoName).near(intoName, protoNames(m.Input))
		return nil, nil
	case !into.IsList():
		b.add(intoPos, "field %s of %s cannot take many keys: it is %s", into.Name(), m.Input.FullName(), kindWord(into)).
			expect("a repeated field")
		return nil, nil
	}
	if slices.Contains(rb.set, string(into.Name())) {
		b.add(intoPos, "field %s takes the keys, but input sets it too", into.Name()).expect("one of them")
		return nil, nil
	}
	resultsPath, ok := b.path(m.Output, resultsName, resultsPos)
	if !ok {
		return nil, nil
	}
	results := resultsPath[len(resultsPath)-1]
	if (!results.IsList() && !results.IsMap()) || rowMessage(results) == nil {
		b.add(resultsPos, "field %s of %s holds no rows: it is %s", results.Name(), results.Parent().FullName(), kindWord(results)).
			expect("a repeated message, or a map to messages")
		return nil, nil
	}
	row := rowMessage(results)
	out.results = newReading(resultsPath)
	rb.into = into
	if !rb.key(out, c.request.builder, into, key) {
		return nil, nil
	}
	if results.IsMap() {
		out.entry = wire.NewTable(results.Message(), []protoreflect.FieldDescriptor{results.MapKey(), results.MapValue()})
	}
	if !b.match(rb, out, into, results, row, key, v.Children.ForName("match")) || !b.maximum(out, v.Children.ForName("max")) {
		return nil, nil
	}
	out.many = rb.field.Type.Elem != nil && !out.fan
	out.rows = &upstream.Rows{Batch: m, Into: into}
	if name, pos := text("get"); name != "" && !b.get(out, row, name, pos, v.Children.ForName("match")) {
		return nil, nil
	}
	cached := m.Name + "\x00" + string(into.Name())
	if b.results[cached] == "" {
		b.results[cached] = resultsName
	}
	out.uncached = b.results[cached] != resultsName
	matchText := ""
	if mv := v.Children.ForName("match"); mv != nil {
		matchText = mv.String()
	}
	out.signature = strings.Join([]string{intoName, resultsName, matchText, strconv.Itoa(out.max)}, "\x00")
	return out, row
}

func (b *binder) maximum(out *batch, v *ast.Value) bool {
	if v == nil || v.Kind != ast.IntValue {
		return true
	}
	n, err := strconv.Atoi(v.Raw)
	if err != nil || n < 1 || n > 100_000 {
		b.add(v.Position, "max is %s", v.Raw).expect("a number from 1 to 100000")
		return false
	}
	out.max = n
	return true
}

// match binds how rows find their keys.
func (b *binder) match(rb *requestBinding, out *batch, into, results protoreflect.FieldDescriptor, row protoreflect.MessageDescriptor, key, v *ast.Value) bool {
	switch {
	case results.IsMap() && v != nil:
		b.add(v.Position, "rows of map field %s are matched by its keys", results.Name()).expect("no match")
		return false
	case results.IsMap():
		if results.MapKey().Kind() != into.Kind() {
			b.add(key.Position, "keys are %s, but the keys of %s are %s", kindOf(into), results.Name(), results.MapKey().Kind()).
				expect("the same type")
			return false
		}
		return true
	case v == nil:
		return true
	case v.Kind == ast.ObjectValue:
		return rb.matchObject(out, into, row, v)
	}
	path, ok := b.path(row, v.Raw, v.Position)
	if !ok {
		return false
	}
	last := path[len(path)-1]
	if last.IsList() || last.IsMap() || !sameType(last, into) {
		b.add(v.Position, "keys are %s, but field %q of %s is %s", kindOf(into), v.Raw, row.FullName(), kindWord(last)).
			expect("a field of the same type")
		return false
	}
	p, err := wire.NewPath(row, v.Raw)
	if err != nil {
		b.add(v.Position, "the match cannot be bound: %v", err)
		return false
	}
	appendKey, err := b.keyWriter(into)
	if err != nil {
		b.add(v.Position, "keys of %s cannot be compared: %v", into.Name(), err)
		return false
	}
	out.match = func(dst []byte, in *inputs) ([]byte, bool) {
		value, ok := p.First(in.parent)
		if !ok {
			return dst, false
		}
		dst, err := appendKey(dst, value)
		return dst, err == nil
	}
	return true
}

// keyWriter returns how a value of a field's type becomes a key, so that equal keys have equal bytes: services may write
// the fields of a message in any order.
func (b *binder) keyWriter(fd protoreflect.FieldDescriptor) (func(dst []byte, v wire.Value) ([]byte, error), error) {
	if fd.Message() == nil {
		return func(dst []byte, v wire.Value) ([]byte, error) { return v.AppendRaw(dst), nil }, nil
	}
	c, err := wire.NewCanonicalizer(fd.Message(), b.parse)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, v wire.Value) ([]byte, error) { return c.Append(dst, v.Raw()) }, nil
}

// get binds the method that answers for one of the keys, so that both share the cached rows.
func (b *binder) get(out *batch, row protoreflect.MessageDescriptor, name string, pos *ast.Position, match *ast.Value) bool {
	m := b.find(name, pos)
	if m == nil {
		return false
	}
	if !m.Unary() || m.Output.FullName() != row.FullName() {
		b.add(pos, "method %s answers with %s", m.Name, m.Output.FullName()).expect("a unary method that answers with a row: %s", row.FullName())
		return false
	}
	var field protoreflect.FieldDescriptor
	if match != nil && match.Kind != ast.ObjectValue {
		field = fieldNamed(m.Input, match.Raw)
	}
	if field == nil && m.Input.Fields().Len() == 1 {
		field = m.Input.Fields().Get(0)
	}
	if field == nil || field.IsList() || !sameType(field, out.rows.Into) {
		b.add(pos, "message %s has no field for a key of type %s", m.Input.FullName(), kindOf(out.rows.Into)).
			expect("a field named like match, or a single field")
		return false
	}
	out.rows.Get, out.rows.GetField = m, field
	return true
}

// sameType reports whether single values of two fields are encoded alike and mean the same.
func sameType(a, b protoreflect.FieldDescriptor) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch {
	case a.Message() != nil:
		return a.Message().FullName() == b.Message().FullName()
	case a.Enum() != nil:
		return a.Enum().FullName() == b.Enum().FullName()
	default:
		return true
	}
}

// kindOf names the type of one value of a field.
func kindOf(fd protoreflect.FieldDescriptor) string {
	return strings.TrimPrefix(kindWord(fd), "repeated ")
}
