package wire

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// layout is what is compiled of a message type. It is immutable once [types.layout] has returned it.
type layout struct {
	md         protoreflect.MessageDescriptor
	special    special
	fields     []field // in the order of their numbers
	dense      []int16 // by number: index into fields, or -1
	far        map[protowire.Number]int
	byName     map[string]int // by JSON name and by proto name: index into fields
	required   []int          // indices of required fields
	extensible bool
}

// field is what is compiled of a field.
type field struct {
	fd       protoreflect.FieldDescriptor
	json     string // JSON name
	num      protowire.Number
	kind     protoreflect.Kind
	wire     protowire.Type
	tag      uint64 // number and wire type of a value that is not packed
	list     bool
	isMap    bool
	packable bool
	packed   bool
	presence bool
	utf8     bool // strings must be UTF-8 on the wire
	required bool
	null     bool // a JSON null is a value
	oneof    int  // index of its oneof plus one; 0 if none
	siblings []protowire.Number
	msg      *layout // of messages
	enum     *enum
	key, val *field // of maps
}

// enum is what is compiled of an enum.
type enum struct {
	ed     protoreflect.EnumDescriptor
	isNull bool // google.protobuf.NullValue
	byName map[string]int32
	quoted map[int32][]byte // JSON strings
	dense  [][]byte         // of numbers from 0 on, as far as they are dense
}

// types compiles layouts and keeps them. It is safe for concurrent use: what a program needs is compiled when it is
// made; the types of Any messages and extensions are added when they are first met, at most once for each type that the
// resolver knows.
type types struct {
	resolver Resolver
	mu       sync.Mutex
	layouts  map[protoreflect.MessageDescriptor]*layout // guarded by mu
	enums    map[protoreflect.EnumDescriptor]*enum      // guarded by mu
	exts     sync.Map                                   // extension names, and their messages with their numbers, to *field
	anys     sync.Map                                   // names of message types to *layout
}

func newTypes(r Resolver) *types {
	return &types{
		resolver: resolverOr(r),
		layouts:  map[protoreflect.MessageDescriptor]*layout{},
		enums:    map[protoreflect.EnumDescriptor]*enum{},
	}
}

// layout compiles md and all messages it contains.
func (t *types) layout(md protoreflect.MessageDescriptor) *layout {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.compile(md)
}

// field compiles a field on its own, which may be an extension.
func (t *types) field(fd protoreflect.FieldDescriptor) *field {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.compileField(fd)
	return &f
}

func (t *types) compile(md protoreflect.MessageDescriptor) *layout {
	if l := t.layouts[md]; l != nil {
		return l
	}
	l := &layout{md: md, special: specialOf(md), extensible: md.ExtensionRanges().Len() > 0}
	t.layouts[md] = l
	fds := md.Fields()
	order := sortedFields(fds)
	l.fields = make([]field, len(order))
	l.byName = make(map[string]int, 2*len(order))
	size := 0
	for i, fd := range order {
		l.byName[fd.TextName()] = i
		if n := int(fd.Number()); n < maxDense {
			size = max(size, n+1)
		}
	}
	l.dense = make([]int16, size)
	for i := range l.dense {
		l.dense[i] = -1
	}
	for i, fd := range order {
		l.byName[fd.JSONName()] = i
		if int(fd.Number()) < size {
			l.dense[fd.Number()] = int16(i)
		} else {
			if l.far == nil {
				l.far = map[protowire.Number]int{}
			}
			l.far[fd.Number()] = i
		}
		if fd.Cardinality() == protoreflect.Required {
			l.required = append(l.required, i)
		}
		l.fields[i] = t.compileField(fd)
	}
	return l
}

func (t *types) compileField(fd protoreflect.FieldDescriptor) field {
	s := newStep(fd)
	f := field{
		fd:       fd,
		json:     fd.JSONName(),
		num:      s.num,
		kind:     fd.Kind(),
		wire:     s.wire,
		tag:      protowire.EncodeTag(s.num, s.wire),
		list:     fd.IsList(),
		isMap:    fd.IsMap(),
		packable: s.packable,
		packed:   fd.IsPacked(),
		presence: fd.HasPresence(),
		utf8:     enforcesUTF8(fd),
		required: fd.Cardinality() == protoreflect.Required,
		siblings: s.siblings,
	}
	if od := fd.ContainingOneof(); od != nil {
		f.oneof = od.Index() + 1
	}
	switch {
	case f.isMap:
		key, val := t.compileField(fd.MapKey()), t.compileField(fd.MapValue())
		f.key, f.val = &key, &val
	case fd.Message() != nil:
		f.msg = t.compile(fd.Message())
		f.null = f.msg.special == specialValue
	case fd.Enum() != nil:
		f.enum = t.compileEnum(fd.Enum())
		f.null = f.enum.isNull
	}
	return f
}

func (t *types) compileEnum(ed protoreflect.EnumDescriptor) *enum {
	if e := t.enums[ed]; e != nil {
		return e
	}
	e := &enum{ed: ed, isNull: ed.FullName() == "google.protobuf.NullValue", byName: map[string]int32{}, quoted: map[int32][]byte{}}
	t.enums[ed] = e
	values := ed.Values()
	for i := range values.Len() {
		v := values.Get(i)
		n := int32(v.Number())
		e.byName[string(v.Name())] = n
		if e.quoted[n] == nil { // of aliases the first one is the name
			e.quoted[n] = AppendJSONString(nil, []byte(v.Name()))
		}
	}
	for n := int32(0); e.quoted[n] != nil; n++ {
		e.dense = append(e.dense, e.quoted[n])
	}
	return e
}

// index is the index of the field with a number, or -1.
func (l *layout) index(num protowire.Number) int {
	if int(num) < len(l.dense) {
		return int(l.dense[num])
	}
	if i, ok := l.far[num]; ok {
		return i
	}
	return -1
}

// extKey is an extension by its number.
type extKey struct {
	message protoreflect.FullName
	num     protowire.Number
}

// extension finds the extension of a message by its number; nil if it is unknown.
func (t *types) extension(md protoreflect.MessageDescriptor, num protowire.Number) *field {
	key := extKey{md.FullName(), num}
	if f, ok := t.exts.Load(key); ok {
		known, _ := f.(*field)
		return known
	}
	if !md.ExtensionRanges().Has(num) {
		return nil
	}
	xt, err := t.resolver.FindExtensionByNumber(md.FullName(), num)
	if err != nil {
		return nil
	}
	f := t.field(xt.TypeDescriptor())
	t.exts.Store(key, f)
	return f
}

// extensionNamed finds an extension of a message by its full name; nil if it is unknown. foreign says that it is one of
// another message.
func (t *types) extensionNamed(md protoreflect.MessageDescriptor, name protoreflect.FullName) (f *field, foreign bool) {
	xt, err := t.resolver.FindExtensionByName(name)
	if err != nil {
		return nil, false
	}
	fd := xt.TypeDescriptor()
	if fd.ContainingMessage().FullName() != md.FullName() || !md.ExtensionRanges().Has(fd.Number()) {
		return nil, true
	}
	return t.extension(md, fd.Number()), false
}

// any finds the message type of a type URL; nil if it is unknown.
func (t *types) any(url string) *layout {
	name := url[strings.LastIndexByte(url, '/')+1:]
	if l, ok := t.anys.Load(name); ok {
		known, _ := l.(*layout)
		return known
	}
	mt, err := t.resolver.FindMessageByURL(url)
	if err != nil {
		return nil
	}
	l := t.layout(mt.Descriptor())
	t.anys.Store(name, l)
	return l
}

// enforcesUTF8 reports whether strings of a field must be UTF-8 on the wire: in proto3, and in editions unless a
// feature says otherwise.
func enforcesUTF8(fd protoreflect.FieldDescriptor) bool {
	if fd.Kind() != protoreflect.StringKind {
		return false
	}
	if x, ok := fd.(interface{ EnforceUTF8() bool }); ok {
		return x.EnforceUTF8()
	}
	return fd.ParentFile().Syntax() != protoreflect.Proto2
}

// sortedFields lists fields in the order of their numbers.
func sortedFields(fds protoreflect.FieldDescriptors) []protoreflect.FieldDescriptor {
	out := make([]protoreflect.FieldDescriptor, fds.Len())
	for i := range out {
		out[i] = fds.Get(i)
	}
	slices.SortFunc(out, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	return out
}
