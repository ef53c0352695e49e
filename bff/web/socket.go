package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
)

// subprotocol is the one that connections must speak:
// https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md.
const subprotocol = "graphql-transport-ws"

// closeTimeout is how long a client may take to answer a closing handshake.
const closeTimeout = time.Second

// The close codes of graphql-transport-ws.
const (
	closeInvalidMessage websocket.StatusCode = 4400
	closeUnauthorized   websocket.StatusCode = 4401
	closeForbidden      websocket.StatusCode = 4403
	closeSubprotocol    websocket.StatusCode = 4406
	closeInitTimeout    websocket.StatusCode = 4408
	closeDuplicate      websocket.StatusCode = 4409
	closeTooManyInits   websocket.StatusCode = 4429
)

// message is one text frame.
type message struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// closure is why we close a connection.
type closure struct {
	code   websocket.StatusCode
	reason string
}

// Error is the reason.
func (c *closure) Error() string { return c.reason }

// socket is one connection. The handler's goroutine reads; one goroutine watches over time; each operation has one of
// its own. All of them have ended when serveSocket returns.
//
// Cancelling the context of a read or a write makes package websocket cut the connection. Therefore both get contexts
// that no operation's end cancels.
type socket struct {
	door *Door
	conn *websocket.Conn
	// closures takes the reason why the watch must close the connection; it never blocks the first sender.
	closures chan *closure

	// mu guards what follows.
	mu      sync.Mutex
	active  map[string]*operation
	running int // goroutines of operations, those that are about to end included
	ended   sync.WaitGroup
}

// serveSocket runs a connection until the client, an error or the door's end closes it.
func (d *Door) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !d.enter() {
		refuse(w, r, http.StatusServiceUnavailable, "no more WebSocket connections are taken")
		return
	}
	defer d.leave()
	line := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(line, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, OriginPatterns: d.config.Subscriptions.Origins,
	})
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(int64(d.config.Subscriptions.Message))
	if conn.Subprotocol() != subprotocol {
		_ = conn.Close(closeSubprotocol, "Subprotocol not acceptable")
		return
	}
	// The request's own context ends with the upgrade; its values are still wanted. The end of ctx ends the operations.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	s := &socket{door: d, conn: conn, closures: make(chan *closure, 1), active: map[string]*operation{}}
	var watch sync.WaitGroup
	watch.Go(func() { s.watch(ctx, cancel, line.cut) })
	err = s.read(ctx)
	cancel() // operations end now, those that wait for their upstream too
	if c, ok := errors.AsType[*closure](err); ok {
		s.close(c.code, c.reason, line.cut)
	}
	_ = conn.CloseNow()
	s.ended.Wait()
	watch.Wait()
}

// hijacked keeps the connection under a WebSocket, to cut it: whatever waits for the client then gives up at once, the
// closing handshake included, which else takes five seconds of its own.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack hands over the connection.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, buffered, err
}

func (h *hijacked) cut() { _ = h.conn.Close() }

// watch pings the client, and closes the connection when the door closes or somebody asks for it.
func (s *socket) watch(ctx context.Context, cancel context.CancelFunc, cut func()) {
	ping := time.NewTicker(s.door.config.Subscriptions.Ping)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.door.closing:
			cancel()
			s.close(s.door.why.code, s.door.why.reason, cut)
			return
		case c := <-s.closures:
			cancel()
			s.close(c.code, c.reason, cut)
			return
		case <-ping.C:
			if err := s.ping(ctx); err != nil {
				_ = s.conn.CloseNow()
				return
			}
		}
	}
}

// closeAt has the watch close the connection at a time. The returned function calls it off.
func (s *socket) closeAt(at time.Time, c *closure) (stop func() bool) {
	return time.AfterFunc(time.Until(at), func() {
		select {
		case s.closures <- c:
		default: // it is closing already
		}
	}).Stop
}

// close says why and closes, without waiting long for a client that does not answer.
func (s *socket) close(code websocket.StatusCode, reason string, cut func()) {
	defer time.AfterFunc(closeTimeout, cut).Stop()
	_ = s.conn.Close(code, reason)
}

func (s *socket) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.door.writeTimeout)
	defer cancel()
	return s.conn.Ping(ctx)
}

// read handles the client's messages until the connection ends.
func (s *socket) read(ctx context.Context) error {
	ctx, err := s.init(ctx)
	if err != nil {
		return err
	}
	if expires := auth.FromContext(ctx).Expires; !expires.IsZero() {
		// "Forbidden" is what clients of this protocol take for a call to come back with a fresh token.
		defer s.closeAt(expires, &closure{closeForbidden, "Forbidden: the token has expired"})()
	}
	for {
		m, err := s.next(ctx)
		if err != nil {
			return err
		}
		switch m.Type {
		case "subscribe":
			err = s.subscribe(ctx, m)
		case "complete":
			err = s.complete(m)
		case "ping":
			err = s.pong(ctx, m)
		case "pong":
		case "connection_init":
			err = &closure{closeTooManyInits, "Too many initialisation requests"}
		default:
			err = &closure{closeInvalidMessage, "Invalid message: unknown type"}
		}
		if err != nil {
			return err
		}
	}
}

// init waits for connection_init, authenticates the client and acknowledges. Only pings may come before.
func (s *socket) init(ctx context.Context) (context.Context, error) {
	deadline := time.Now().Add(s.door.config.Subscriptions.InitTimeout)
	defer s.closeAt(deadline, &closure{closeInitTimeout, "Connection initialisation timeout"})()
	for {
		m, err := s.next(ctx)
		if err != nil {
			return nil, err
		}
		switch m.Type {
		case "ping":
			if err := s.pong(ctx, m); err != nil {
				return nil, err
			}
		case "pong":
		case "connection_init":
			ctx, err := s.authenticate(ctx, m.Payload)
			if err != nil {
				return nil, err
			}
			return ctx, s.write(ctx, message{Type: "connection_ack"})
		case "subscribe":
			return nil, &closure{closeUnauthorized, "Unauthorized"}
		default:
			return nil, &closure{closeInvalidMessage, "Invalid message: expected connection_init"}
		}
	}
}

// authenticate takes a token out of connection_init's payload, as {"Authorization": "Bearer ..."} at the top or below
// "headers". It wins over who the client was when it asked for the upgrade. A client that has shown nothing yet must be
// welcome as it is.
func (s *socket) authenticate(ctx context.Context, payload json.RawMessage) (context.Context, error) {
	header := initAuthorization(payload)
	if header == "" && auth.FromContext(ctx).Authenticated {
		return ctx, nil
	}
	cred := auth.Credentials{Door: request.Web, Remote: request.FromContext(ctx).Remote}
	if header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if cred.Bearer = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || cred.Bearer == "" {
			return nil, &closure{closeForbidden, "Forbidden: expected a Bearer token"}
		}
	}
	known, err := s.door.core.Authenticate(ctx, cred)
	if err != nil {
		f := fault.From(err)
		s.door.present.log(ctx, f, nil)
		message, _ := f.GraphQL()
		return nil, &closure{closeForbidden, clip("Forbidden: "+message, 100)}
	}
	return known, nil
}

// initAuthorization finds the Authorization header in the payload of connection_init; what does not look like one is
// the client's own business.
func initAuthorization(payload json.RawMessage) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil {
		return ""
	}
	for name, value := range members {
		var text string
		if strings.EqualFold(name, "authorization") && json.Unmarshal(value, &text) == nil {
			return text
		}
	}
	var headers map[string]any
	if json.Unmarshal(members["headers"], &headers) != nil {
		return ""
	}
	for name, value := range headers {
		if text, ok := value.(string); ok && strings.EqualFold(name, "authorization") {
			return text
		}
	}
	return ""
}

// next reads one message.
func (s *socket) next(ctx context.Context) (message, error) {
	var m message
	kind, text, err := s.conn.Read(context.WithoutCancel(ctx))
	if err != nil {
		return m, err
	}
	if kind != websocket.MessageText || !utf8.Valid(text) || json.Unmarshal(text, &m) != nil {
		return m, &closure{closeInvalidMessage, "Invalid message"}
	}
	if p := m.Payload; len(p) > 0 && p[0] != '{' && string(p) != "null" {
		return m, &closure{closeInvalidMessage, "Invalid message: the payload is no object"}
	}
	return m, nil
}

func (s *socket) pong(ctx context.Context, ping message) error {
	return s.write(ctx, message{Type: "pong", Payload: ping.Payload})
}

func (s *socket) write(ctx context.Context, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.writeText(ctx, text)
}

// writeText sends a text frame. A client that does not take it in time loses the connection.
func (s *socket) writeText(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.door.writeTimeout)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, text)
	if err != nil {
		_ = s.conn.CloseNow()
	}
	return err
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
