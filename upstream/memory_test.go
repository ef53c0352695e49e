package upstream

import (
	"testing"

	"google.golang.org/grpc/mem"
)

// Every size has the smallest class that holds it, and no class has more than a quarter to spare.
func TestClassOf(t *testing.T) {
	t.Parallel()
	last := -1
	for n := range maxLent + 1 {
		class, size := classOf(n)
		switch {
		case size < n, n > minLent && size > n+n/4+1:
			t.Fatalf("%d bytes get %d", n, size)
		case class != last && class != last+1, class >= classes:
			t.Fatalf("%d bytes are of class %d, after %d", n, class, last)
		case class == last+1 && n > 0:
			if _, before := classOf(n - 1); before != n-1 {
				t.Fatalf("class %d begins at %d, but the one before ends at %d", class, n, before)
			}
		}
		last = class
	}
	if last != classes-1 {
		t.Errorf("there are %d classes, the largest piece is of class %d", classes, last)
	}
}

func TestLending(t *testing.T) {
	t.Parallel()
	var m memory
	if p := m.lend(maxLent + 1); p != nil {
		t.Errorf("%d bytes were lent", len(p.bytes))
	}
	for _, n := range []int{0, 1, minLent, minLent + 1, 5000, maxLent} {
		for range 3 {
			p := m.lend(n)
			if len(p.bytes) != n {
				t.Fatalf("%d bytes instead of %d", len(p.bytes), n)
			}
			m.takeBack(p)
		}
	}
}

// A reply that takes over another's message takes over the right to its memory, which else nobody would give back.
func TestTakeReply(t *testing.T) {
	t.Parallel()
	var m memory
	reply := &rawReply{lease: lease{memory: &m}}
	winner, ok := reply.NewReply().(*rawReply)
	if !ok {
		t.Fatalf("a new reply is a %T", reply.NewReply())
	}
	if err := (rawCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer("answer")}, winner); err != nil {
		t.Fatal(err)
	}
	reply.TakeReply(winner)
	if string(reply.message) != "answer" || reply.lent() == nil || winner.lent() != nil {
		t.Errorf("%q is lent: %t; to the other, too: %t", reply.message, reply.lent() != nil, winner.lent() != nil)
	}
}
