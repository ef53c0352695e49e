package web

import (
	"context"
	"encoding/json"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/portico-bff/portico/bff/core"
	"github.com/portico-bff/portico/bff/request"
)

// operation is one operation of a connection, from "subscribe" to "complete" or "error".
type operation struct {
	socket *socket
	id     string
	params *graphql.RawParams
	cancel context.CancelFunc
}

// subscribe starts an operation.
func (s *socket) subscribe(ctx context.Context, m message) error {
	params, err := decodeBody(m.Payload)
	if err != nil || m.ID == "" {
		return &closure{closeInvalidMessage, "Invalid message: subscribe needs an id and a payload with a query"}
	}
	ctx, cancel := context.WithCancel(ctx)
	op := &operation{socket: s, id: m.ID, params: params, cancel: cancel}
	s.mu.Lock()
	_, duplicate := s.active[op.id]
	full := s.running >= s.door.config.Subscriptions.PerConnection
	if !duplicate && !full {
		s.active[op.id] = op
		s.running++
	}
	s.mu.Unlock()
	switch {
	case duplicate:
		cancel()
		return &closure{closeDuplicate, "Subscriber for " + clip(op.id, 64) + " already exists"}
	case full:
		cancel()
		return op.send(ctx, "error", gqlerror.List{{
			Message: "too many operations on this connection", Extensions: map[string]any{"code": "RATE_LIMITED"},
		}})
	}
	s.ended.Go(func() {
		defer func() {
			op.forget()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running--
		}()
		op.run(ctx)
	})
	return nil
}

// complete ends an operation that the client wants no more of. It may have ended already.
func (s *socket) complete(m message) error {
	if m.ID == "" {
		return &closure{closeInvalidMessage, "Invalid message: complete needs an id"}
	}
	s.mu.Lock()
	op := s.active[m.ID]
	s.mu.Unlock()
	if op != nil {
		op.forget()
	}
	return nil
}

// forget frees the operation's id, which another operation may have by the next call, and cancels the operation. It
// reports whether the client was still waiting for it. In this order, an operation that the client has ended cannot find
// itself still wanted when it notices.
func (o *operation) forget() bool {
	defer o.cancel()
	o.socket.mu.Lock()
	defer o.socket.mu.Unlock()
	if o.socket.active[o.id] != o {
		return false
	}
	delete(o.socket.active, o.id)
	return true
}

// run executes the operation and sends what it yields. It does not look at errors of sending: they end the connection,
// and with it the operation.
func (o *operation) run(ctx context.Context) {
	door := o.socket.door
	defer func() {
		if cause := recover(); cause != nil {
			o.fail(ctx, door.crashed(ctx, cause).Errors)
		}
	}()
	if _, err := door.core.Admit(ctx, core.Operation{Name: "graphql", Door: request.Web}, 1); err != nil {
		o.fail(ctx, gqlerror.List{door.present.any(ctx, err)})
		return
	}
	_, next := door.prepare(ctx, o.params)
	for {
		resp := next()
		switch {
		case resp == nil:
			if o.forget() {
				_ = o.send(ctx, "complete", nil)
			}
			return
		case resp.Data == nil:
			o.fail(ctx, resp.Errors)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if o.socket.writeText(ctx, appendNext(make([]byte, 0, len(resp.Data)+128), o.id, resp)) != nil {
			return
		}
	}
}

// fail ends the operation with errors.
func (o *operation) fail(ctx context.Context, errs gqlerror.List) {
	if o.forget() {
		_ = o.send(ctx, "error", errs)
	}
}

func (o *operation) send(ctx context.Context, kind string, errs gqlerror.List) error {
	m := message{ID: o.id, Type: kind}
	if errs != nil {
		m.Payload = appendErrors(nil, errs)
	}
	return o.socket.write(ctx, m)
}

// appendNext appends a "next" message around a response.
func appendNext(dst []byte, id string, resp *graphql.Response) []byte {
	quoted, err := json.Marshal(id)
	if err != nil { // strings always encode
		quoted = []byte(`""`)
	}
	dst = append(dst, `{"id":`...)
	dst = append(append(dst, quoted...), `,"type":"next","payload":`...)
	return append(appendResponse(dst, resp), '}')
}
