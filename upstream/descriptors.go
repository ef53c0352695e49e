package upstream

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Descriptors is everything that the loaded files declare. It is immutable and safe for concurrent use.
type Descriptors struct {
	files    *protoregistry.Files
	types    *dynamicpb.Types
	services []string
	methods  map[string]*Method   // by "pkg.Service/Method"
	byName   map[string][]*Method // by service
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

// Set returns all files, each behind those that it imports, with their comments if they were loaded with any.
func (d *Descriptors) Set() *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	added := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if added[f.Path()] {
			return
		}
		added[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	var roots []protoreflect.FileDescriptor
	d.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		roots = append(roots, f)
		return true
	})
	slices.SortFunc(roots, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	for _, f := range roots {
		add(f)
	}
	return set
}

// Types resolves messages and extensions by name, for Any and extension fields.
func (d *Descriptors) Types() *dynamicpb.Types { return d.types }

func (d *Descriptors) addService(sd protoreflect.ServiceDescriptor) {
	name := string(sd.FullName())
	d.services = append(d.services, name)
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		path := "/" + name + "/" + string(md.Name())
		m := &Method{
			Name:            path[1:],
			path:            path,
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
