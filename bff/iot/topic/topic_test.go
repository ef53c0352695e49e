package topic_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/bff/iot/topic"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in           string
		name, filter bool
	}{
		{"a", true, true},
		{"boxes/box-0001/telemetry", true, true},
		{"a/ü/Ω", true, true},
		{strings.Repeat("x", 256), true, true},
		{strings.Repeat("x", 257), false, false},
		{"", false, false},
		{"/", false, false},
		{"a/", false, false},
		{"/a", false, false},
		{"a//b", false, false},
		{"#", false, true},
		{"+", false, true},
		{"a/+/b", false, true},
		{"a/#", false, true},
		{"a/#/b", false, false},
		{"a#", false, false},
		{"a/+x", false, false},
		{"$SYS/x", false, false},
		{"$share/g/a", false, false},
		{"a.b", false, false},
		{"a*", false, false},
		{"a>", false, false},
		{"a b", false, false},
		{"a\tb", false, false},
		{"a\u00a0b", false, false},
		{"a\x00", false, false},
		{"a\u0085", false, false},
		{"a\xff", false, false},
		{"\ufeffa", false, false},
		{strings.Repeat("a/", 30000) + "a", false, false},
	}
	for _, tt := range tests {
		for what, got := range map[string]error{"name": topic.CheckName(tt.in), "filter": topic.CheckFilter(tt.in)} {
			want := tt.name
			if what == "filter" {
				want = tt.filter
			}
			if (got == nil) != want || got != nil && !errors.Is(got, topic.ErrInvalid) {
				t.Errorf("%s %.40q: %v", what, tt.in, got)
			}
		}
	}
	for _, in := range []string{"", "a/b", "#", "$x", "a.b", strings.Repeat("x", 300)} {
		if topic.CheckLevel(in) == nil {
			t.Errorf("level %.40q passes", in)
		}
	}
}

// filters are for tables that compare every one with every other.
func filters() []string {
	return []string{"#", "+", "+/#", "+/+", "a", "a/#", "a/+", "a/b", "a/b/#", "a/+/#", "a/+/c", "a/b/c", "+/b/c", "b", "b/c", "b/#"}
}

func names() []string {
	return []string{"a", "b", "c", "a/b", "a/c", "b/c", "b/b", "a/b/c", "a/b/d", "a/c/c", "b/b/c", "a/b/c/d", "x/y/z/w"}
}

// matches is the definition in section 4.7 of the specification, kept simple.
func matches(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i == len(n):
			return false
		case level != "+" && level != n[i]:
			return false
		case i == len(f)-2 && f[i+1] == "#" && i == len(n)-1:
			return true
		}
	}
	return len(f) == len(n)
}

// Covers and Overlap agree with what the filters match. The names are enough to tell the filters apart.
func TestCoversAndOverlap(t *testing.T) {
	t.Parallel()
	for _, a := range filters() {
		for _, b := range filters() {
			covers, overlap := true, false
			for _, n := range names() {
				if matches(b, n) && !matches(a, n) {
					covers = false
				}
				if matches(a, n) && matches(b, n) {
					overlap = true
				}
			}
			if got := topic.Covers(a, b); got != covers {
				t.Errorf("Covers(%q, %q) = %v", a, b, got)
			}
			if got := topic.Overlap(a, b); got != overlap {
				t.Errorf("Overlap(%q, %q) = %v", a, b, got)
			}
		}
		for _, n := range names() {
			if got, want := topic.Covers(a, n), matches(a, n); got != want {
				t.Errorf("Covers(%q, %q) = %v", a, n, got)
			}
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	tpl, err := topic.ParseTemplate("boxes/{box_id}/{message.kind}/x")
	if err != nil {
		t.Fatal(err)
	}
	if got := tpl.Filter(); got != "boxes/+/+/x" {
		t.Errorf("filter %q", got)
	}
	if diff := cmp.Diff([]string{"box_id", "message.kind"}, tpl.Names()); diff != "" {
		t.Error(diff)
	}
	filled, ok := tpl.Fill(func(name string) (string, bool) { return name[:1], true })
	if !ok || filled != "boxes/b/m/x" {
		t.Errorf("filled %q", filled)
	}
	if _, ok := tpl.Fill(func(string) (string, bool) { return "", false }); ok {
		t.Error("filled without values")
	}
	for _, bad := range []string{
		"", "a//b", "a/#", "+/b", "a/{}", "a/{b", "a/b}", "a/x{b}", "{a}/{a}", "{a b}", "$SYS/{a}", "a/{+}", "a.b", "{a}{b}",
	} {
		if _, err := topic.ParseTemplate(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := topic.ParseFilterTemplate("d/{device}/+/#"); err != nil {
		t.Error(err)
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	var tree topic.Tree[int]
	for i, text := range []string{"boxes/{a}/telemetry", "boxes/{a}/door/{b}", "bikes/{a}", "{a}/{b}/{c}/{d}/{e}", "boxes/fixed"} {
		tpl, err := topic.ParseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		tree.Add(tpl, i+1)
	}
	tests := []struct {
		name     string
		want     int // 0 for none
		captures []string
	}{
		{"boxes/1/telemetry", 1, []string{"1"}},
		{"boxes/1/door/2", 2, []string{"1", "2"}},
		{"bikes/telemetry", 3, []string{"telemetry"}},
		{"boxes/1/door/2/x", 4, []string{"boxes", "1", "door", "2", "x"}}, // back from a literal that led nowhere
		{"boxes/fixed", 5, nil},
		{"boxes/fixed/telemetry", 1, []string{"fixed"}},
		{"boxes", 0, nil},
		{"boxes/1", 0, nil},
		{"boxes//telemetry", 0, nil},
		{"", 0, nil},
	}
	for _, tt := range tests {
		got, captures, ok := tree.Find(tt.name)
		if got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%q: %d, %v", tt.name, got, ok)
		}
		if diff := cmp.Diff(tt.captures, captures); diff != "" {
			t.Errorf("%q: %s", tt.name, diff)
		}
	}
}

// FuzzTemplate: a template that parses has a valid filter, and a name made of it is found again with its values.
func FuzzTemplate(f *testing.F) {
	f.Add("boxes/{box_id}/telemetry", "box-1")
	f.Add("{a}/{b}", "x")
	f.Add("a/b", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		tpl, err := topic.ParseTemplate(text)
		if err != nil {
			return
		}
		if err := topic.CheckFilter(tpl.Filter()); err != nil {
			t.Fatal(err)
		}
		if topic.CheckLevel(value) != nil {
			return
		}
		name, _ := tpl.Fill(func(string) (string, bool) { return value, true })
		if topic.CheckName(name) != nil {
			return // too long, or a value with '$' in front
		}
		var tree topic.Tree[bool]
		tree.Add(tpl, true)
		_, captures, ok := tree.Find(name)
		if !ok || len(captures) != len(tpl.Names()) {
			t.Fatalf("%q is not found by %q", name, text)
		}
		for _, c := range captures {
			if c != value {
				t.Errorf("captured %q, want %q", c, value)
			}
		}
	})
}
