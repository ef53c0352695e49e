package translate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/portico-bff/portico/bff/auth"
	"github.com/portico-bff/portico/bff/edge/record"
	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// conversation is one call over one WebSocket. Four goroutines share it: the handler's own reads frames and sends them
// upstream, one receives and writes frames, one pings, and one watches for what ends the call from outside. Each
// direction holds one message at a time: who is slow slows the other end down.
type conversation struct {
	conn     *websocket.Conn
	cut      func() // closes what is under conn, at once
	open     func(ctx context.Context) (upstream.Stream, error)
	cancel   context.CancelFunc // of the upstream call, and of all that waits
	method   *upstream.Method
	first    []byte // the request message, if the URL holds all of it
	compose  func(frame []byte, f format) ([]byte, error)
	answer   *answer
	binary   bool // messages are protobuf in binary frames
	limits   StreamLimits
	messages *rate.Limiter // of the client's
	gate     Gate          // takes tokens; nil if none does
	info     *request.Info
	record   *record.Record
	drain    *drain

	// What follows is the reader's.
	leg     *leg        // the upstream call; nil while there is none for want of a token
	sending bool        // the client may still send messages
	init    *time.Timer // ends a conversation without a token; nil if none is waited for
	parts   sync.WaitGroup

	lastMessage atomic.Int64 // when the last message came or went, in nanoseconds since 1970
	reading     atomic.Bool  // the reader waits for the client rather than for the service

	once sync.Once
	err  error // what the call ended with; set by who wins once
}

// leg is one upstream call of a conversation: a token that comes with the first frame replaces the call by another.
type leg struct {
	stream  upstream.Stream
	cancel  context.CancelFunc
	done    chan struct{} // closed when its answers are not written any more; nil before they are
	dropped atomic.Bool   // nobody wants to know how it ends
	over    bool          // it takes no more messages, and Recv tells why; the reader's
}

// call opens the upstream call. A client that has to show its credentials first is refused here already.
func (c *conversation) call(ctx context.Context) error {
	if auth.FromContext(ctx).Pending {
		return fault.New(codes.Unauthenticated, "")
	}
	ctx, cancel := context.WithCancel(ctx)
	up, err := c.open(ctx)
	if err != nil {
		cancel()
		return err
	}
	c.leg = &leg{stream: up, cancel: cancel}
	return nil
}

// mayTell reports whether a call that was denied may be tried again with a token.
func (c *conversation) mayTell(ctx context.Context, err error) bool {
	return c.gate != nil && unknown(ctx, err)
}

// run returns when the call has ended and so have all goroutines.
func (c *conversation) run(ctx context.Context) {
	c.touch()
	c.parts.Go(func() { c.ping(ctx) })
	c.parts.Go(func() { c.watch(ctx) })
	c.read(ctx)
	c.drop()
	c.parts.Wait()
}

func (c *conversation) touch() { c.lastMessage.Store(time.Now().UnixNano()) }

// read takes frames from the client and sends them upstream.
func (c *conversation) read(ctx context.Context) {
	err := c.begin(ctx)
	if err == nil && c.leg == nil {
		c.init = time.AfterFunc(c.limits.InitTimeout, func() {
			c.finish(ctx, fault.New(codes.Unauthenticated, fmt.Sprintf("no token has come within %v", c.limits.InitTimeout)), nil)
		})
		defer c.init.Stop()
	}
	c.check(ctx, err)
	opening := c.gate != nil
	for {
		kind, frame, err := c.next(ctx)
		if err != nil {
			c.abandon(err)
			return
		}
		if ctx.Err() != nil {
			continue // the call has ended, and nothing holds the client back any more
		}
		if opening {
			opening = false
			if token, ok := tokenIn(kind, frame); ok {
				c.check(ctx, c.replace(ctx, token))
				continue
			}
		}
		c.check(ctx, c.take(kind, frame))
	}
}

// next reads one frame, when the client may send one.
func (c *conversation) next(ctx context.Context) (websocket.MessageType, []byte, error) {
	if c.messages.Wait(ctx) != nil {
		<-ctx.Done() // the call has ended, or its time will be up before another message may come
	}
	c.reading.Store(true)
	defer c.reading.Store(false)
	// Only closing the connection ends reading: finish goes on to tell the client why the call has ended.
	kind, frame, err := c.conn.Read(context.WithoutCancel(ctx))
	if err == nil {
		c.touch()
	}
	return kind, frame, err
}

// check ends the conversation upon an error. Then the reader goes on until the client has closed as well.
func (c *conversation) check(ctx context.Context, err error) {
	switch {
	case errors.Is(err, io.EOF):
		c.leg.over = true
	case err != nil:
		c.finish(ctx, err, nil)
	}
}

// begin sends what there is to send already, and lets answers come. If the rule denies that for want of a token, the
// call is given up and no error.
func (c *conversation) begin(ctx context.Context) error {
	if c.leg == nil {
		return nil
	}
	c.sending = c.first == nil
	if c.first != nil {
		if err := sendOnly(c.leg.stream, c.first); err != nil {
			if c.mayTell(ctx, err) {
				c.drop()
				return nil
			}
			return err
		}
	}
	l := c.leg
	l.done = make(chan struct{})
	c.parts.Go(func() {
		defer close(l.done)
		c.write(ctx, l)
	})
	return nil
}

// drop gives up the upstream call, if there is one, and returns when none of its answers will be written any more.
func (c *conversation) drop() {
	l := c.leg
	if l == nil {
		return
	}
	l.dropped.Store(true)
	l.cancel()
	if l.done != nil {
		<-l.done
	}
	c.leg = nil
}

// replace begins the call anew, in the name of who shows a token.
func (c *conversation) replace(ctx context.Context, token string) error {
	if c.init != nil {
		c.init.Stop()
	}
	known, err := identify(ctx, c.gate, token)
	if err != nil {
		return err
	}
	c.record.Client = auth.FromContext(known).Subject
	c.drop()
	if err := c.call(known); err != nil {
		return err
	}
	if err := c.writeFrame(ctx, websocket.MessageText, []byte(`{"@token":{}}`)); err != nil {
		return fault.New(codes.Canceled, "", fault.WithCause(err))
	}
	return c.begin(known)
}

// take handles one frame that is no token.
func (c *conversation) take(kind websocket.MessageType, frame []byte) error {
	switch {
	case c.leg == nil:
		return fault.New(codes.Unauthenticated, "authentication is required: the first message must be a token")
	case c.leg.over:
		return nil // it comes too late, which is no mistake of the client's
	case halfClose(kind, frame):
		c.sending = false
		return c.leg.stream.CloseSend()
	case !c.sending:
		return fault.New(codes.FailedPrecondition, "a message follows the last one")
	}
	if err := c.forward(kind, frame); err != nil || c.method.ClientStreaming {
		return err
	}
	c.sending = false
	return c.leg.stream.CloseSend()
}

// forward sends one frame upstream.
func (c *conversation) forward(kind websocket.MessageType, frame []byte) error {
	f := jsonFormat
	if kind == websocket.MessageBinary {
		f = protoFormat
	}
	if c.binary != (f == protoFormat) {
		return fault.New(codes.InvalidArgument, "text frames hold JSON, binary frames need the subprotocol "+protoSubprotocol)
	}
	message, err := c.compose(frame, f)
	if err != nil {
		return err
	}
	return c.leg.stream.Send(message)
}

// halfClose reports whether a frame says that the client sends no more messages: {"@end": {}}.
func halfClose(kind websocket.MessageType, frame []byte) bool {
	_, ok := control(kind, frame, "@end", 64)
	return ok
}

// control returns the value in a frame that is no message but about the call: a JSON object with nothing but one member,
// of the given name, in at most limit bytes.
func control(kind websocket.MessageType, frame []byte, name string, limit int) (value json.RawMessage, ok bool) {
	if kind != websocket.MessageText || len(frame) > limit || !bytes.Contains(frame, []byte(name)) {
		return nil, false
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(frame, &members); err != nil || len(members) != 1 {
		return nil, false
	}
	value, ok = members[name]
	return value, ok
}

// write receives from upstream and writes frames to the client.
func (c *conversation) write(ctx context.Context, l *leg) {
	var buf []byte
	for {
		message, err := l.stream.Recv()
		if l.dropped.Load() {
			return
		}
		if err != nil {
			c.finish(ctx, err, l.stream.Trailer())
			return
		}
		kind := websocket.MessageText
		if c.binary {
			kind = websocket.MessageBinary
			buf, err = c.answer.appendProto(buf[:0], message)
		} else {
			buf, err = c.answer.append(buf[:0], message)
		}
		if err != nil {
			c.finish(ctx, badAnswer(err), nil)
			return
		}
		if err := c.writeFrame(ctx, kind, buf); err != nil {
			c.abandon(err)
			return
		}
		c.touch()
		if cap(buf) > maxKept {
			buf = nil
		}
	}
}

func (c *conversation) writeFrame(ctx context.Context, kind websocket.MessageType, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, c.limits.Write)
	defer cancel()
	return c.conn.Write(ctx, kind, frame)
}

// ping asks the client for a sign of life. While the service holds us back no pong is read; then it only finds out whether
// the connection is still there to write to.
func (c *conversation) ping(ctx context.Context) {
	tick := time.NewTicker(c.limits.Ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		reading := c.reading.Load()
		limit, cancel := context.WithTimeout(ctx, c.limits.Ping)
		err := c.conn.Ping(limit)
		cancel()
		if err != nil && (reading && c.reading.Load() || !reading && !errors.Is(err, context.DeadlineExceeded)) {
			c.abandon(fmt.Errorf("no pong: %w", err))
			return
		}
	}
}

// watch ends the call when the router is closed, when it has lasted for as long as it may, or when nothing has been said
// for long.
func (c *conversation) watch(ctx context.Context) {
	idle := time.NewTimer(c.limits.Idle)
	defer idle.Stop()
	life := time.NewTimer(c.limits.Lifetime)
	defer life.Stop()
	for {
		select {
		case <-ctx.Done(): // the client's time is up, if nothing else has ended the call
			c.finish(ctx, ctx.Err(), nil)
			return
		case <-c.drain.begun:
			c.finish(ctx, c.drain.why(), nil)
			return
		case <-life.C:
			public := fmt.Sprintf("the connection has lasted for %v, please connect again", c.limits.Lifetime)
			c.finish(ctx, fault.New(codes.Unavailable, public, fault.WithBlame(fault.Policy)), nil)
			return
		case <-idle.C:
			silent := time.Since(time.Unix(0, c.lastMessage.Load()))
			if silent >= c.limits.Idle {
				c.finish(ctx, fault.New(codes.DeadlineExceeded, fmt.Sprintf("no message for %v", c.limits.Idle)), nil)
				return
			}
			idle.Reset(c.limits.Idle - silent)
		}
	}
}

// parting is how long a client may take to accept the last frame and to close as well; the server may be going down.
const parting = 2 * time.Second

// finish tells the client how the call ended, closes the connection, and cancels what is left of the call. Only the
// first of finish and abandon counts.
func (c *conversation) finish(ctx context.Context, err error, trailer metadata.MD) {
	c.once.Do(func() {
		defer c.cancel()
		defer time.AfterFunc(parting, c.cut).Stop()
		trailers := http.Header{}
		passHeaders(trailers, trailer)
		end := lastFrame{Code: fault.Name(codes.OK), Trailers: trailers}
		code := codes.OK
		if !errors.Is(err, io.EOF) {
			c.err = err
			e := fault.From(err).Localize(c.info.Header.Values("Accept-Language"))
			problem := e.Problem(c.info.ID)
			code, end.Code, end.Problem = e.Code, problem.Code, &problem
		}
		frame, encodeErr := json.Marshal(map[string]lastFrame{"@end": end})
		if encodeErr == nil {
			_ = c.writeFrame(context.WithoutCancel(ctx), websocket.MessageText, frame) // if the client cannot be told, closing shows
		}
		_ = c.conn.Close(closeCode(code), end.Code)
	})
}

// abandon gives up a connection that the client has closed or that is broken.
func (c *conversation) abandon(err error) {
	c.once.Do(func() {
		c.err = fault.New(codes.Canceled, "", fault.WithCause(err))
		_ = c.conn.CloseNow()
		c.cancel()
	})
}

// lastFrame is what the last frame tells.
type lastFrame struct {
	Code     string              `json:"code"`
	Problem  *fault.Problem      `json:"problem,omitempty"`
	Trailers map[string][]string `json:"trailers,omitempty"`
}
