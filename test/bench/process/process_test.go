package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, text string
		want       time.Duration
		fails      bool
	}{
		{"plain", "17 (bff) S 1 17 17 0 -1 4194560 900 0 0 0 123 45 0 0 20 0 9 0 100 1 2", 1680 * time.Millisecond, false},
		{"a name with blanks and parentheses", "17 (a) b) S 1 17 17 0 -1 4194560 900 0 0 0 1 2 0 0 20 0 9 0 100 1 2", 30 * time.Millisecond, false},
		{"too short", "17 (bff) S 1", 0, true},
		{"no number", "17 (bff) S 1 17 17 0 -1 4194560 900 0 0 0 x 45 0 0", 0, true},
		{"empty", "", 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseCPU([]byte(c.text))
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %v and error %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestParseMemory(t *testing.T) {
	t.Parallel()
	if got, err := parseMemory([]byte("9000 12 3 4 0 5 0\n"), 4096); got != 12*4096 || err != nil {
		t.Errorf("got %d and error %v, want 49152", got, err)
	}
	for _, text := range []string{"", "9000", "9000 many"} {
		if _, err := parseMemory([]byte(text), 4096); err == nil {
			t.Errorf("%q was read without an error", text)
		}
	}
}

// noise is a file for what programs complain of.
func noise(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestProcess runs a program, measures it and ends it.
func TestProcess(t *testing.T) {
	t.Parallel()
	stderr := noise(t)
	p, err := Start(t.Context(), stderr, nil, "cat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.In.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := p.FirstLine(t.Context()); line != "hello" || err != nil {
		t.Errorf("it printed %q, error %v", line, err)
	}
	if cpu, err := p.CPU(); cpu < 0 || err != nil {
		t.Errorf("CPU: %v, error %v", cpu, err)
	}
	if memory, err := p.Memory(); memory <= 0 || err != nil {
		t.Errorf("memory: %d, error %v", memory, err)
	}
	start := time.Now()
	if err := p.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(start); took > stopTimeout {
		t.Errorf("it took %s to end", took)
	}
}

// TestSilentProgram waits for a line that does not come, until there is no more time.
func TestSilentProgram(t *testing.T) {
	t.Parallel()
	stderr := noise(t)
	p, err := Start(t.Context(), stderr, nil, "cat")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if line, err := p.FirstLine(ctx); line != "" || err == nil {
		t.Errorf("it printed %q, error %v", line, err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("its end: %v", err)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	stderr := noise(t)
	failed := errors.New("it has failed")
	if err := Explain(failed, stderr); !errors.Is(err, failed) || err.Error() != failed.Error() {
		t.Errorf("of a program that has said nothing: %v", err)
	}
	if _, err := stderr.WriteString("no such thing"); err != nil {
		t.Fatal(err)
	}
	if err := Explain(failed, stderr); !errors.Is(err, failed) || err.Error() != "it has failed\nno such thing" {
		t.Errorf("it is explained as %v", err)
	}
}
