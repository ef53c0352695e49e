package upstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// merger collects files of several sets.
type merger struct {
	protos   map[string]*descriptorpb.FileDescriptorProto
	from     map[string]origin // by file path
	order    []string
	served   map[string]bool // services that some source says there are
	mistakes []error
}

// origin is where a file came from.
type origin struct {
	name string
	path []string
}

func newMerger() *merger {
	return &merger{protos: map[string]*descriptorpb.FileDescriptorProto{}, from: map[string]origin{}, served: map[string]bool{}}
}

func (m *merger) add(err error) { m.mistakes = append(m.mistakes, err) }

// failed returns all mistakes, joined; nil if there are none.
func (m *merger) failed() error { return errors.Join(m.mistakes...) }

// set adds the files of one set, and all their services.
func (m *merger) set(set *descriptorpb.FileDescriptorSet, name string, path []string) {
	m.files(set, name, path)
	for _, f := range set.GetFile() {
		for _, s := range f.GetService() {
			m.served[strings.TrimPrefix(f.GetPackage()+"."+s.GetName(), ".")] = true
		}
	}
}

// listed adds what a server tells of itself. Its files may declare services that it does not have: only those count that
// it lists.
func (m *merger) listed(set *descriptorpb.FileDescriptorSet, services []string, name string, path []string) {
	m.files(set, name, path)
	for _, s := range services {
		m.served[s] = true
	}
}

// files adds the files of one set. Where sets have different versions of a well-known file, as compilers of different
// ages bring them, the one of this program is taken.
func (m *merger) files(set *descriptorpb.FileDescriptorSet, name string, path []string) {
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
	if err := m.failed(); err != nil {
		return nil, err
	}
	d.types = dynamicpb.NewTypes(d.files)
	d.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			if s := f.Services().Get(i); m.served[string(s.FullName())] {
				d.addService(s)
			}
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
