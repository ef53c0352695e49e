package bridge

import (
	"sync"
	"time"
)

// message is a message of a device on its way to a service.
type message struct {
	topic      string
	captures   []string
	payload    []byte
	qos        byte
	generation uint64
	arrived    time.Time
	ack        func()
	element    []byte // the payload's message, once it is encoded
}

// window bounds the messages that are in memory.
type window struct {
	maxCount int
	maxBytes int64

	mu    sync.Mutex // guards the fields below
	count int
	bytes int64
}

func newWindow(count int, bytes int64) *window { return &window{maxCount: count, maxBytes: bytes} }

// enter takes room for a message, and reports false if there is none. A message larger than all the room enters an
// empty window, for it would never find more.
func (w *window) enter(size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= w.maxCount || w.count > 0 && w.bytes+int64(size) > w.maxBytes {
		return false
	}
	w.count++
	w.bytes += int64(size)
	return true
}

// leave gives the room of a message back, and reports whether the window is empty now.
func (w *window) leave(size int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count--
	w.bytes -= int64(size)
	return w.count == 0
}

func (w *window) size() (int, int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count, w.bytes
}
