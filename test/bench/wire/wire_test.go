package wire_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/portico-bff/portico/test/bench/wire"
)

// TestRun takes every figure once, and briefly: it shows that they are taken, and of what.
func TestRun(t *testing.T) { //nolint:paralleltest // measures
	var progress strings.Builder
	result, err := wire.Run(t.Context(), wire.Options{Rounds: 1, Time: time.Millisecond, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"wire.render.order.speedup", "wire.render.page.speedup", "wire.render.five.speedup", "wire.render.order.allocs",
		"wire.render.order.vs_unmarshal", "wire.parse.speedup", "wire.parse.allocs",
	}
	if len(result.Rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(result.Rows), len(want))
	}
	for i, r := range result.Rows {
		if r.Name != want[i] || !(r.Value >= 0) || r.Unit == "" || r.Mark.String() == "" {
			t.Errorf("row %+v, want %s", r, want[i])
		}
	}
	for what, text := range map[string]string{"progress": progress.String(), "details": result.Details} {
		if n := strings.Count(text, "\n"); n != 8 {
			t.Errorf("%d lines of %s, want 8:\n%s", n, what, text)
		}
	}
}

func TestCancelled(t *testing.T) { //nolint:paralleltest // sets the flag that Run sets
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := wire.Run(ctx, wire.Options{Rounds: 1, Time: time.Millisecond, Progress: io.Discard}); err == nil {
		t.Error("no error")
	}
}
