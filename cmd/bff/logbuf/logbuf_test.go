package logbuf_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/cmd/bff/logbuf"
)

// out counts the writes that arrive.
type out struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes int
	err    error
}

func (o *out) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	if o.err != nil {
		return 0, o.err
	}
	return o.text.Write(p)
}

func (o *out) seen() (text string, writes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.writes
}

func TestLinesWaitAndShareAWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o out
		b := logbuf.New(&o)
		for round := range 3 {
			for i := range 10 {
				if n, err := fmt.Fprintf(b, "%d %d\n", round, i); n != 4 || err != nil {
					t.Fatalf("a line was %d bytes, %v", n, err)
				}
			}
			time.Sleep(logbuf.Delay - time.Nanosecond)
			if _, writes := o.seen(); writes != round {
				t.Fatalf("%d writes before the delay of round %d is over", writes, round)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			text, writes := o.seen()
			if lines := strings.Count(text, "\n"); writes != round+1 || lines != 10*(round+1) {
				t.Fatalf("after round %d there are %d lines in %d writes", round, lines, writes)
			}
			time.Sleep(time.Minute) // idle: nothing is written
		}
		if text, _ := o.seen(); !strings.HasPrefix(text, "0 0\n0 1\n0 2\n") {
			t.Errorf("lines are out of order: %q", text)
		}
	})
}

func TestWhatMattersLeavesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o out
		b := logbuf.New(&o)
		log := slog.New(b.Handler(&slog.HandlerOptions{Level: slog.LevelInfo})).With("a", 1).WithGroup("g")
		log.Debug("below")
		log.Info("first", "n", 1)
		if text, _ := o.seen(); text != "" {
			t.Errorf("written at once: %s", text)
		}
		log.Warn("second")
		text, writes := o.seen()
		if writes != 1 || strings.Contains(text, "below") || !strings.Contains(text, `"msg":"first","a":1,"g":{"n":1}}`) ||
			!strings.Contains(text, `"msg":"second"`) {
			t.Errorf("%d writes: %s", writes, text)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseLosesNothing(t *testing.T) {
	t.Parallel()
	var o out
	b := logbuf.New(&o)
	const writers, lines = 8, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range lines {
				if _, err := fmt.Fprintf(b, "%d %06d %s\n", w, i, strings.Repeat("x", i%100)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	text, writes := o.seen()
	if writes > writers*lines/20 {
		t.Errorf("%d writes for %d lines", writes, writers*lines)
	}
	next := make([]int, writers)
	for line := range strings.Lines(text) {
		var w, i int
		if _, err := fmt.Sscanf(line, "%d %d", &w, &i); err != nil || i != next[w] {
			t.Fatalf("writer %d: %q, %v; want line %d", w, line, err, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != lines {
			t.Errorf("%d lines of writer %d arrived", n, w)
		}
	}
	if _, err := io.WriteString(b, "late\n"); err != nil {
		t.Error(err)
	}
	if text, _ := o.seen(); !strings.HasSuffix(text, "late\n") {
		t.Error("a line after Close waits")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestALineLongerThanTheBuffer(t *testing.T) {
	t.Parallel()
	var o out
	b := logbuf.New(&o)
	long := strings.Repeat("y", 200<<10) + "\n"
	for _, line := range []string{"before\n", long, "after\n"} {
		if _, err := io.WriteString(b, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if text, _ := o.seen(); text != "before\n"+long+"after\n" {
		t.Errorf("%d bytes arrived", len(text))
	}
}

func TestErrorsAreToldAndLeftBehind(t *testing.T) {
	t.Parallel()
	o := out{err: errors.New("disk full")}
	b := logbuf.New(&o)
	if _, err := io.WriteString(b, "lost\n"); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); !errors.Is(err, o.err) {
		t.Errorf("Flush: %v", err)
	}
	o.err = nil
	if _, err := io.WriteString(b, "kept\n"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if text, _ := o.seen(); text != "kept\n" {
		t.Errorf("arrived: %q", text)
	}
}
