package repo_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// The top level is the first thing a reader sees, so it holds what is listed here,
// dotfiles, and nothing else.
func TestTopLevel(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"bff": true, "cmd": true, "mesh": true, "protos": true, "schema": true, "test": true, "upstream": true,
		"CHANGELOG.md": true, "LICENSE": true, "Makefile": true, "README.md": true,
		"docker-compose.yml": true, "go.mod": true, "go.sum": true,
	}
	unknown := map[string]bool{}
	for _, f := range files(t) {
		top, _, _ := strings.Cut(f.path, "/")
		if !allowed[top] && !strings.HasPrefix(top, ".") {
			unknown[top] = true
		}
	}
	for _, top := range slices.Sorted(maps.Keys(unknown)) {
		t.Errorf("%s does not belong at the top level", top)
	}
}
