// Package logbuf writes log lines in batches. A busy server writes one line for each request, and a system call for each
// of them is a good part of what the request costs; here many lines share one.
//
// Start with [New] and [Buffer.Handler]. Lines leave in their order, at the latest [Delay] after they came; those from
// [log/slog.LevelWarn] on leave at once, with all before them. What a process has not written when it is killed is lost:
// [Buffer.Close] it before the end.
package logbuf

import (
	"io"
	"sync"
	"time"
)

const (
	// Delay is how long a line may wait.
	Delay = 100 * time.Millisecond
	// size bounds the bytes that wait. As many may be on their way out meanwhile.
	size = 64 << 10
)

// Buffer collects lines for a writer. It is safe for concurrent use. When its writer is slow, so are those who log:
// nothing is dropped.
type Buffer struct {
	// writing is held while out is written to, so that lines keep their order. It is taken before mu.
	writing sync.Mutex
	out     io.Writer
	spare   []byte // empty but while it is written

	// mu guards what follows.
	mu      sync.Mutex
	waiting []byte
	timer   *time.Timer // runs while lines wait; nil before the first
	closed  bool
}

// New makes a Buffer that writes to out.
func New(out io.Writer) *Buffer {
	return &Buffer{out: out, waiting: make([]byte, 0, size), spare: make([]byte, 0, size)}
}

// Write takes one line, or several. Its error is that of writing those before them, if there was no room left; they are
// gone then.
func (b *Buffer) Write(line []byte) (int, error) {
	for {
		b.mu.Lock()
		if len(b.waiting)+len(line) <= size || len(b.waiting) == 0 {
			break
		}
		b.mu.Unlock()
		if err := b.Flush(); err != nil {
			return 0, err
		}
	}
	first := len(b.waiting) == 0
	b.waiting = append(b.waiting, line...)
	whole := b.closed || len(b.waiting) >= size
	if first && !whole {
		if b.timer == nil {
			b.timer = time.AfterFunc(Delay, func() { _ = b.Flush() }) // there is nobody to tell
		} else {
			b.timer.Reset(Delay)
		}
	}
	b.mu.Unlock()
	if whole {
		return len(line), b.Flush()
	}
	return len(line), nil
}

// Flush writes what waits.
func (b *Buffer) Flush() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	lines := b.waiting
	b.waiting, b.spare = b.spare, nil
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	var err error
	if len(lines) > 0 {
		_, err = b.out.Write(lines)
	}
	if cap(lines) > size { // one line was longer than all that should wait
		lines = make([]byte, 0, size)
	}
	b.spare = lines[:0]
	return err
}

// Close writes what waits. Lines that come later are written at once. It does not close the writer.
func (b *Buffer) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.Flush()
}
