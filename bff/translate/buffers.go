package translate

import (
	"net/url"
	"sync"

	"github.com/portico-bff/portico/bff/translate/urlpath"
)

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

// path is a path taken apart, and the memory for that.
type path struct {
	urlpath.Path
	spare [16]string
}

func (p *path) parse(u *url.URL) (err error) {
	p.Path, err = urlpath.Parse(u, p.spare[:0])
	return err
}

// paths holds memory for paths. The zero value is ready, and safe for concurrent use.
type paths struct{ pool sync.Pool }

func (s *paths) get() *path {
	if p, ok := s.pool.Get().(*path); ok {
		return p
	}
	return &path{}
}

func (s *paths) put(p *path) {
	*p = path{} // it would keep the request's memory
	s.pool.Put(p)
}
