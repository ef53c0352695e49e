package chromium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/coder/websocket"
)

// connection speaks the DevTools protocol. One goroutine reads; it ends with the connection.
type connection struct {
	ws   *websocket.Conn
	done chan struct{} // closed when the reader has ended

	// mu guards what follows.
	mu      sync.Mutex
	last    int
	pending map[int]chan<- reply
	pages   map[string]*Page // by session
}

// request is one call.
type request struct {
	ID      int    `json:"id"`
	Session string `json:"sessionId,omitempty"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

// reply answers one call.
type reply struct {
	result json.RawMessage
	err    error
}

var errClosed = errors.New("the connection to the browser is closed")

func newConnection(ws *websocket.Conn) *connection {
	c := &connection{ws: ws, done: make(chan struct{}), pending: map[int]chan<- reply{}, pages: map[string]*Page{}}
	go c.read()
	return c
}

// call calls a method in a session ("" is the browser's own) and waits for its result.
func (c *connection) call(ctx context.Context, session, method string, params any) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.pending[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pending, id)
	}()
	text, err := json.Marshal(request{ID: id, Session: session, Method: method, Params: params})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	if err := c.ws.Write(ctx, websocket.MessageText, text); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	select {
	case r := <-answer:
		if r.err != nil {
			return nil, fmt.Errorf("%s: %w", method, r.err)
		}
		return r.result, nil
	case <-c.done:
		return nil, fmt.Errorf("call %s: %w", method, errClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("call %s: %w", method, ctx.Err())
	}
}

// read hands out replies and events until the connection ends.
func (c *connection) read() {
	defer close(c.done)
	for {
		_, text, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		var m struct {
			ID      int             `json:"id"`
			Session string          `json:"sessionId"`
			Method  string          `json:"method"`
			Params  json.RawMessage `json:"params"`
			Result  json.RawMessage `json:"result"`
			Error   *struct {
				Message string `json:"message"`
				Data    string `json:"data"`
			} `json:"error"`
		}
		if json.Unmarshal(text, &m) != nil {
			return
		}
		c.mu.Lock()
		answer, page := c.pending[m.ID], c.pages[m.Session]
		c.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil && m.Error != nil:
			answer <- reply{err: errors.New(m.Error.Message + " " + m.Error.Data)}
		case m.ID != 0 && answer != nil:
			answer <- reply{result: m.Result}
		case m.ID == 0 && page != nil:
			page.event(m.Method, m.Params)
		}
	}
}

// attach sends the events of a session to a page.
func (c *connection) attach(session string, p *Page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[session] = p
}

func (c *connection) close() {
	_ = c.ws.CloseNow()
	<-c.done
}
