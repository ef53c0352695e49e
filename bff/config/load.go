package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// maxFile bounds the configuration file.
const maxFile = 4 << 20

// File is a configuration that was read from a file.
type File struct {
	// Path is the file's name as it was given.
	Path string
	// Config is what it says, with defaults filled in and paths relative to the file's folder resolved.
	Config Config

	doc    *document
	lookup LookupFunc
}

// Again reads the file once more, as [Load] did, with the same environment.
func (f *File) Again() (*File, error) { return Load(f.Path, f.lookup) }

// Load reads a configuration file. Environment variables come from lookup alone. The error is of type [Problems] if
// the content is wrong: everything that can be told without looking at other files, all at once.
func Load(path string, lookup LookupFunc) (*File, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, lookup)
}

// Parse is [Load] for a text that is at hand; path names it in messages and is where relative paths begin.
func Parse(path string, text []byte, lookup LookupFunc) (*File, error) {
	doc, err := parse(path, text)
	if err != nil {
		return nil, err
	}
	problems := doc.expand(lookup)
	if err := doc.validate(); err != nil {
		found, ok := errors.AsType[Problems](err)
		if !ok {
			return nil, err
		}
		for _, p := range found {
			// What stands in the place of a variable without a value is no mistake of its own.
			if !slices.ContainsFunc(problems, func(q Problem) bool { return p.Line == q.Line && p.Col == q.Col }) {
				problems = append(problems, p)
			}
		}
	}
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	f := &File{Path: path, doc: doc, lookup: lookup}
	if err := doc.decode(&f.Config); err != nil {
		return nil, err
	}
	if problems := doc.locate(f.Config.validate()); len(problems) > 0 {
		return nil, problems
	}
	for i := range f.Config.HTTP.Rules {
		f.Config.HTTP.Rules[i].At = doc.where("http", "rules", strconv.Itoa(i))
	}
	f.Config.choose()
	f.Config.defaults()
	dir := filepath.Dir(path)
	f.Config.resolvePaths(func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	})
	return f, nil
}

// Locate finds the places of mistakes that a package has found in its section (see package mistake). The result is
// nil if err is, and of type [Problems] otherwise.
func (f *File) Locate(err error) error {
	if problems := f.doc.locate(err); len(problems) > 0 {
		return problems
	}
	return nil
}

func readBounded(path string) (text []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is over %d bytes", path, maxFile)
	}
	return text, nil
}
