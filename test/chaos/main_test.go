package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/node"
)

func TestMain(m *testing.M) {
	if code, ok := node.Main(); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// A line says what was measured and whether that will do; what is not measured will not.
func TestLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var r report
	figures := []figure.Figure{figure.Count("errors", 0, figure.Zero()), figure.Percent("failed", 1, 100, figure.Most(0.1))}
	for _, one := range []result{
		{name: "good", figures: figures[:1], ok: true, took: 1500 * time.Millisecond},
		{name: "not-good", figures: figures},
		{name: "broken", note: "a\nb"},
	} {
		r.add(one, &out)
	}
	want := `good                 ok     errors 0 (0)  [1.5 s]
not-good             short  errors 0 (0), failed 1 % (<= 0.1)  [0.0 s]
broken               short  a b  [0.0 s]
`
	if diff := cmp.Diff(want, out.String()); diff != "" || r.short != 2 {
		t.Error(diff, r.short)
	}
	dir := filepath.Join(t.TempDir(), "results")
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "chaos.json"))
	if err != nil || !strings.Contains(string(text), `{"name":"chaos.not_good.failed","value":1,"unit":"%","mark":"<= 0.1"}`) {
		t.Errorf("%v, %s", err, text)
	}
	page, err := os.ReadFile(filepath.Join(dir, "chaos.md"))
	if err != nil || !strings.Contains(string(page), want) {
		t.Errorf("%v, %s", err, page)
	}
}

// A run of some scenarios says so by its status, and writes no results.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-run", "^refused$", "-brief", "-out", dir}, &out, io.Discard); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(out.String(), "refused              ok     wrong decisions 0 (0)") {
		t.Errorf("said %q", out.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("wrote %v, %v", left, err)
	}
	for _, args := range [][]string{{"-run", "nothing"}, {"-run", "("}, {"-x"}} {
		if err := run(t.Context(), args, &out, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
