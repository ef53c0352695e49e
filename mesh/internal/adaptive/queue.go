package adaptive

import "container/list"

// Priority says how important a request is, in the four steps of Google's SRE book.
type Priority int

// The priorities. A user sees it at once if a CriticalPlus request fails; nobody does
// if a Sheddable one is made again an hour later. Critical is what requests are that
// say nothing.
const (
	Sheddable Priority = iota
	SheddablePlus
	Critical
	CriticalPlus
	priorities
)

// Lower is the next less important one.
func (p Priority) Lower() Priority { return max(p-1, Sheddable) }

// queue is who waits: the more important first, among equals the first come. Its zero
// value is empty.
type queue struct {
	count  int
	levels [priorities]level
}

// level is who waits with one priority.
type level struct {
	waiters list.List      // of *waiter
	callers map[Caller]int // how many each caller has in it
}

type waiter struct {
	caller   Caller
	priority Priority
	place    *list.Element
	turn     chan error // what has become of it
}

func (q *queue) push(caller Caller, p Priority) *waiter {
	w := &waiter{caller: caller, priority: p, turn: make(chan error, 1)}
	l := &q.levels[p]
	if l.callers == nil {
		l.callers = map[Caller]int{}
	}
	w.place = l.waiters.PushBack(w)
	l.callers[caller]++
	q.count++
	return w
}

func (q *queue) remove(w *waiter) {
	l := &q.levels[w.priority]
	l.waiters.Remove(w.place)
	if l.callers[w.caller]--; l.callers[w.caller] == 0 {
		delete(l.callers, w.caller)
	}
	q.count--
}

// first is whose turn it is. The queue is not empty.
func (q *queue) first() *waiter {
	for p := CriticalPlus; ; p-- {
		if front := q.levels[p].waiters.Front(); front != nil {
			w, _ := front.Value.(*waiter)
			return w
		}
	}
}

// victim is who has to go for a request of that caller and priority: somebody less
// important, or the last of the caller with the most requests of the same priority,
// if those are more than the new one's. It is nil if the new one has to go.
func (q *queue) victim(caller Caller, p Priority) *waiter {
	for less := range p {
		if back := q.levels[less].waiters.Back(); back != nil {
			w, _ := back.Value.(*waiter)
			return w
		}
	}
	l := &q.levels[p]
	greedy, most := Caller{}, l.callers[caller]+1
	for name, n := range l.callers {
		if n > most {
			greedy, most = name, n
		}
	}
	if most == l.callers[caller]+1 {
		return nil
	}
	for back := l.waiters.Back(); back != nil; back = back.Prev() {
		if w, _ := back.Value.(*waiter); w.caller == greedy {
			return w
		}
	}
	return nil
}
