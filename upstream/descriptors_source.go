package upstream

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// DescriptorSource says where descriptors come from: exactly one of Set, Protos and Reflect. The other fields belong to
// one of them.
type DescriptorSource struct {
	// Set is a file with a serialized google.protobuf.FileDescriptorSet, as `buf build -o` and
	// `protoc --descriptor_set_out --include_imports` write it.
	Set string `yaml:"set" json:"set,omitempty" jsonschema_description:"A file with a serialized google.protobuf.FileDescriptorSet."`
	// Protos is a folder with .proto files, which are compiled. Imports are looked up from there, too.
	Protos string `yaml:"protos" json:"protos,omitempty" jsonschema_description:"A folder with .proto files; imports are looked up from there, too."`
	// Imports are more folders in which the files of Protos find what they import. If they are below Protos, their
	// files are compiled only where they are imported.
	Imports []string `yaml:"imports" json:"imports,omitempty" jsonschema_description:"With protos: more folders in which imports are looked up."`
	// Files are the files of Protos to compile, as patterns relative to it; all files below it if empty. A ** stands
	// for any number of folders.
	Files []string `yaml:"files" json:"files,omitempty" jsonschema_description:"With protos: which files to compile, as patterns such as shop/**/*.proto; by default all."`
	// Reflect is a gRPC target, such as dns:///orders:7000, whose server describes its services itself (gRPC Server
	// Reflection, version v1). It is asked at each start.
	Reflect string `yaml:"reflect" json:"reflect,omitempty" jsonschema_description:"A gRPC target such as dns:///orders:7000 whose server describes its services itself (server reflection v1)."`
	// TLS is how the connection to Reflect is secured. It must be stated.
	TLS TLS `yaml:"tls" json:"tls,omitzero" jsonschema_description:"With reflect: how the connection is secured: {mesh: {identity: SPIFFE-ID}}, system, {ca: FILE, server_name: NAME} or none."`
	// Metadata is sent along to Reflect.
	Metadata map[string]string `yaml:"metadata" json:"metadata,omitempty" jsonschema_description:"With reflect: headers to send along."`
	// Timeout is how long Reflect may take to come up and to answer everything; 10s if zero.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty" jsonschema_description:"With reflect: how long the server may take to come up and to answer; 10s by default."`
}

// ResolvePaths replaces every relative file path in s by what rel makes of it.
func (s *DescriptorSource) ResolvePaths(rel func(string) string) {
	for _, p := range []*string{&s.Set, &s.Protos, &s.TLS.CA} {
		if *p != "" {
			*p = rel(*p)
		}
	}
	for i := range s.Imports {
		s.Imports[i] = rel(s.Imports[i])
	}
}

// Online reports whether loading s dials.
func (s *DescriptorSource) Online() bool { return s.Reflect != "" }

// check reports keys that are missing, exclude each other or belong to another kind of source.
func (s *DescriptorSource) check() []error {
	var errs []error
	kinds := map[string]bool{"set": s.Set != "", "protos": s.Protos != "", "reflect": s.Reflect != ""}
	maps.DeleteFunc(kinds, func(_ string, is bool) bool { return !is })
	if len(kinds) != 1 {
		what := "a source without set, protos or reflect"
		if len(kinds) > 1 {
			what = strings.Join(slices.Sorted(maps.Keys(kinds)), " and ") + " exclude each other"
		}
		return []error{&mistake.Mistake{What: what, Expected: "one of {set: FILE}, {protos: DIR} and {reflect: TARGET}"}}
	}
	belongs := func(key, kind string, there bool) {
		if there && !kinds[kind] {
			errs = append(errs, &mistake.Mistake{Path: []string{key}, Key: true, What: fmt.Sprintf("%s is for a source with %s", key, kind)})
		}
	}
	belongs("imports", "protos", len(s.Imports) > 0)
	belongs("files", "protos", len(s.Files) > 0)
	belongs("tls", "reflect", s.TLS != TLS{})
	belongs("metadata", "reflect", len(s.Metadata) > 0)
	belongs("timeout", "reflect", s.Timeout != 0)
	if s.Online() {
		errs = append(errs, s.checkReflect()...)
	}
	return errs
}

// Load reads sources that are files and merges them. A file or a symbol that two sources declare differently is a
// mistake that names both. The error holds a [mistake.Mistake] for everything that is wrong, at paths like
// ["0", "set"]; a source that has to be asked is a mistake, too.
func Load(sources []DescriptorSource) (*Descriptors, error) {
	l := &loader{}
	l.files(sources)
	for _, i := range l.skipped {
		l.merger.add(mistake.At("needs a connection", strconv.Itoa(i), "reflect"))
	}
	return l.finish(context.Background(), sources)
}

// LoadOnline is [Load] for sources of all kinds. It asks servers that reflect, those in the mesh through mesh, which may
// be nil if there are none; opts are added to every connection. What is loaded is a snapshot: call it again to have
// what the files and servers say by then.
func LoadOnline(ctx context.Context, sources []DescriptorSource, mesh Dialer, opts ...grpc.DialOption) (*Descriptors, error) {
	l := &loader{}
	l.files(sources)
	for _, i := range l.skipped {
		s, path := &sources[i], []string{strconv.Itoa(i)}
		set, services, err := s.reflect(ctx, mesh, opts)
		if err != nil {
			l.merger.add(mistake.In(err, path...))
			continue
		}
		l.merger.listed(set, services, "the reflection of "+s.Reflect, append(path, "reflect"))
	}
	l.skipped = nil
	return l.finish(ctx, sources)
}

// LoadOffline is [LoadOnline] without a connection: it checks sources that reflect but skips them, and returns their
// indices. If it skips any, what it could load would be incomplete, so it returns no descriptors.
func LoadOffline(ctx context.Context, sources []DescriptorSource) (d *Descriptors, skipped []int, err error) {
	l := &loader{}
	l.files(sources)
	d, err = l.finish(ctx, sources)
	return d, l.skipped, err
}

// loader gathers the files of sources. Sources that are compiled come last, since they may import files of the others.
type loader struct {
	merger  *merger
	skipped []int // sources that reflect
	protos  []int // sources that are compiled
}

// files checks all sources and reads the descriptor sets.
func (l *loader) files(sources []DescriptorSource) {
	l.merger = newMerger()
	if len(sources) == 0 {
		l.merger.add(&mistake.Mistake{What: "no descriptors", Expected: "a list such as [{set: services.binpb}]"})
	}
	for i := range sources {
		s, path := &sources[i], []string{strconv.Itoa(i)}
		if errs := s.check(); len(errs) > 0 {
			for _, err := range errs {
				l.merger.add(mistake.In(err, path...))
			}
			continue
		}
		switch {
		case s.Reflect != "":
			l.skipped = append(l.skipped, i)
		case s.Protos != "":
			l.protos = append(l.protos, i)
		default:
			set, err := readSet(s.Set)
			if err != nil {
				l.merger.add(mistake.In(err, append(path, "set")...))
				continue
			}
			l.merger.set(set, s.Set, append(path, "set"))
		}
	}
}

// finish compiles what is to be compiled and links everything, unless something was skipped.
func (l *loader) finish(ctx context.Context, sources []DescriptorSource) (*Descriptors, error) {
	for _, i := range l.protos {
		s, path := &sources[i], []string{strconv.Itoa(i)}
		compiled, err := s.compile(ctx, l.merger.protos)
		switch {
		case err != nil && len(l.skipped) > 0 && compiled.unresolved:
			// What is missing may be what a server would have told.
		case err != nil:
			l.merger.add(mistake.In(err, path...))
		default:
			l.merger.set(compiled.set, s.Protos, append(path, "protos"))
		}
	}
	if len(l.skipped) > 0 {
		return nil, l.merger.failed()
	}
	return l.merger.build()
}

// maxSet bounds a descriptor set.
const maxSet = 256 << 20

func readSet(name string) (*descriptorpb.FileDescriptorSet, error) {
	info, err := os.Stat(name)
	var data []byte
	switch {
	case err != nil:
	case info.Size() > maxSet:
		return nil, mistake.At(fmt.Sprintf("the descriptor set %s is over %d bytes", name, maxSet))
	default:
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, &mistake.Mistake{What: "cannot read the descriptor set: " + err.Error(), Err: err}
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, &mistake.Mistake{What: name + " is no descriptor set: " + err.Error(), Err: err}
	}
	if len(set.GetFile()) == 0 {
		return nil, mistake.At("the descriptor set " + name + " is empty")
	}
	return set, nil
}
