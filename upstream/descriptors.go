package upstream

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Descriptors is everything that the loaded descriptor sets declare. It is immutable and safe for concurrent use.
type Descriptors struct {
	files    *protoregistry.Files
	types    *dynamicpb.Types
	services []string
	methods  map[string]*Method   // by "pkg.Service/Method"
	byName   map[string][]*Method // by service
}

// DescriptorSource says where descriptors come from.
type DescriptorSource struct {
	// Set is a file with a serialized google.protobuf.FileDescriptorSet, as `buf build -o` and
	// `protoc --descriptor_set_out --include_imports` write it.
	Set string `yaml:"set" json:"set,omitempty" jsonschema_description:"A file with a serialized google.protobuf.FileDescriptorSet."`
}

// ResolvePaths replaces every relative file path in s by what rel makes of it.
func (s *DescriptorSource) ResolvePaths(rel func(string) string) {
	if s.Set != "" {
		s.Set = rel(s.Set)
	}
}

// Load reads all sources and merges them. A file or a symbol that two sources declare differently is a mistake that
// names both. The error holds a [mistake.Mistake] for everything that is wrong, at paths like ["0", "set"].
func Load(sources []DescriptorSource) (*Descriptors, error) {
	if len(sources) == 0 {
		return nil, &mistake.Mistake{What: "no descriptors", Expected: "a list such as [{set: services.binpb}]"}
	}
	m := newMerger()
	for i, s := range sources {
		path := []string{strconv.Itoa(i), "set"}
		if s.Set == "" {
			m.add(&mistake.Mistake{Path: path[:1], What: "a source without set", Expected: "set: FILE"})
			continue
		}
		data, err := os.ReadFile(s.Set)
		if err != nil {
			m.add(&mistake.Mistake{Path: path, What: "cannot read the descriptor set: " + err.Error(), Err: err})
			continue
		}
		set := new(descriptorpb.FileDescriptorSet)
		if err := proto.Unmarshal(data, set); err != nil {
			m.add(&mistake.Mistake{Path: path, What: s.Set + " is no descriptor set: " + err.Error(), Err: err})
			continue
		}
		if len(set.GetFile()) == 0 {
			m.add(&mistake.Mistake{Path: path, What: "the descriptor set " + s.Set + " is empty"})
			continue
		}
		m.set(set, s.Set, path)
	}
	return m.build()
}

// FromFiles makes Descriptors of one descriptor set; name stands for it in errors.
func FromFiles(set *descriptorpb.FileDescriptorSet, name string) (*Descriptors, error) {
	m := newMerger()
	m.set(set, name, nil)
	return m.build()
}

// Method returns the method called "package.Service/Method".
func (d *Descriptors) Method(name string) (*Method, bool) {
	m, ok := d.methods[name]
	return m, ok
}

// Methods returns the methods of a service in the order of their declaration; nil if the service is unknown. The
// slice must not be changed.
func (d *Descriptors) Methods(service string) []*Method { return d.byName[service] }

// Services returns the full names of all services, sorted. The slice must not be changed.
func (d *Descriptors) Services() []string { return d.services }

// Message returns the message called name.
func (d *Descriptors) Message(name protoreflect.FullName) (protoreflect.MessageDescriptor, bool) {
	found, err := d.files.FindDescriptorByName(name)
	if err != nil {
		return nil, false
	}
	md, ok := found.(protoreflect.MessageDescriptor)
	return md, ok
}

// Files returns the registry of all files. It must not be changed.
func (d *Descriptors) Files() *protoregistry.Files { return d.files }

// Types resolves messages and extensions by name, for Any and extension fields.
func (d *Descriptors) Types() *dynamicpb.Types { return d.types }

// merger collects files of several sets.
type merger struct {
	protos   map[string]*descriptorpb.FileDescriptorProto
	from     map[string]origin // by file path
	order    []string
	mistakes []error
}

// origin is where a file came from.
type origin struct {
	name string
	path []string
}

func newMerger() *merger {
	return &merger{protos: map[string]*descriptorpb.FileDescriptorProto{}, from: map[string]origin{}}
}

func (m *merger) add(err error) { m.mistakes = append(m.mistakes, err) }

// set adds the files of one set. Where sets have different versions of a well-known file, as compilers of different
// ages bring them, the one of this program is taken.
func (m *merger) set(set *descriptorpb.FileDescriptorSet, name string, path []string) {
	for _, f := range set.GetFile() {
		from, known := m.from[f.GetName()]
		if !known {
			m.protos[f.GetName()] = f
			m.from[f.GetName()] = origin{name, path}
			m.order = append(m.order, f.GetName())
			continue
		}
		old := m.protos[f.GetName()]
		switch {
		case old == nil || sameFile(old, f):
		case wellKnown(f.GetName()):
			delete(m.protos, f.GetName())
		default:
			m.add(&mistake.Mistake{Path: path, What: fmt.Sprintf("%s and %s declare the file %q differently", from.name, name, f.GetName())})
		}
	}
}

// sameFile compares two files without their comments, which some compilers leave out.
func sameFile(a, b *descriptorpb.FileDescriptorProto) bool {
	if proto.Equal(a, b) {
		return true
	}
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	a.SourceCodeInfo, b.SourceCodeInfo = nil, nil
	return proto.Equal(a, b)
}

// build links all files.
func (m *merger) build() (*Descriptors, error) {
	d := &Descriptors{
		files:   new(protoregistry.Files),
		methods: map[string]*Method{},
		byName:  map[string][]*Method{},
	}
	state := map[string]int{}
	for _, name := range m.order {
		m.link(d.files, name, state)
	}
	if len(m.mistakes) > 0 {
		return nil, errors.Join(m.mistakes...)
	}
	d.types = dynamicpb.NewTypes(d.files)
	d.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			d.addService(f.Services().Get(i))
		}
		return true
	})
	slices.Sort(d.services)
	return d, nil
}

// The states of a file in [merger.link].
const (
	linking = 1 + iota
	linked
	broken
)

// link registers the file and all it imports, imports first, and reports whether that worked.
func (m *merger) link(files *protoregistry.Files, name string, state map[string]int) bool {
	switch state[name] {
	case linked:
		return true
	case linking:
		m.add(mistake.At(fmt.Sprintf("the file %q imports itself", name), m.from[name].path...))
		return false
	case broken:
		return false
	}
	state[name] = linking
	f, ok := m.protos[name]
	if !ok {
		return m.complete(files, name, state)
	}
	good := true
	for _, dep := range f.GetDependency() {
		if m.protos[dep] == nil && !wellKnown(dep) {
			good = false
			m.add(&mistake.Mistake{Path: m.from[name].path, What: fmt.Sprintf("%s: %q imports %q, which is in no set",
				m.from[name].name, name, dep), Expected: "sets with all imports, as --include_imports makes them"})
			continue
		}
		good = m.link(files, dep, state) && good
	}
	if good {
		good = m.register(files, f)
	}
	state[name] = broken
	if good {
		state[name] = linked
	}
	return good
}

// register builds the descriptor of a file whose imports are all linked.
func (m *merger) register(files *protoregistry.Files, f *descriptorpb.FileDescriptorProto) bool {
	from := m.from[f.GetName()]
	fd, err := protodesc.NewFile(f, files)
	if err != nil {
		m.add(&mistake.Mistake{Path: from.path, What: from.name + ": " + err.Error(), Err: err})
		return false
	}
	if other, symbol, ok := conflict(files, fd); ok {
		who := from.name
		if o, known := m.from[other]; known && o.name != who {
			who = o.name + " and " + who
		}
		m.add(mistake.At(fmt.Sprintf("%s declare %q twice, in the files %q and %q", who, symbol, other, f.GetName()), from.path...))
		return false
	}
	if err := files.RegisterFile(fd); err != nil {
		m.add(&mistake.Mistake{Path: from.path, What: from.name + ": " + err.Error(), Err: err})
		return false
	}
	return true
}

// complete takes a well-known file that no set carries from those compiled into this program.
func (m *merger) complete(files *protoregistry.Files, name string, state map[string]int) bool {
	fd, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err == nil {
		imports := fd.Imports()
		for i := range imports.Len() {
			if !m.link(files, imports.Get(i).Path(), state) {
				state[name] = broken
				return false
			}
		}
		err = files.RegisterFile(fd)
	}
	if err != nil {
		m.add(&mistake.Mistake{What: fmt.Sprintf("%q is imported but in no set: %v", name, err), Err: err})
		state[name] = broken
		return false
	}
	state[name] = linked
	return true
}

// conflict finds a top-level symbol of fd that another registered file declares.
func conflict(files *protoregistry.Files, fd protoreflect.FileDescriptor) (file string, symbol protoreflect.FullName, ok bool) {
	check := func(d protoreflect.Descriptor) {
		if ok {
			return
		}
		if other, err := files.FindDescriptorByName(d.FullName()); err == nil {
			file, symbol, ok = other.ParentFile().Path(), d.FullName(), true
		}
	}
	for i := range fd.Messages().Len() {
		check(fd.Messages().Get(i))
	}
	for i := range fd.Enums().Len() {
		check(fd.Enums().Get(i))
		for j := range fd.Enums().Get(i).Values().Len() {
			check(fd.Enums().Get(i).Values().Get(j))
		}
	}
	for i := range fd.Services().Len() {
		check(fd.Services().Get(i))
	}
	for i := range fd.Extensions().Len() {
		check(fd.Extensions().Get(i))
	}
	return file, symbol, ok
}

func (d *Descriptors) addService(sd protoreflect.ServiceDescriptor) {
	name := string(sd.FullName())
	d.services = append(d.services, name)
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		m := &Method{
			Name:            name + "/" + string(md.Name()),
			Desc:            md,
			Input:           md.Input(),
			Output:          md.Output(),
			ClientStreaming: md.IsStreamingClient(),
			ServerStreaming: md.IsStreamingServer(),
		}
		if o, ok := md.Options().(*descriptorpb.MethodOptions); ok {
			switch o.GetIdempotencyLevel() {
			case descriptorpb.MethodOptions_NO_SIDE_EFFECTS:
				m.Idempotency = NoSideEffects
			case descriptorpb.MethodOptions_IDEMPOTENT:
				m.Idempotency = Idempotent
			case descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN:
			}
		}
		d.methods[m.Name] = m
		d.byName[name] = append(d.byName[name], m)
	}
}
