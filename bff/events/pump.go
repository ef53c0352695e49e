package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// follow makes the call of a log, and puts what comes into it until the call ends. It returns how, io.EOF if well.
func (h *Hub) follow(ctx context.Context, l *eventLog, req []byte) (err error) {
	// A panic here would end the process: no door's recovery is above this goroutine.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in an event stream: %v\n%s", p, debug.Stack())
		}
	}()
	up, err := h.caller.Open(ctx, l.method.Method)
	if err != nil {
		return err
	}
	l.opened(up)
	if err = up.Send(req); err == nil {
		err = up.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) { // after io.EOF, Recv tells why
		return err
	}
	for first := true; ; first = false {
		message, err := up.Recv()
		if first {
			if md, err := up.Header(); err == nil {
				l.setHeader(md)
			}
		}
		if err != nil {
			l.setTrailer(up.Trailer())
			return err
		}
		l.add(message)
	}
}
