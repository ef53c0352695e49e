package upstream

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// The sizes of lent memory: four to each doubling, so that at most a fifth of a piece lies idle.
const (
	minLent = 1 << 10
	maxLent = 1 << 20
	perStep = 4
	classes = perStep*10 + 1 // from minLent to maxLent
)

// memory lends memory for the messages of replies. The zero value is ready, and safe for concurrent use. What is never
// given back is the garbage collector's.
type memory struct{ free [classes]sync.Pool }

// piece is memory that is lent.
type piece struct {
	bytes []byte
	class int
}

// lend returns a piece of n bytes, whose contents are arbitrary; nil if n is more than is ever lent.
func (m *memory) lend(n int) *piece {
	if n > maxLent {
		return nil
	}
	class, size := classOf(n)
	if p, ok := m.free[class].Get().(*piece); ok {
		p.bytes = p.bytes[:n]
		return p
	}
	return &piece{bytes: make([]byte, n, size), class: class}
}

// takeBack makes a piece ready for somebody else.
func (m *memory) takeBack(p *piece) { m.free[p.class].Put(p) }

// classOf returns the class of pieces that hold n bytes, and their size.
func classOf(n int) (class, size int) {
	if n <= minLent {
		return 0, minLent
	}
	// The power of two below n, and how many quarters of it n goes beyond.
	exponent := bits.Len(uint(n-1)) - 1
	quarter := 1 << exponent / perStep
	quarters := (n - 1<<exponent + quarter - 1) / quarter
	return (exponent-bits.Len(minLent-1))*perStep + quarters, 1<<exponent + quarters*quarter
}

// lease is the right to one piece of memory, until it is given back.
type lease struct {
	memory *memory
	piece  atomic.Pointer[piece]
}

// end gives the memory back. Only the first time counts.
func (l *lease) end() {
	if p := l.piece.Swap(nil); p != nil {
		l.memory.takeBack(p)
	}
}
