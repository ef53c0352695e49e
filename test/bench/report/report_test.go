package report_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/test/bench/report"
)

func rows() []report.Row {
	return []report.Row{
		{"a.speedup", 8.123456, "x", report.AtLeast(7).Stretch(12)},
		{"b.allocs", 0, "allocs/op", report.Exactly(0)},
		{"b.cpu", 0.130001, "x", report.AtMost(0.125)},
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mark        report.Mark
		text        string
		met, missed float64
	}{
		{report.AtLeast(8), ">= 8", 8, 7.99},
		{report.AtLeast(7).Stretch(12), ">= 7 (stretch 12)", 7.5, 6},
		{report.AtMost(0.125), "<= 0.125", 0.125, 0.126},
		{report.Exactly(0), "0", 0, 1},
		{report.AtMost(2), "<= 2", 0, math.NaN()},
		{report.Mark{}, "", -1, math.NaN()},
	} {
		if got := c.mark.String(); got != c.text {
			t.Errorf("got %q, want %q", got, c.text)
		}
		if !c.mark.Met(c.met) || c.mark.Met(c.missed) {
			t.Errorf("%q: %v meets it: %t, %v does: %t", c.text, c.met, c.mark.Met(c.met), c.missed, c.mark.Met(c.missed))
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	if err := report.Table(&got, rows()); err != nil {
		t.Fatal(err)
	}
	want := `name       value  unit       mark               
a.speedup  8.123  x          >= 7 (stretch 12)  ok
b.allocs   0      allocs/op  0                  ok
b.cpu      0.13   x          <= 0.125           short
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if short := report.Short(rows()); len(short) != 1 || short[0].Name != "b.cpu" {
		t.Errorf("short: %v, want b.cpu", short)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := (report.Result{Rows: rows(), Details: "a detail\n"}).Write(dir, "demo", "on a machine"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `[
  {"name":"a.speedup","value":8.123,"unit":"x","mark":">= 7 (stretch 12)"},
  {"name":"b.allocs","value":0,"unit":"allocs/op","mark":"0"},
  {"name":"b.cpu","value":0.13,"unit":"x","mark":"<= 0.125"}
]
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !json.Valid(got) {
		t.Error("not JSON")
	}
	page, err := os.ReadFile(filepath.Join(dir, "demo.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"on a machine", "a detail", "a.speedup  8.123"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("%q is missing in\n%s", part, page)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("files: %v, error %v, want two", files, err)
	}
	if err := (report.Result{Rows: []report.Row{{Name: "x", Value: math.NaN()}}}).Write(dir, "demo", ""); err == nil {
		t.Error("a figure that is none was written")
	}
}

func TestSetting(t *testing.T) {
	t.Parallel()
	text := report.Setting(time.Date(2026, time.March, 1, 23, 0, 0, 0, time.UTC))
	for _, part := range []string{"2026-03-01", "cores of", runtime.Version()} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in %q", part, text)
		}
	}
}
