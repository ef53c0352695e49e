package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Bounds on what is compiled.
const (
	maxProtoFiles  = 10_000
	maxProtoSize   = 4 << 20
	maxProtoErrors = 100
)

// ProtoError is one thing that is wrong in a proto file, at a place.
type ProtoError struct {
	// File is the file's path on disk. Line and Column count from 1; they are 0 if the whole file is wrong.
	File         string
	Line, Column int
	// What says what is wrong.
	What string
}

// Error is "file:line:col: what".
func (e *ProtoError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.What
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// compiledProtos is what became of a folder.
type compiledProtos struct {
	set *descriptorpb.FileDescriptorSet
	// unresolved reports that an import was not found.
	unresolved bool
}

// compile compiles the files of a source with Protos. What its folders do not hold is taken from known files. Every
// mistake in a proto file has a [ProtoError] as its cause.
func (s *DescriptorSource) compile(ctx context.Context, known map[string]*descriptorpb.FileDescriptorProto) (compiledProtos, error) {
	names, err := s.protoFiles()
	if err != nil {
		return compiledProtos{}, err
	}
	resolver := &protoResolver{dirs: append([]string{s.Protos}, s.Imports...), known: known, paths: map[string]string{}}
	c := protoCompiler{resolver: resolver}
	files, err := c.compile(ctx, names)
	out := compiledProtos{unresolved: resolver.failed()}
	if c.aborted || out.unresolved {
		// An import that is missing or goes in a circle ends the work at once. Each file by itself shows them all.
		for _, name := range names[:min(len(names), maxProtoErrors)] {
			if _, err := c.compile(ctx, []string{name}); err != nil && len(c.found) >= maxProtoErrors {
				break
			}
		}
	}
	if len(c.found) > 0 {
		return out, protoMistakes(c.found)
	}
	if err != nil {
		return out, &mistake.Mistake{Path: []string{"protos"}, What: "cannot compile " + s.Protos + ": " + err.Error(), Err: err}
	}
	out.set, err = compiledSet(files)
	return out, err
}

// protoCompiler compiles files and gathers what is wrong with them.
type protoCompiler struct {
	resolver *protoResolver
	found    []*ProtoError
	aborted  bool // something was wrong that kept other mistakes from being found
}

func (c *protoCompiler) compile(ctx context.Context, names []string) (linker.Files, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(c.resolver),
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter: reporter.NewReporter(func(err reporter.ErrorWithPos) error {
			c.add(err)
			if len(c.found) >= maxProtoErrors {
				return err
			}
			return nil
		}, nil),
	}
	files, err := compiler.Compile(ctx, names...)
	if placed, ok := errors.AsType[reporter.ErrorWithPos](err); ok && len(c.found) < maxProtoErrors {
		c.aborted = true
		c.add(placed)
	}
	return files, err
}

func (c *protoCompiler) add(err reporter.ErrorWithPos) {
	at := err.GetPosition()
	c.found = append(c.found, &ProtoError{
		File: c.resolver.path(at.Filename), Line: at.Line, Column: at.Col,
		What: strings.TrimPrefix(err.Unwrap().Error(), "syntax error: "),
	})
}

// protoMistakes makes a mistake of every error, in the order of their places.
func protoMistakes(found []*ProtoError) error {
	slices.SortStableFunc(found, func(a, b *ProtoError) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return (a.Line-b.Line)*1000 + min(a.Column-b.Column, 999)
	})
	var errs []error
	for i, e := range found {
		if i == 0 || *e != *found[i-1] {
			errs = append(errs, &mistake.Mistake{Path: []string{"protos"}, What: e.Error(), Err: e})
		}
	}
	return errors.Join(errs...)
}

// compiledSet gathers files and all they import, but for what came from this program.
func compiledSet(files linker.Files) (*descriptorpb.FileDescriptorSet, error) {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(f linker.File) error
	add = func(f linker.File) error {
		if f == nil || seen[f.Path()] {
			return nil
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			if err := add(f.FindImportByPath(f.Imports().Get(i).Path())); err != nil {
				return err
			}
		}
		result, ok := f.(linker.Result)
		if !ok {
			return nil
		}
		// Options are dynamic messages here. Encoding and decoding makes them what they are in descriptor sets.
		data, err := proto.Marshal(result.FileDescriptorProto())
		if err != nil {
			return fmt.Errorf("encode the descriptor of %s: %w", f.Path(), err)
		}
		fd := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(data, fd); err != nil {
			return fmt.Errorf("decode the descriptor of %s: %w", f.Path(), err)
		}
		set.File = append(set.File, fd)
		return nil
	}
	for _, f := range files {
		if err := add(f); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// protoFiles lists the files to compile, as imports would name them.
func (s *DescriptorSource) protoFiles() ([]string, error) {
	var names []string
	used := make([]bool, len(s.Files))
	err := filepath.WalkDir(s.Protos, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.Protos, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := rel != "." && strings.HasPrefix(d.Name(), ".")
			if hidden || slices.ContainsFunc(s.Imports, func(dir string) bool { return rel != "." && samePath(dir, name) }) {
				return filepath.SkipDir
			}
			return nil
		}
		if path.Ext(rel) != ".proto" || !s.wanted(rel, used) {
			return nil
		}
		if len(names) == maxProtoFiles {
			return fmt.Errorf("there are more than %d proto files", maxProtoFiles)
		}
		names = append(names, rel)
		return nil
	})
	if err != nil {
		return nil, &mistake.Mistake{Path: []string{"protos"}, What: fmt.Sprintf("cannot read the proto files in %s: %v", s.Protos, err), Err: err}
	}
	var errs []error
	for i, pattern := range s.Files {
		if !used[i] {
			errs = append(errs, mistake.At(fmt.Sprintf("no proto file in %s fits %q", s.Protos, pattern), "files", strconv.Itoa(i)))
		}
	}
	for i, dir := range s.Imports {
		if info, err := os.Stat(dir); err != nil {
			errs = append(errs, &mistake.Mistake{Path: []string{"imports", strconv.Itoa(i)}, What: err.Error(), Err: err})
		} else if !info.IsDir() {
			errs = append(errs, mistake.At(dir+" is no folder", "imports", strconv.Itoa(i)))
		}
	}
	if len(names) == 0 && len(errs) == 0 {
		errs = append(errs, mistake.At("there are no .proto files in "+s.Protos, "protos"))
	}
	return names, errors.Join(errs...)
}

func samePath(a, b string) bool { return filepath.Clean(a) == filepath.Clean(b) }

// wanted reports whether a pattern of Files fits a file, and notes which; without patterns every file is wanted.
func (s *DescriptorSource) wanted(name string, used []bool) bool {
	wanted := len(s.Files) == 0
	for i, pattern := range s.Files {
		if matchPath(strings.Split(pattern, "/"), strings.Split(name, "/")) {
			used[i], wanted = true, true
		}
	}
	return wanted
}

// matchPath matches a path by segments; the pattern ** stands for any number of them.
func matchPath(pattern, name []string) bool {
	for len(pattern) > 0 && pattern[0] != "**" {
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	if len(pattern) == 0 {
		return len(name) == 0
	}
	for i := range len(name) + 1 {
		if matchPath(pattern[1:], name[i:]) {
			return true
		}
	}
	return false
}

// protoResolver finds imports: in folders, in other sources, in this program. Compilers call it from many goroutines.
type protoResolver struct {
	dirs  []string
	known map[string]*descriptorpb.FileDescriptorProto

	// mu guards what follows.
	mu      sync.Mutex
	paths   map[string]string // where files were found
	missing bool
}

var _ protocompile.Resolver = (*protoResolver)(nil)

// FindFileByPath finds a file by the name that imports use.
func (r *protoResolver) FindFileByPath(name string) (protocompile.SearchResult, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return protocompile.SearchResult{}, fmt.Errorf("%q leads out of the import folders", name)
	}
	for _, dir := range r.dirs {
		at := filepath.Join(dir, filepath.FromSlash(name))
		text, err := readProto(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return protocompile.SearchResult{}, err
		}
		r.mu.Lock()
		r.paths[name] = at
		r.mu.Unlock()
		return protocompile.SearchResult{Source: bytes.NewReader(text)}, nil
	}
	if fd := r.known[name]; fd != nil {
		return protocompile.SearchResult{Proto: fd}, nil
	}
	if wellKnown(name) {
		fd, err := protoregistry.GlobalFiles.FindFileByPath(name)
		return protocompile.SearchResult{Desc: fd}, err
	}
	if !strings.HasPrefix(name, "google/protobuf/") { // those are the compiler's own
		r.mu.Lock()
		r.missing = true
		r.mu.Unlock()
	}
	return protocompile.SearchResult{}, fmt.Errorf("%q is in none of %s", name, strings.Join(r.dirs, ", "))
}

func readProto(name string) (text []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, maxProtoSize+1))
	if err == nil && len(text) > maxProtoSize {
		err = fmt.Errorf("%s is over %d bytes", name, maxProtoSize)
	}
	return text, err
}

// path is where a file is on disk; its name if it is not.
func (r *protoResolver) path(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.paths[name]; ok {
		return at
	}
	return name
}

func (r *protoResolver) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missing
}
