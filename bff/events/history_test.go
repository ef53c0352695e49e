package events

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/portico-bff/portico/upstream"
)

// Readers come and go at random, also losing events that were on their way, while the service speaks. Each one's
// history must be the service's: in order, nothing twice, and nothing missing but where a gap says so, which reaches
// exactly to the next message.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"all kept":     {Resume: time.Minute, MaxEvents: 1 << 20, MaxBytes: 1 << 30},
		"a short log":  {Resume: time.Minute, MaxEvents: 20},
		"a small log":  {Resume: time.Minute, MaxBytes: 500},
		"the last one": {Resume: time.Minute, MaxEvents: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, s, m := hub(t, cfg, nil)
			const total, clients = 3000, 8
			ctx := as(t.Context(), "ann")
			opener := attach(ctx, t, h, m, "box-1", "")
			begin := opener.Position().String()
			c := s.nth(t, 1)
			var wait sync.WaitGroup
			for i := range clients {
				wait.Go(func() {
					client := &historian{random: rand.New(rand.NewPCG(uint64(i), 7)), at: begin}
					client.live(t, h, m)
					client.check(t, total, name == "all kept")
				})
			}
			opener.Close()
			random := rand.New(rand.NewPCG(99, 99))
			for i := range total {
				c.say(t, strconv.Itoa(i+1))
				if random.IntN(50) == 0 {
					time.Sleep(time.Duration(random.IntN(500)) * time.Microsecond)
				}
			}
			c.end <- io.EOF
			wait.Wait()
			if got := len(s.seen()); got != 1 {
				t.Errorf("%d calls", got)
			}
		})
	}
}

// historian is a client that writes down what it gets.
type historian struct {
	random  *rand.Rand
	at      string // what it has seen
	history []entry
	ended   bool
}

type entry struct {
	at  Position
	gap Gap
	msg string
}

// live reads until the end, with many connections.
func (c *historian) live(tb testing.TB, h *Hub, m *upstream.Method) {
	tb.Helper()
	for !c.ended {
		r, err := h.Attach(as(tb.Context(), "ann"), m, []byte("box-1"), c.at)
		if err != nil {
			tb.Error(err)
			return
		}
		c.read(tb, r, c.random.IntN(100))
		r.Close()
		if n := len(c.history); n > 0 && !c.ended && c.random.IntN(3) == 0 {
			// Some of it has never arrived.
			c.history = c.history[:n-c.random.IntN(min(n, 5))]
			c.at = c.history[len(c.history)-1].at.String()
		}
	}
}

// read takes some events from a connection.
func (c *historian) read(tb testing.TB, r Reader, count int) {
	tb.Helper()
	for range count {
		e, more, err := r.Next()
		for more != nil {
			if c.random.IntN(10) == 0 {
				return // left while waiting
			}
			select {
			case <-more:
			case <-time.After(10 * time.Second):
				tb.Error("nothing comes")
				c.ended = true
				return
			}
			e, more, err = r.Next()
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				tb.Errorf("the end is %v", err)
			}
			c.ended = true
			c.at = e.Position.String()
			return
		}
		c.history = append(c.history, entry{e.Position, e.Gap, string(e.Message)})
		c.at = e.Position.String()
		if c.random.IntN(100) == 0 {
			time.Sleep(time.Duration(c.random.IntN(300)) * time.Microsecond) // slow
		}
	}
}

// check compares the history with what was said.
func (c *historian) check(tb testing.TB, total uint64, complete bool) {
	tb.Helper()
	var at uint64
	for _, e := range c.history {
		switch {
		case e.gap != "":
			if complete || e.gap != Overrun {
				tb.Errorf("a gap %q at %v", e.gap, e.at)
			}
			if e.at.Seq <= at {
				tb.Errorf("a gap from %d to %d", at, e.at.Seq)
			}
		case e.at.Seq != at+1:
			tb.Errorf("%d follows %d", e.at.Seq, at)
		case e.msg != strconv.FormatUint(e.at.Seq, 10):
			tb.Errorf("number %d is %q", e.at.Seq, e.msg)
		}
		at = e.at.Seq
	}
	if end, ok := ParsePosition(c.at); at != total || !ok || end.Seq != total+1 {
		tb.Errorf("the history ends with %d, at %s", at, c.at)
	}
}
