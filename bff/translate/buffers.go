package translate

import "sync"

// maxKept is the largest buffer that is kept for another request.
const maxKept = 1 << 20

// buffers holds buffers that answers are rendered into. The zero value is ready, and safe for concurrent use.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, 0, 4<<10)
	return &buf
}

func (b *buffers) put(buf *[]byte) {
	if cap(*buf) <= maxKept {
		b.pool.Put(buf)
	}
}
