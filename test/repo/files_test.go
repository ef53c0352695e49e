package repo_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package.
const root = "../.."

// file is one file of the repository.
type file struct {
	path string // from the top, with slashes
	data []byte
}

// ours reports whether people write the file here: neither a program nor another project does.
func (f file) ours() bool {
	return !strings.HasPrefix(f.path, "protos/third_party/") &&
		!strings.HasPrefix(f.path, "protos/gen/") &&
		!strings.Contains(f.path, "/dist/") &&
		!strings.Contains(f.path, "/testdata/") &&
		!generated.Match(f.data)
}

// generated is the line that marks generated Go code.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// files returns all files that git tracks, or would if asked to add everything.
func files(t *testing.T) []file {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("PORTICO_REQUIRE_ALL") == "1" {
			t.Fatalf("git ls-files: %v", err)
		}
		t.Skipf("not a git checkout: git ls-files: %v", err)
	}
	var all []file
	for path := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(string(path))))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file{path: string(path), data: data})
	}
	if len(all) == 0 {
		t.Fatal("git knows no files")
	}
	return all
}
