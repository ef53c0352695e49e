package rest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portico-bff/portico/test/bench/report"
)

// measured is a benchmark with figures of two rounds, of which the second was disturbed.
func measured(only *regexp.Regexp) *bench {
	b := &bench{Options: &Options{Only: only}, figures: map[string]map[string]*figures{}}
	for _, w := range append(workloads(), atFixedRate()) {
		for i, name := range w.contenders {
			f := b.of(w.name, name)
			for _, disturbed := range []float64{1, 3} {
				f.cpu = append(f.cpu, disturbed*float64(20*(i+1)))
				f.p99 = append(f.p99, disturbed*float64(i+1))
				f.rate = append(f.rate, 1000/disturbed)
				f.rss = append(f.rss, 40)
			}
		}
	}
	return b
}

func TestRows(t *testing.T) {
	t.Parallel()
	got := map[string]float64{}
	for _, r := range measured(nil).rows() {
		got[r.Name] = r.Value
		if r.Unit == "" || r.Mark == (report.Mark{}) {
			t.Errorf("%s has no unit or no mark: %+v", r.Name, r)
		}
	}
	third, fourth := 20.0/60, 20.0/80
	want := map[string]float64{
		"rest.order.cpu_vs_floor": 0.5, "rest.order.cpu_vs_grpc_gateway": third,
		"rest.page.cpu_vs_floor": 0.5, "rest.page.cpu_vs_grpc_gateway": third, "rest.page.cpu_vs_vanguard": fourth,
		"rest.five.cpu_vs_floor": 0.5, "rest.order.p99_vs_floor": 0.5, "rest.rss_mb": 40,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDetails(t *testing.T) {
	t.Parallel()
	got := measured(nil).details()
	if n := strings.Count(got, "\n"); n != 11 {
		t.Errorf("%d lines, want 11:\n%s", n, got)
	}
	want := "latency  floor             80.0 us/request      667 requests/s  p99   4.00 ms   40.0 MB\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("the last line is not %q:\n%s", want, got)
	}
}

// TestOnly shows that what was not measured is not reported.
func TestOnly(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range measured(regexp.MustCompile("five|latency")).rows() {
		got = append(got, r.Name)
	}
	want := []string{"rest.five.cpu_vs_floor", "rest.order.p99_vs_floor", "rest.rss_mb"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFailedStart shows that a program that does not start is named, and that nothing is left behind.
func TestFailedStart(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, program := range []string{"false", filepath.Join(temp, "nothing")} {
		_, err := Run(t.Context(), Options{Self: program, Portico: program, Rounds: 1, Duration: time.Second, Connections: 1, Progress: io.Discard})
		if err == nil || !strings.Contains(err.Error(), filepath.Base(program)) && !strings.Contains(err.Error(), "backend") {
			t.Errorf("error %v, want one that names what failed", err)
		}
		left, err := os.ReadDir(temp)
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, error %v", slices.Collect(names(left)), err)
		}
	}
}

func names(entries []os.DirEntry) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, e := range entries {
			if !yield(e.Name()) {
				return
			}
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	if err := sleep(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); err == nil {
		t.Error("it slept on")
	}
}
