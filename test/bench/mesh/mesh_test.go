package mesh

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	library "github.com/portico-bff/portico/mesh"

	"github.com/portico-bff/portico/test/bench/report"
)

// measured is a benchmark with figures of two rounds, of which the second was disturbed.
func measured(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		Options: &Options{Programs: t.TempDir(), Calls: 64}, calls: map[client]*figures{}, memory: map[string][]float64{}, micro: map[string][]cost{},
	}
	for _, disturbed := range []float64{1, 3} {
		for _, group := range groups() {
			for i, c := range group {
				if b.calls[c] == nil {
					b.calls[c] = &figures{}
				}
				f, v := b.calls[c], disturbed*float64(6-i)
				f.cpu, f.rate, f.p50, f.p99 = append(f.cpu, v), append(f.rate, 1/v), append(f.p50, 10*v), append(f.p99, 100*v)
			}
		}
		b.memory[ourClient] = append(b.memory[ourClient], 20+disturbed)
		b.memory[bareClient] = append(b.memory[bareClient], 20)
		for i, name := range []string{layersClient, layersServer, decide} {
			b.micro[name] = append(b.micro[name], cost{ns: disturbed * 100 * float64(i+1), allocs: float64(i)})
		}
	}
	for _, name := range smallest() {
		if err := os.WriteFile(b.program(name), make([]byte, 2e6), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestRows(t *testing.T) {
	t.Parallel()
	got := map[string]float64{}
	for _, r := range measured(t).rows() {
		got[r.Name] = r.Value
		if r.Unit == "" || r.Mark == (report.Mark{}) {
			t.Errorf("%s has no unit or no mark: %+v", r.Name, r)
		}
	}
	want := map[string]float64{
		"mesh.client.cpu_vs_grpc.plain": 1.2, "mesh.client.cpu_vs_grpc.mtls": 1.2, "mesh.p50_vs_grpc": 1.2, "mesh.rss_mb": 2,
		"mesh.layers.ns": 200, "mesh.layers.allocs": 0, "mesh.server.ns": 400, "mesh.server.allocs": 1, "mesh.authz.ns": 600, "mesh.authz.allocs": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDetails(t *testing.T) {
	t.Parallel()
	got, err := measured(t).details()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got, "\n"); n != 14 {
		t.Errorf("%d lines, want 14:\n%s", n, got)
	}
	if want := "mesh plain x64 "; !strings.HasPrefix(got, want) {
		t.Errorf("the first line does not begin with %q:\n%s", want, got)
	}
	if want := "smallest client, bare: 20.00 MB of memory, a program of 2.00 MB\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the last line is not %q:\n%s", want, got)
	}
}

func TestParseCosts(t *testing.T) {
	t.Parallel()
	got, err := parseCosts([]byte("goos: linux\nBenchmarkLayers/client-2  \t  10\t  101.5 ns/op\t  64 B/op\t  3 allocs/op\nPASS\n"))
	if diff := cmp.Diff(map[string]cost{layersClient: {ns: 101.5, allocs: 3}}, got, cmp.AllowUnexported(cost{})); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if _, err := parseCosts([]byte("BenchmarkX-2 10 many ns/op\n")); err == nil {
		t.Error("a figure that is no number: no error")
	}
	if c := median(nil); !math.IsNaN(c.ns) {
		t.Errorf("the median of nothing is %v", c)
	}
}

// TestPolicy shows that clients are measured with a policy that the mesh takes.
func TestPolicy(t *testing.T) {
	t.Parallel()
	if _, err := library.ParsePolicy("policy.yaml", []byte(policy)); err != nil {
		t.Error(err)
	}
}

// TestPlan shows that the plan is what the caller reads.
func TestPlan(t *testing.T) {
	t.Parallel()
	b := &bench{Options: &Options{Calls: 64}, stack: &stack{dir: "d", plain: &server{address: "a"}, secure: &server{address: "b"}}}
	text, err := json.Marshal(b.plan(client{mesh: true, secure: true, single: true}))
	if err != nil {
		t.Fatal(err)
	}
	if late := b.plan(client{deadline: true}); late.Deadline == 0 || b.plan(client{}).Deadline != 0 {
		t.Errorf("a client with a deadline has %v", late.Deadline)
	}
	for _, part := range []string{`"Address":"b"`, `"Calls":1`, `"Mesh":true`, `"Dir":"d/caller"`, `"Server":"spiffe://bench.test/echo"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

// TestRun measures everything for a moment, with programs of its own making.
func TestRun(t *testing.T) { //nolint:paralleltest // measures
	if testing.Short() {
		t.Skip("builds programs")
	}
	dir := t.TempDir()
	build := func(wd string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = wd
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	build("../../..", "test", "-c", "-o", dir+"/", "./mesh", "./mesh/internal/authz")
	build("..", "build", "-o", dir+"/", "./mesh/client/mesh", "./mesh/client/bare")
	build("..", "build", "-o", dir+"/bench", ".")
	result, err := Run(t.Context(), Options{
		Self: filepath.Join(dir, "bench"), Programs: dir, Rounds: 1, Warmup: 10 * time.Millisecond, Duration: 100 * time.Millisecond, Calls: 8, Progress: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range result.Rows {
		if math.IsNaN(r.Value) {
			t.Errorf("%s was not measured", r.Name)
		}
	}
}

// TestFailedStart shows that a program that does not start is an error, and that nothing is left behind.
func TestFailedStart(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, program := range []string{"false", filepath.Join(temp, "nothing")} {
		if _, err := Run(t.Context(), Options{Self: program, Programs: temp, Rounds: 1, Duration: time.Second, Calls: 1, Progress: io.Discard}); err == nil {
			t.Errorf("%s: no error", program)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, error %v", left, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{Self: "true", Programs: temp, Rounds: 1, Duration: time.Second, Calls: 1, Progress: io.Discard}); err == nil {
		t.Error("no error of a context that has ended")
	}
}
