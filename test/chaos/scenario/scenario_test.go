package scenario_test

import (
	"os"
	"testing"

	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
	"github.com/portico-bff/portico/test/chaos/scenario"
)

func TestMain(m *testing.M) {
	if code, ok := node.Main(); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// The quick scenarios in brief, with everything but the time that things take: that says
// nothing on a machine where other tests run.
func TestQuick(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenario.All() {
		if !s.Quick {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			l, err := lab.New(program)
			if err != nil {
				t.Fatal(err)
			}
			l.Brief = true
			figures, err := s.Run(t.Context(), l)
			if err != nil {
				t.Error(err)
			}
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if len(figures) == 0 {
				t.Error("no figures")
			}
			for _, f := range figures {
				if !f.Timed && !f.Met() {
					t.Error(f)
				}
			}
		})
	}
}
