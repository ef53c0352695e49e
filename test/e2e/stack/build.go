// Package stack starts Portico's programs for end-to-end tests: it builds the commands once, runs them as real
// processes and stops them with the test.
//
// Start with [Demo], which runs everything on one machine, or with [Start] for a process of one's own.
package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// buildTimeout bounds the building of all commands with cold caches.
const buildTimeout = 15 * time.Minute

// Programs are the built commands. Its zero value builds when first asked.
type Programs struct {
	once sync.Once
	dir  string
	err  error
}

// Path is the executable of a command such as "bff". The first call builds all of them, with the race detector if the
// test itself has it.
func (p *Programs) Path(tb testing.TB, name string) string {
	tb.Helper()
	p.once.Do(func() { p.dir, p.err = build() })
	if p.err != nil {
		tb.Fatal(p.err)
	}
	return filepath.Join(p.dir, name)
}

// Clean removes what was built.
func (p *Programs) Clean() error {
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

func build() (string, error) {
	dir, err := os.MkdirTemp("", "portico-e2e-")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	args := []string{"build", "-o", dir + "/"}
	if raceEnabled {
		args = append(args, "-race")
	}
	//nolint:gosec // fixed arguments
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/bff", "./cmd/shop", "./cmd/demo")...)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return dir, nil
}

// Root is the top of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}
