package events

import (
	"bytes"
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/cache"
	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream"
)

// Options are what a [Hub] works with.
type Options struct {
	// Caller calls the methods; required.
	Caller Caller
	// Metrics takes the hub's metrics, which hubs share; nil registers them nowhere.
	Metrics prometheus.Registerer
}

// Hub keeps event logs in memory. It is safe for concurrent use. Close it when done.
type Hub struct {
	*shared

	methods map[*upstream.Method]*method
}

// shared is what hubs have in common that keep the same logs.
type shared struct {
	caller Caller
	pumps  sync.WaitGroup

	// mu guards closed, and the logs and idle lists of all methods.
	mu     sync.Mutex
	closed func() *fault.Error // what is refused with from the end on; nil before
}

var _ Source = (*Hub)(nil)

// method is what a hub keeps for one method.
type method struct {
	*upstream.Method
	cfg Config
	*meters

	logs    map[string]*eventLog    // by epoch
	current map[cache.Key]*eventLog // those whose calls go on
	idle    list.List               // of *eventLog without readers, left longest ago first
}

// New makes a hub for those of methods that configs names as "package.Service/Method". The error holds a
// [mistake.Mistake] for everything that is wrong, with the method's name as its path.
func New(configs map[string]Config, methods []*upstream.Method, o Options) (*Hub, error) {
	h := &Hub{shared: &shared{caller: o.Caller}, methods: map[*upstream.Method]*method{}}
	known := make(map[string]*upstream.Method, len(methods))
	for _, m := range methods {
		known[m.Name] = m
	}
	metrics, err := newMetrics(o.Metrics)
	all := []error{err}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		m := known[name]
		switch {
		case m == nil:
			all = append(all, &mistake.Mistake{
				Path: []string{name}, What: fmt.Sprintf("the listed services have no method %q", name),
				Nearest: mistake.Nearest(name, slices.Sorted(maps.Keys(known))), Key: true,
			})
		case !m.ServerStreaming || m.ClientStreaming:
			all = append(all, &mistake.Mistake{
				Path: []string{name}, What: name + " cannot be resumed",
				Expected: "a method that takes one message and answers with a stream", Key: true,
			})
		}
		all = append(all, mistake.In(configs[name].Validate(), name))
		if m != nil {
			h.methods[m] = &method{
				Method: m, cfg: configs[name].withDefaults(), meters: metrics.of(name),
				logs: map[string]*eventLog{}, current: map[cache.Key]*eventLog{},
			}
		}
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	return h, nil
}

// Share returns a hub that keeps the same logs for methods of the same names, which other descriptors may have brought. The
// Caller of h makes its calls, with the methods of h. Closing either closes both.
func (h *Hub) Share(methods []*upstream.Method) *Hub {
	byName := make(map[string]*method, len(h.methods))
	for m, kept := range h.methods {
		byName[m.Name] = kept
	}
	other := &Hub{shared: h.shared, methods: map[*upstream.Method]*method{}}
	for _, m := range methods {
		if kept := byName[m.Name]; kept != nil {
			other.methods[m] = kept
		}
	}
	return other
}

// Resumes reports whether streams of m can be resumed.
func (h *Hub) Resumes(m *upstream.Method) bool { return h.methods[m] != nil }

// Attach returns a reader of the events of a request. Errors are the caller's refusal, ResourceExhausted if there are
// too many streams or readers, and Unavailable once the hub is closed; everything later comes from the reader.
func (h *Hub) Attach(ctx context.Context, m *upstream.Method, req []byte, last string) (Reader, error) {
	kept := h.methods[m]
	if kept == nil {
		return nil, fault.New(codes.Internal, "", fault.WithCause(fmt.Errorf("%s cannot be resumed", m.Name)))
	}
	key, err := h.caller.Share(ctx, m, req)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return nil, h.closed()
	}
	l, next, gap := kept.find(key, last)
	if l == nil {
		if l, err = h.open(ctx, kept, key, req); err != nil {
			return nil, err
		}
		next = 1
	}
	if l.readers >= kept.cfg.MaxReaders {
		return nil, fault.New(codes.ResourceExhausted, "this stream has too many readers")
	}
	switch {
	case gap != "":
		kept.gaps(gap).Inc()
	case last != "":
		kept.replays.Inc()
	}
	kept.attach(l)
	r := &reader{hub: h, log: l, next: next, gap: gap}
	if expires := auth.FromContext(ctx).Expires; !expires.IsZero() {
		r.expires = expires.Add(auth.Leeway)
		r.expiry = time.AfterFunc(time.Until(r.expires), l.wake)
	}
	return r, nil
}

// find finds the log of a key, where in it a reader goes on that has seen last, and why it misses something. Without a
// log there must be a new one. The hub's mu is held.
func (m *method) find(key cache.Key, last string) (l *eventLog, next uint64, gap Gap) {
	if last != "" {
		gap = Unknown
	}
	if at, ok := ParsePosition(last); ok {
		// An epoch is no permission: the log must be of the same request and identity.
		if l := m.logs[at.Epoch]; l != nil && l.key == key {
			next, why, ok := l.resume(at.Seq)
			if ok {
				return l, next, why
			}
			gap = why
		}
	}
	if l = m.current[key]; l != nil {
		if next, ok := l.live(); ok {
			return l, next, gap
		}
	}
	return nil, 0, gap
}

// open starts a log with its call, if there is room for one. mu is held.
func (h *Hub) open(ctx context.Context, m *method, key cache.Key, req []byte) (*eventLog, error) {
	if len(m.logs) >= m.cfg.MaxLogs {
		longest := m.idle.Front()
		if longest == nil {
			return nil, fault.New(codes.ResourceExhausted, "too many event streams are open")
		}
		if l, ok := longest.Value.(*eventLog); ok {
			m.drop(l)
			m.evicted.Inc()
		}
	}
	// The call outlives the request and the credentials that it begins with; readers are bound to their own.
	who := *auth.FromContext(ctx)
	who.Expires = time.Time{}
	ctx, cancel := context.WithCancel(auth.NewContext(context.WithoutCancel(ctx), &who))
	l := &eventLog{method: m, key: key, epoch: rand.Text(), cancel: cancel, ring: newRing(m.cfg)}
	m.logs[l.epoch], m.current[key] = l, l
	m.open.Inc()
	req = bytes.Clone(req)
	h.pumps.Go(func() {
		defer cancel()
		h.ended(l, h.follow(ctx, l, req))
	})
	return l, nil
}

// ended notes that a log's call has ended, and how: who asks for the same from now on makes another call.
func (h *Hub) ended(l *eventLog, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.finish(err)
	if l.method.current[l.key] == l {
		delete(l.method.current, l.key)
	}
	if l.empty() { // there is nothing to come back to
		l.method.drop(l)
	}
}

// attach counts a reader. The hub's mu is held.
func (m *method) attach(l *eventLog) {
	m.reading.Inc()
	l.readers++
	if l.idle != nil {
		m.idle.Remove(l.idle)
		l.idle = nil
		l.timer.Stop()
	}
}

// detach takes a reader off a log. The last one leaves it idle.
func (h *Hub) detach(l *eventLog) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.method.reading.Dec()
	if l.readers--; l.readers > 0 || l.dropped {
		return
	}
	l.idle, l.idleSince = l.method.idle.PushBack(l), time.Now()
	l.timer = time.AfterFunc(l.method.cfg.Resume, func() { h.expire(l) })
}

// expire drops a log that has been idle for too long.
func (h *Hub) expire(l *eventLog) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// A reader may have come, and even left again, while the timer fired.
	if l.idle != nil && time.Since(l.idleSince) >= l.method.cfg.Resume {
		l.method.drop(l)
		l.method.expired.Inc()
	}
}

// drop forgets a log and ends its call. Readers that it still has get what is in it. The hub's mu is held.
func (m *method) drop(l *eventLog) {
	if l.dropped {
		return
	}
	l.dropped = true
	l.cancel()
	delete(m.logs, l.epoch)
	if m.current[l.key] == l {
		delete(m.current, l.key)
	}
	if l.idle != nil {
		m.idle.Remove(l.idle)
		l.idle = nil
		l.timer.Stop()
	}
	m.open.Dec()
}

// Close ends all calls and streams, since the server goes down, and waits for them until ctx ends. From then on Attach
// refuses.
func (h *Hub) Close(ctx context.Context) error { return h.end(ctx, fault.Stopping) }

// Retire is [Hub.Close] where the configuration has changed.
func (h *Hub) Retire(ctx context.Context) error { return h.end(ctx, fault.Reconfigured) }

func (h *Hub) end(ctx context.Context, why func() *fault.Error) error {
	h.mu.Lock()
	h.closed = why
	for _, m := range h.methods {
		for _, l := range m.logs {
			l.finish(why())
			m.drop(l)
		}
	}
	h.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last call
		h.pumps.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("calls of event streams have not ended"), ctx.Err())
	}
}
