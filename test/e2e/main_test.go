// Package e2e_test runs Portico's programs as a user does and looks at them from outside, with real clients.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/portico-bff/portico/test/e2e/stack"
)

// programs are built when the first test asks for one.
var programs stack.Programs

func TestMain(m *testing.M) {
	code := m.Run()
	if err := programs.Clean(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// tool finds a program of the system. Without it the test is skipped, or fails where everything must be there.
func tool(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("PORTICO_REQUIRE_ALL") == "1" {
		t.Fatalf("%s is required: apt-get install %s", name, debian)
	}
	t.Skipf("%s is not installed: apt-get install %s", name, debian)
	return ""
}
