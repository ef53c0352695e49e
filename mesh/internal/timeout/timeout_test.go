package timeout_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portico-bff/portico/mesh/internal/timeout"
)

func begin(parent context.Context, q *timeout.Queue) *timeout.Context {
	c := new(timeout.Context)
	c.Begin(parent, q, time.Now())
	return c
}

// A context does what context.WithTimeout's does, whatever ends it first.
func TestLikeWithTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		parent, cancel time.Duration // when the parent's deadline is, and when it is cancelled; zero: never
		end            time.Duration // when the context itself is ended
		want           error
		at             time.Duration
	}{
		{name: "the time is over", want: context.DeadlineExceeded, at: 10 * time.Second},
		{name: "ended", end: 3 * time.Second, want: context.Canceled, at: 3 * time.Second},
		{name: "the parent is cancelled", cancel: 2 * time.Second, want: context.Canceled, at: 2 * time.Second},
		{name: "the parent's deadline", parent: 5 * time.Second, want: context.DeadlineExceeded, at: 5 * time.Second},
		{name: "the parent's deadline is later", parent: 15 * time.Second, want: context.DeadlineExceeded, at: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.parent > 0 {
					parent, cancel = context.WithTimeout(parent, c.parent)
					defer cancel()
				}
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				start := time.Now()
				ours := begin(parent, timeout.New(10*time.Second))
				theirs, end := context.WithTimeout(parent, 10*time.Second)
				defer end()
				if c.end > 0 {
					time.AfterFunc(c.end, ours.End)
				}
				child, release := context.WithCancel(ours)
				defer release()
				var heard time.Duration
				context.AfterFunc(ours, func() { heard = time.Since(start) })
				forgotten := context.AfterFunc(ours, func() { t.Error("called after it was stopped") })
				if !forgotten() || forgotten() {
					t.Error("stopping says the wrong thing")
				}
				a, _ := ours.Deadline()
				if b, _ := theirs.Deadline(); !a.Equal(b) {
					t.Errorf("deadline in %v, want %v", a.Sub(start), b.Sub(start))
				}
				if ours.Err() != nil {
					t.Errorf("it begins with %v", ours.Err())
				}
				<-child.Done()
				if took := time.Since(start); took != c.at || !errors.Is(ours.Err(), c.want) || !errors.Is(child.Err(), c.want) || !errors.Is(context.Cause(child), c.want) {
					t.Errorf("after %v: %v and the child %v (%v), want %v after %v", took, ours.Err(), child.Err(), context.Cause(child), c.want, c.at)
				}
				synctest.Wait()
				if heard != c.at {
					t.Errorf("AfterFunc was called after %v", heard)
				}
				ours.End()
				if !errors.Is(ours.Err(), c.want) {
					t.Errorf("ended once more: %v", ours.Err())
				}
			})
		})
	}
}

// Of many that come and go, each ends at its own time.
func TestMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := timeout.New(time.Second)
		random := rand.New(rand.NewPCG(1, 2))
		var all sync.WaitGroup
		for range 2000 {
			began, stays := time.Now(), random.IntN(2) == 0
			begun := began.Add(-time.Duration(random.IntN(3)) * time.Millisecond) // not quite in order
			ends := time.Duration(random.IntN(900)) * time.Millisecond
			all.Go(func() {
				c := new(timeout.Context)
				c.Begin(t.Context(), q, begun)
				defer c.End()
				if !stays {
					time.Sleep(ends)
					if c.Err() != nil {
						t.Errorf("over after %v: %v", ends, c.Err())
					}
					return
				}
				<-c.Done()
				if took := time.Since(begun); took != time.Second {
					t.Errorf("over after %v", took)
				}
			})
			time.Sleep(time.Duration(random.IntN(4)) * time.Millisecond)
		}
		all.Wait()
	})
}

// Without a queue it is its parent.
func TestPlain(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithTimeout(t.Context(), time.Hour)
	var c timeout.Context
	c.Plain(parent)
	a, _ := c.Deadline()
	if b, _ := parent.Deadline(); a != b || c.Done() != parent.Done() || c.Err() != nil {
		t.Errorf("deadline %v, error %v", a, c.Err())
	}
	child, release := context.WithCancel(&c)
	defer release()
	called := make(chan struct{})
	context.AfterFunc(&c, func() { close(called) })
	c.End()
	cancel()
	<-child.Done()
	<-called
	if !errors.Is(c.Err(), context.Canceled) {
		t.Error(c.Err())
	}
}

func BenchmarkTimeout(b *testing.B) {
	b.Run("queue", func(b *testing.B) {
		q := timeout.New(10 * time.Second)
		b.ReportAllocs()
		for b.Loop() {
			c := begin(context.Background(), q)
			_, cancel := context.WithCancel(c)
			cancel()
			c.End()
		}
	})
	b.Run("context", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, end := context.WithTimeout(context.Background(), 10*time.Second)
			_, cancel := context.WithCancel(c)
			cancel()
			end()
		}
	})
}
