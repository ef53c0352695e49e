// Package timeout makes contexts that end after a fixed time, for where there are many
// with the same one. context.WithTimeout makes a timer of each, and most are stopped
// long before they are due; here they wait in a queue with one timer, that of the
// first. Since all wait equally long, they are due in the order in which they came.
package timeout

import (
	"context"
	"sync"
	"time"
)

// Queue is the contexts that have the same time. It is safe for concurrent use; [New]
// makes one. It needs no closing.
type Queue struct {
	time time.Duration

	mu    sync.Mutex // guards what follows, and the places of contexts
	first *Context
	last  *Context
	timer *time.Timer
	at    time.Time // when the timer goes off, for first or for one that was before it; zero: it does not
}

// New returns a queue of contexts that end after that time.
func New(d time.Duration) *Queue { return &Queue{time: d} }

// Time is how long the queue's contexts have.
func (q *Queue) Time() time.Duration { return q.time }

// Context is a context that ends with its parent, after its queue's time, or with
// [Context.End], whichever is first. It is made to be a part of something else, which
// is why [Context.Begin] does not make it. It must not be copied, nor used again.
type Context struct {
	context.Context //nolint:containedctx // the parent: it is a context

	queue    *Queue
	deadline time.Time

	next, before *Context // guarded by queue.mu
	waits        bool     // guarded by queue.mu

	mu      sync.Mutex // guards what follows
	done    chan struct{}
	err     error
	release func() bool // of the parent
	after   []func()    // to call then; nil: not any more
	room    [1]func()   // for after: there is hardly ever more
}

// Plain makes the context nothing but its parent, which has an end of its own or needs
// none.
func (c *Context) Plain(parent context.Context) { c.Context = parent }

// Begin begins the context, unless the parent's deadline comes first: then it is
// [Context.Plain], and Begin returns false. The caller calls [Context.End] in either case.
func (c *Context) Begin(parent context.Context, q *Queue, now time.Time) bool {
	c.Context = parent
	deadline := now.Add(q.time)
	if end, ok := parent.Deadline(); ok && !deadline.Before(end) {
		return false
	}
	c.queue, c.deadline, c.done = q, deadline, make(chan struct{})
	q.add(c)
	if parent.Done() != nil {
		release := context.AfterFunc(parent, func() { c.end(parent.Err()) })
		c.mu.Lock()
		c.release = release
		c.mu.Unlock()
	}
	return true
}

// End ends the context, if it has not ended, and lets go of what it holds.
func (c *Context) End() {
	if c.queue == nil {
		return
	}
	c.queue.remove(c)
	c.end(context.Canceled)
}

// Deadline is when the context ends by itself.
func (c *Context) Deadline() (time.Time, bool) {
	if c.queue == nil {
		return c.Context.Deadline()
	}
	return c.deadline, true
}

// Done is closed when the context has ended.
func (c *Context) Done() <-chan struct{} {
	if c.queue == nil {
		return c.Context.Done()
	}
	return c.done
}

// Err says why it has.
func (c *Context) Err() error {
	if c.queue == nil {
		return c.Context.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is context.AfterFunc's and context.WithCancel's way to hear of the end
// without a goroutine, and without a map.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	if c.queue == nil {
		return context.AfterFunc(c.Context, f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = c.room[:0]
	}
	at := len(c.after)
	c.after = append(c.after, f)
	return func() bool { return c.forget(at) }
}

func (c *Context) forget(at int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at >= len(c.after) || c.after[at] == nil {
		return false
	}
	c.after[at] = nil // and its place stays: it is what stop knows it by
	return true
}

// end ends the context for that reason.
func (c *Context) end(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = why
	after, release := c.after, c.release
	c.after = nil
	close(c.done)
	c.mu.Unlock()
	if release != nil {
		release()
	}
	for _, f := range after {
		if f != nil {
			go f()
		}
	}
}

// add puts a context at the queue's end.
func (q *Queue) add(c *Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	after := q.last
	for after != nil && c.deadline.Before(after.deadline) { // who read the clock first was second here
		after = after.before
	}
	q.insert(c, after)
	if q.at.IsZero() || c.deadline.Before(q.at) {
		q.arm()
	}
}

// insert puts a context behind another, or first. The lock is held.
func (q *Queue) insert(c, after *Context) {
	c.before, c.waits = after, true
	if after == nil {
		c.next, q.first = q.first, c
	} else {
		c.next, after.next = after.next, c
	}
	if c.next == nil {
		q.last = c
	} else {
		c.next.before = c
	}
}

// arm sets the timer off for the first context. The lock is held.
func (q *Queue) arm() {
	q.at = q.first.deadline
	wait := time.Until(q.at)
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.expire)
	} else {
		q.timer.Reset(wait)
	}
}

func (q *Queue) remove(c *Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unlink(c)
}

func (q *Queue) unlink(c *Context) {
	if !c.waits {
		return
	}
	if c.before == nil {
		q.first = c.next
	} else {
		c.before.next = c.next
	}
	if c.next == nil {
		q.last = c.before
	} else {
		c.next.before = c.before
	}
	c.next, c.before, c.waits = nil, nil, false
}

// expire ends the contexts that are due.
func (q *Queue) expire() {
	var due []*Context
	q.mu.Lock()
	now := time.Now()
	for q.first != nil && !now.Before(q.first.deadline) {
		due = append(due, q.first)
		q.unlink(q.first)
	}
	if q.at = (time.Time{}); q.first != nil {
		q.arm()
	}
	q.mu.Unlock()
	for _, c := range due {
		c.end(context.DeadlineExceeded)
	}
}
