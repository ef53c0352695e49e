package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, args, want string // want is in the error; empty for none
	}{
		{"nothing", "", ""},
		{"everything", "-suite rest -run order|page -rounds 1 -duration 1s -connections 8 -portico bff -strict", ""},
		{"an unknown suite", "-suite soap", "soap"},
		{"no rounds", "-rounds 0", "-rounds"},
		{"too many rounds", "-rounds 101", "-rounds"},
		{"too short", "-duration 1ms", "-duration"},
		{"too long", "-duration 1h", "-duration"},
		{"no regexp", "-run (", "-run"},
		{"results with rows left out", "-run order -out results", "-out="},
		{"a stray argument", "rest", "rest"},
		{"an unknown flag", "-fast", "-fast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := parse(strings.Fields(c.args), io.Discard)
			if c.want == "" {
				if err != nil || len(s.suites) == 0 {
					t.Errorf("settings %+v, error %v", s, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestFront shows that a contender tells where it listens, serves there, and ends with its context.
func TestFront(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), []string{"front", "floor", "127.0.0.1:1"}, nil, writer, io.Discard) }()
	address := make([]byte, 64)
	n, err := reader.Read(address)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+strings.TrimSpace(string(address[:n]))+"/v1/orders", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a page without its size: status %d, want 400", answer.StatusCode)
	}
	select {
	case err := <-ended:
		t.Errorf("it has ended: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
}

func TestFrontMistakes(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"front", "front floor", "front envoy 127.0.0.1:1", "echo a b"} {
		if err := run(t.Context(), strings.Fields(args), nil, io.Discard, io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// TestWireSuite runs what needs no other program, and writes its results.
func TestWireSuite(t *testing.T) { //nolint:paralleltest // measures
	dir := t.TempDir()
	var table, progress bytes.Buffer
	err := run(t.Context(), []string{"-suite", "wire", "-rounds", "1", "-duration", "100ms", "-out", dir}, nil, &table, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "wire.parse.speedup") {
		t.Errorf("printed:\n%s", table.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "wire.json")); err != nil {
		t.Error(err)
	}
	if n := strings.Count(progress.String(), "\n"); n == 0 {
		t.Error("no progress")
	}
}

// TestDescriptors shows that the descriptor set that Portico is given is whole.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(descriptors, set); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, file := range set.GetFile() {
		have[file.GetName()] = true
	}
	for _, file := range set.GetFile() {
		for _, dependency := range file.GetDependency() {
			if !have[dependency] {
				t.Errorf("%s imports %s, which is not in the set", file.GetName(), dependency)
			}
		}
	}
	if !have["bench/v1/bench.proto"] {
		t.Errorf("the service is not in the set: %v", have)
	}
}
