package schema

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/vektah/gqlparser/v2/ast"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream"
)

// execution is one run of a plan.
type execution struct {
	ctx context.Context //nolint:containedctx // an execution lives for one request
	// joined is ctx for calls whose requests are made of other answers: what is wrong with them is not the client's fault.
	joined context.Context //nolint:containedctx // as ctx
	op     *Operation
	plan   *plan
	caller upstream.Caller
	rows   upstream.RowCaller // nil if the caller keeps no rows
	vars   map[string]any

	root instance
	// places holds, for each selection with joins, the objects that were found there. A place is filled by the group
	// that brings its objects and read by those that wait for that group.
	places [][]*instance
	// waiting counts, for each group, the groups that it still waits for.
	waiting []atomic.Int32
	// slots bounds the calls under way.
	slots chan struct{}

	// received counts the bytes of all answers, from which the response's size is guessed.
	received atomic.Int64

	// mu guards what follows.
	mu      sync.Mutex
	flights map[string]*flight // the calls whose answers equal requests share
	replies []upstream.Reply   // all answers: their memory is given back when the response has been written
}

// flight is a call that others with the same request wait for.
type flight struct {
	done  chan struct{}
	reply []byte
	err   error
}

func newExecution(ctx context.Context, o *Operation, p *plan, caller upstream.Caller, vars map[string]any) *execution {
	e := &execution{
		ctx: ctx, joined: fault.Composed(ctx), op: o, plan: p, caller: caller, vars: vars,
		places:  make([][]*instance, p.selections),
		waiting: make([]atomic.Int32, len(p.groups)),
		slots:   make(chan struct{}, o.schema.options.Concurrency),
		flights: map[string]*flight{},
	}
	e.rows, _ = caller.(upstream.RowCaller)
	for i, g := range p.groups {
		e.waiting[i].Store(int32(g.waits))
	}
	e.root = instance{sel: p.root, joins: make([]*result, len(p.root.joins))}
	e.places[p.root.index] = []*instance{&e.root}
	return e
}

// run executes a query or a mutation. By its end nothing refers to the answers: the response is written, and who keeps
// rows has copied them.
func (e *execution) run() *Response {
	response := e.respond()
	for i := range e.replies {
		e.replies[i].Release()
	}
	return response
}

func (e *execution) respond() *Response {
	if e.op.def.Operation == ast.Mutation {
		return newRenderer(e).response(func(i int) { e.runGroups(e.plan.phases[i]) })
	}
	for _, phase := range e.plan.phases {
		e.runGroups(phase)
	}
	return newRenderer(e).response(nil)
}

// runGroups runs groups, each once those that it waits for have ended, and returns when all have.
func (e *execution) runGroups(groups []*group) {
	var (
		wg  sync.WaitGroup
		run func(g *group)
	)
	run = func(g *group) {
		for g != nil {
			e.guard(g)
			var next *group
			for _, fed := range g.feeds {
				if e.waiting[fed.index].Add(-1) != 0 {
					continue
				}
				if next == nil {
					next = fed
					continue
				}
				wg.Go(func() { run(fed) })
			}
			g = next
		}
	}
	var first *group
	for _, g := range groups {
		switch {
		case g.waits != 0:
		case first == nil:
			first = g
		default:
			wg.Go(func() { run(g) })
		}
	}
	run(first)
	wg.Wait()
}

// errPanic is the cause of errors that stand for a panic.
var errPanic = errors.New("panic")

// guard runs a group. A panic in a Caller becomes the error of the group's fields: in a goroutine of ours it would end
// the process.
func (e *execution) guard(g *group) {
	defer func() {
		if p := recover(); p != nil {
			e.failGroup(g, fmt.Errorf("%w while fetching from %s: %v", errPanic, g.call.method.Name, p))
		}
	}()
	fetch := e.fetchEach
	if g.call.batch != nil {
		fetch = e.fetchBatch
	}
	if err := fetch(g); err != nil {
		e.failGroup(g, err)
	}
}

func (e *execution) failGroup(g *group, err error) {
	for _, m := range g.members {
		for _, in := range e.places[m.parent.index] {
			in.joins[m.field.join] = &result{err: err}
		}
	}
}

// parallel runs f for each index below n, in as many goroutines as calls may be under way, and returns when all have
// ended. A panic in f becomes the error.
func (e *execution) parallel(n int, f func(i int)) error {
	if n == 1 {
		f(0)
		return nil
	}
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Pointer[error]
	)
	for range min(n, cap(e.slots)) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					err := fmt.Errorf("%w: %v", errPanic, p)
					failed.Store(&err)
				}
			}()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// invoke makes one call, bounded.
func (e *execution) invoke(ctx context.Context, m *upstream.Method, req []byte) (reply []byte, err error) {
	select {
	case e.slots <- struct{}{}:
	case <-e.ctx.Done():
		return nil, status.FromContextError(e.ctx.Err()).Err()
	}
	defer func() {
		<-e.slots
		if p := recover(); p != nil {
			err = fmt.Errorf("%w while calling %s: %v", errPanic, m.Name, p)
		}
	}()
	if err := e.ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	r, err := e.caller.Invoke(ctx, m, req)
	e.received.Add(int64(len(r.Message)))
	e.mu.Lock()
	e.replies = append(e.replies, r)
	e.mu.Unlock()
	return r.Message, err
}

// contextOf is the context for the calls of a field.
func (e *execution) contextOf(m member) context.Context {
	if m.parent == e.plan.root {
		return e.ctx
	}
	return e.joined
}

// shared makes one call for all equal requests of the execution.
func (e *execution) shared(ctx context.Context, m *upstream.Method, req []byte) ([]byte, error) {
	key := m.Name + "\x00" + string(req)
	e.mu.Lock()
	f := e.flights[key]
	if f != nil {
		e.mu.Unlock()
		<-f.done
		return f.reply, f.err
	}
	f = &flight{done: make(chan struct{})}
	e.flights[key] = f
	e.mu.Unlock()
	defer close(f.done)
	f.reply, f.err = e.invoke(ctx, m, req)
	return f.reply, f.err
}
