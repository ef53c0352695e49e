package bridge

import (
	"bufio"
	"net"
	"sync"
	"time"
)

const (
	readBuffer   = 64 << 10
	writeBuffer  = 256 << 10 // writers wait when that much is unwritten
	flushTimeout = 2 * time.Second
)

// buffered is a connection that reads ahead, and gathers what is written while a write is under way into one. paho
// reads a packet in three calls and writes each acknowledgement by itself.
type buffered struct {
	net.Conn
	r *bufio.Reader

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	pending []byte
	err     error // of the first write that went wrong, or net.ErrClosed
	done    chan struct{}
}

func newBuffered(nc net.Conn) *buffered {
	b := &buffered{Conn: nc, r: bufio.NewReaderSize(nc, readBuffer), done: make(chan struct{})}
	b.changed.L = &b.mu
	go b.flush()
	return b
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// Write takes p over and returns before it is written; an error shows at a later Write.
func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && len(b.pending) > writeBuffer {
		b.changed.Wait()
	}
	if b.err != nil {
		return 0, b.err
	}
	b.pending = append(b.pending, p...)
	b.changed.Broadcast()
	return len(p), nil
}

// flush writes until Close, and then what is left.
func (b *buffered) flush() {
	defer close(b.done)
	var spare []byte
	for {
		b.mu.Lock()
		for b.err == nil && len(b.pending) == 0 {
			b.changed.Wait()
		}
		if len(b.pending) == 0 {
			b.mu.Unlock()
			return
		}
		chunk := b.pending
		b.pending = spare[:0]
		b.changed.Broadcast()
		b.mu.Unlock()
		_, err := b.Conn.Write(chunk)
		spare = chunk
		if err != nil {
			b.fail(err)
			return
		}
	}
}

func (b *buffered) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.Broadcast()
}

// Close writes what is left, within bounds, and closes.
func (b *buffered) Close() error {
	b.fail(net.ErrClosed)
	_ = b.SetWriteDeadline(time.Now().Add(flushTimeout))
	<-b.done
	return b.Conn.Close()
}
