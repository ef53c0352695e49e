package repo_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// Past so many lines a file holds a second idea.
const maxLines = 700

func TestFileLength(t *testing.T) {
	t.Parallel()
	for _, f := range files(t) {
		if !strings.HasSuffix(f.path, ".go") || !f.ours() {
			continue
		}
		if n := bytes.Count(f.data, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: look for the second idea in it", f.path, n, maxLines)
		}
	}
}

func TestPackageComments(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{} // by folder
	for _, f := range files(t) {
		if !strings.HasSuffix(f.path, ".go") || strings.HasSuffix(f.path, "_test.go") || !f.ours() {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.data, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		folder := path.Dir(f.path)
		documented[folder] = documented[folder] || parsed.Doc != nil
	}
	for _, folder := range slices.Sorted(maps.Keys(documented)) {
		if !documented[folder] {
			t.Errorf("package %s has no package comment", folder)
		}
	}
}
