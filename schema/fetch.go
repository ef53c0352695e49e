package schema

import (
	"bytes"
	"errors"

	"github.com/portico-bff/portico/upstream/wire"
)

// fetchEach calls a method that answers for one parent: once for each different request.
func (e *execution) fetchEach(g *group) error {
	for _, m := range g.members {
		if err := e.fetchMember(g, m); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) fetchMember(g *group, m member) error {
	parents := e.places[m.parent.index]
	if len(parents) == 0 {
		return nil
	}
	in := e.inputs(m)
	if in.err != nil {
		for _, p := range parents {
			p.joins[m.field.join] = &result{err: in.err}
		}
		return nil
	}
	var (
		requests [][]byte
		index    = map[string]int{}
		of       = make([]int, len(parents))
		req      []byte
	)
	for i, p := range parents {
		in.parent = p.msg
		var err error
		if req, _, err = g.call.request.build(req[:0], &in.inputs); err != nil {
			of[i] = -1
			p.joins[m.field.join] = &result{err: requestFailure(err)}
			continue
		}
		at, ok := index[string(req)]
		if !ok {
			at = len(requests)
			index[string(req)] = at
			requests = append(requests, bytes.Clone(req))
		}
		of[i] = at
	}
	results := make([]*result, len(requests))
	ctx := e.contextOf(m)
	err := e.parallel(len(requests), func(i int) {
		var (
			reply []byte
			err   error
		)
		if g.once {
			reply, err = e.shared(ctx, g.call.method, requests[i])
		} else {
			reply, err = e.invoke(ctx, g.call.method, requests[i])
		}
		if err != nil {
			results[i] = &result{err: err}
			return
		}
		if reply == nil {
			reply = []byte{}
		}
		results[i] = m.field.result([][]byte{reply})
	})
	if err != nil {
		return err
	}
	for _, r := range results {
		e.grow(r.objects)
	}
	for i, p := range parents {
		if of[i] >= 0 {
			p.joins[m.field.join] = results[of[i]]
		}
	}
	return nil
}

// memberInputs are the inputs of a member's requests, or why there are none.
type memberInputs struct {
	inputs
	err error
}

func (e *execution) inputs(m member) memberInputs {
	args, err := m.field.args.of(e.vars)
	if err != nil {
		err = &argumentError{err}
	}
	return memberInputs{inputs: inputs{ctx: e.ctx, lookup: e.op.schema.options.Lookup, args: args}, err: err}
}

// argumentError says that a request cannot be made of what the client sent.
type argumentError struct{ err error }

func (f *argumentError) Error() string { return f.err.Error() }
func (f *argumentError) Unwrap() error { return f.err }

// requestFailure tells whether the client or a service is to blame for a request that cannot be made.
func requestFailure(err error) error {
	if errors.Is(err, wire.ErrInvalid) {
		return &malformedError{err}
	}
	return &argumentError{err}
}

// result makes the result of a field out of the rows that were fetched for it.
func (f *selected) result(rows [][]byte) *result {
	if f.composite() == nil {
		return &result{rows: rows}
	}
	r := &result{}
	for _, row := range rows {
		if row == nil {
			r.objects = append(r.objects, instance{})
			continue
		}
		objects, err := f.objectsIn(row)
		if err != nil {
			return &result{err: &malformedError{err}}
		}
		if len(objects) == 0 && f.field.call.batch.plural() {
			objects = []instance{{}}
		}
		if r.objects == nil {
			r.objects = objects
		} else {
			r.objects = append(r.objects, objects...)
		}
	}
	return r
}

// malformedError says that an answer is no valid message.
type malformedError struct{ err error }

func (m *malformedError) Error() string { return "malformed answer: " + m.err.Error() }
func (m *malformedError) Unwrap() error { return m.err }
