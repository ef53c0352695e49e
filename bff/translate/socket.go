package translate

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/bff/translate/urlpath"
	"github.com/portico-bff/portico/upstream"
)

// The subprotocols (RFC 6455, section 1.9). A client that offers none of them gets the first without its name.
const (
	jsonSubprotocol  = "portico.json"
	protoSubprotocol = "portico.proto"
)

// socket serves a streaming method over a WebSocket. The upstream call is opened first, so that who may not call gets
// a status of HTTP; but who is denied only for being nobody may yet send a token.
func (rt *Router) socket(w http.ResponseWriter, r *http.Request, to *route, p *urlpath.Path) {
	if !rt.drain.enter() {
		Refuse(w, r, rt.drain.why())
		return
	}
	defer rt.drain.leave()
	defer rt.sockets.Add(-1)
	if rt.sockets.Add(1) > int64(rt.limits.Connections) {
		Refuse(w, r, fault.New(codes.Unavailable, "no more WebSockets are taken now"))
		return
	}
	answer, first, err := to.greet(r, p)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	limit, err := clientTimeout(r.Header)
	if err != nil {
		Refuse(w, r, err)
		return
	}
	// The request's context ends with the handler's business in HTTP, not with the connection.
	ctx, cancel := within(context.WithoutCancel(r.Context()), limit)
	defer cancel()
	c := &conversation{
		cancel: cancel, first: first, answer: answer, limits: rt.limits, method: to.method, gate: rt.gate,
		messages: rate.NewLimiter(rate.Every(rt.limits.Rate.Interval()), rt.limits.Burst),
		open:     func(ctx context.Context) (upstream.Stream, error) { return rt.caller.Open(ctx, to.method) },
		compose: func(frame []byte, f format) ([]byte, error) {
			composed, err := to.compose(r, p, frame, f)
			return composed.message, err
		},
		info: request.FromContext(r.Context()), record: record.FromContext(r.Context()),
		drain: rt.drain,
	}
	if err := c.call(ctx); err != nil && !c.mayTell(ctx, err) {
		Refuse(w, r, err)
		return
	}
	if c.conn, c.cut, err = rt.accept(w, r); err != nil {
		return // answered
	}
	defer c.conn.CloseNow() //nolint:errcheck // closed in order before, if order was possible
	c.conn.SetReadLimit(int64(rt.limits.Message))
	c.binary = c.conn.Subprotocol() == protoSubprotocol
	c.run(ctx)
	note(r, c.err)
}

// within bounds a context in time, if there is a limit.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit > 0 {
		return context.WithTimeout(ctx, limit)
	}
	return context.WithCancel(ctx)
}

// greet looks at what the handshake says: how answers are wanted, and the request message if the URL holds all of it.
func (rt *route) greet(r *http.Request, p *urlpath.Path) (*answer, []byte, error) {
	if !rt.method.ClientStreaming && rt.body == noBody {
		composed, err := rt.compose(r, p, nil, jsonFormat)
		if err != nil {
			return nil, nil, err
		}
		answer, err := rt.selectAnswer(r, composed.system)
		return answer, composed.message, err
	}
	// Parameters are looked at now, rather than with the first message.
	system, err := rt.setURL(rt.builder.New(), r, p)
	if err != nil {
		return nil, nil, err
	}
	answer, err := rt.selectAnswer(r, system)
	return answer, nil, err
}

// accept makes the WebSocket, with what cuts the connection under it, or answers with a problem.
func (rt *Router) accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, func(), error) {
	catcher := &upgrader{ResponseWriter: w}
	conn, err := websocket.Accept(catcher, r, &websocket.AcceptOptions{
		Subprotocols:    []string{jsonSubprotocol, protoSubprotocol},
		OriginPatterns:  rt.origins,
		CompressionMode: websocket.CompressionNoContextTakeover,
	})
	if err == nil {
		return conn, catcher.cut, nil
	}
	code := codes.InvalidArgument
	public := "the WebSocket handshake is malformed"
	switch catcher.status {
	case http.StatusForbidden:
		code, public = codes.PermissionDenied, "pages of this origin may not connect"
	case http.StatusInternalServerError:
		code, public = codes.Internal, ""
	}
	opts := []fault.Option{fault.WithCause(err)}
	if catcher.status != 0 {
		opts = append(opts, fault.WithHTTPStatus(catcher.status))
	}
	Refuse(w, r, fault.New(code, public, opts...))
	return nil, nil, err
}

// upgrader keeps the connection under a WebSocket, to cut it: whatever waits for the client then gives up at once, the
// closing handshake included, which else takes ten seconds of its own. It keeps back an error that is being answered as
// plain text.
type upgrader struct {
	http.ResponseWriter
	conn   net.Conn
	status int
}

// Hijack hands over the connection.
func (c *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(c.ResponseWriter).Hijack()
	c.conn = conn
	return conn, buffered, err
}

func (c *upgrader) cut() { _ = c.conn.Close() }

func (c *upgrader) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		c.status = status
		return
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *upgrader) Write(p []byte) (int, error) {
	if c.status != 0 {
		return len(p), nil
	}
	return c.ResponseWriter.Write(p)
}

// closeCode is the close code that tells how a call ended: 1000, or 4000 and the gRPC code.
func closeCode(code codes.Code) websocket.StatusCode {
	if code == codes.OK {
		return websocket.StatusNormalClosure
	}
	return 4000 + websocket.StatusCode(code)
}
