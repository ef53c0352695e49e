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
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/upstream"
)

// conversation is one call over one WebSocket. Four goroutines share it: the handler's own reads frames and sends them
// upstream, one receives and writes frames, one pings, and one watches for what ends the call from outside. Each
// direction holds one message at a time: who is slow slows the other end down.
type conversation struct {
	conn      *websocket.Conn
	up        upstream.Stream
	cancel    context.CancelFunc // of the upstream call, and of all that waits
	method    *upstream.Method
	compose   func(frame []byte, f format) ([]byte, error)
	answer    *answer
	binary    bool // messages are protobuf in binary frames
	limits    StreamLimits
	requestID string
	draining  <-chan struct{}

	lastMessage atomic.Int64 // when the last message came or went, in nanoseconds since 1970
	reading     atomic.Bool  // the reader waits for the client rather than for the service

	once sync.Once
	err  error // what the call ended with; set by who wins once
}

// run returns when the call has ended and so have all goroutines. first is the request message, if there is one yet.
func (c *conversation) run(ctx context.Context, first []byte) {
	c.touch()
	var parts sync.WaitGroup
	parts.Go(func() { c.write(ctx) })
	parts.Go(func() { c.ping(ctx) })
	parts.Go(func() { c.watch(ctx) })
	c.read(ctx, first)
	parts.Wait()
}

func (c *conversation) touch() { c.lastMessage.Store(time.Now().UnixNano()) }

// read takes frames from the client and sends them upstream.
func (c *conversation) read(ctx context.Context, first []byte) {
	// Only closing the connection ends reading: finish goes on to tell the client why the call has ended.
	reading := context.WithoutCancel(ctx)
	sending := true // the client may still send messages
	if first != nil {
		sending = false
		if err := sendOnly(c.up, first); err != nil {
			c.finish(ctx, err, false)
		}
	}
	for {
		c.reading.Store(true)
		kind, frame, err := c.conn.Read(reading)
		c.reading.Store(false)
		if err != nil {
			c.abandon(err)
			return
		}
		c.touch()
		if c.halfClose(kind, frame) {
			sending = false
			err = c.up.CloseSend()
		} else if !sending {
			err = fault.New(codes.FailedPrecondition, "a message follows the last one")
		} else {
			err = c.forward(kind, frame)
			if err == nil && !c.method.ClientStreaming {
				sending = false
				err = c.up.CloseSend()
			}
		}
		switch {
		case errors.Is(err, io.EOF): // the call has ended; Recv tells why
			sending = false
		case err != nil:
			c.finish(ctx, err, false)
			// Go on reading until the client has closed as well.
		}
	}
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
	return c.up.Send(message)
}

// halfClose reports whether a frame says that the client sends no more messages: a JSON object with nothing but a member
// "@end".
func (c *conversation) halfClose(kind websocket.MessageType, frame []byte) bool {
	if kind != websocket.MessageText || len(frame) > 64 || !bytes.Contains(frame, []byte(`"@end"`)) {
		return false
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(frame, &members); err != nil {
		return false
	}
	return len(members) == 1 && members["@end"] != nil
}

// write receives from upstream and writes frames to the client.
func (c *conversation) write(ctx context.Context) {
	var buf []byte
	for {
		message, err := c.up.Recv()
		if err != nil {
			c.finish(ctx, err, true)
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
			c.finish(ctx, badAnswer(err), false)
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

// ping asks the client for a sign of life, but only while pongs are read: not while the service holds us back.
func (c *conversation) ping(ctx context.Context) {
	tick := time.NewTicker(c.limits.Ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.reading.Load() {
			continue
		}
		limit, cancel := context.WithTimeout(ctx, c.limits.Ping)
		err := c.conn.Ping(limit)
		cancel()
		if err != nil && c.reading.Load() {
			c.abandon(fmt.Errorf("no pong: %w", err))
			return
		}
	}
}

// watch ends the call when the server goes down, or nothing has been said for long.
func (c *conversation) watch(ctx context.Context) {
	idle := time.NewTimer(c.limits.Idle)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.draining:
			c.finish(ctx, errDraining(), false)
			return
		case <-idle.C:
			silent := time.Since(time.Unix(0, c.lastMessage.Load()))
			if silent >= c.limits.Idle {
				c.finish(ctx, fault.New(codes.DeadlineExceeded, fmt.Sprintf("no message for %v", c.limits.Idle)), false)
				return
			}
			idle.Reset(c.limits.Idle - silent)
		}
	}
}

// parting is how long a client may take to accept the last frame; the server may be going down.
const parting = 2 * time.Second

// finish tells the client how the call ended, closes the connection, and cancels what is left of the call. Only the
// first of finish and abandon counts. ended tells that err is what Recv returned.
func (c *conversation) finish(ctx context.Context, err error, ended bool) {
	c.once.Do(func() {
		defer c.cancel()
		end := lastFrame{Code: fault.Name(codes.OK)}
		if ended {
			h := http.Header{}
			passHeaders(h, c.up.Trailer())
			end.Trailers = h
		}
		code := codes.OK
		if !errors.Is(err, io.EOF) {
			c.err = err
			e := fault.From(err)
			problem := e.Problem(c.requestID)
			code, end.Code, end.Problem = e.Code, problem.Code, &problem
		}
		frame, encodeErr := json.Marshal(map[string]lastFrame{"@end": end})
		if encodeErr == nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
			_ = c.writeFrame(last, websocket.MessageText, frame) // if the client cannot be told, closing shows
			cancel()
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
