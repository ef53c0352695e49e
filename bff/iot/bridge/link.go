package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	connectTimeout   = 10 * time.Second
	subscribeTimeout = 15 * time.Second
	reconnectMin     = 100 * time.Millisecond
	reconnectMax     = 5 * time.Second
	// disconnectQuiet is how many milliseconds what is still to be written may take at the end.
	disconnectQuiet = 250
	// atLeastOnce is the QoS of all that the bridge subscribes to and publishes.
	atLeastOnce = 1
	// refusedFilter is the return code of a filter that the broker refuses (MQTT 3.1.1 section 3.9.3).
	refusedFilter = 0x80
)

var errLinkDown = errors.New("not connected to the broker")

// link keeps a connection to the broker, with one persistent session over all of them. Each connection is a paho client
// and a generation of its own: a message is acknowledged in the generation that it came in, or never.
type link struct {
	bridge  *Bridge
	filters map[string]byte

	up         atomic.Pointer[connection] // nil while there is none
	subscribed atomic.Bool                // there has been one
	generation atomic.Uint64              // of the present or the next connection
	owed       atomic.Int64               // since when the broker must be made to deliver again, in Unix nanoseconds; 0 for not at all
}

// connection is one connection to the broker.
type connection struct {
	client     mqtt.Client
	nc         net.Conn
	generation uint64
	lost       chan struct{} // closed when it is
	cause      error         // why; to be read after lost
}

func newLink(b *Bridge) *link {
	l := &link{bridge: b, filters: make(map[string]byte)}
	for _, f := range b.o.Plan.Filters() {
		if b.o.Share != "" {
			f = "$share/" + b.o.Share + "/" + f
		}
		l.filters[f] = atLeastOnce
	}
	return l
}

// run connects and subscribes, again whenever the connection is lost, until ctx ends.
func (l *link) run(ctx context.Context) {
	log := l.bridge.o.Logger
	backoff := reconnectMin
	for ctx.Err() == nil {
		c, err := l.connect(ctx)
		started := time.Now()
		if err == nil {
			l.subscribed.Store(true) // first: who is told that the bridge is ready may let devices in
			l.up.Store(c)
			select {
			case <-c.lost:
				err = c.cause
			case <-ctx.Done():
			}
			l.up.Store(nil)
		}
		if ctx.Err() != nil {
			if err == nil {
				c.client.Disconnect(disconnectQuiet)
			}
			return
		}
		if c != nil && time.Since(started) > reconnectMax {
			backoff = reconnectMin
		}
		l.generation.Add(1) // what is in the window cannot be acknowledged any more
		l.bridge.metrics.reconnects.Inc()
		log.WarnContext(ctx, "no connection to the broker", "error", err, "retry_in", backoff)
		if !sleep(ctx, nil, backoff) {
			return
		}
		backoff = min(2*backoff, reconnectMax)
	}
}

// connect makes a connection that is subscribed to all uplinks.
func (l *link) connect(ctx context.Context) (*connection, error) {
	o := &l.bridge.o
	c := &connection{generation: l.generation.Add(1), lost: make(chan struct{})}
	l.owed.Store(0)
	connecting, connected := context.WithTimeout(ctx, connectTimeout)
	defer connected()
	c.client = mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker("tcp://broker"). // Dial knows where it is
		SetClientID(o.ClientID).SetUsername(o.User).SetPassword(o.Password).
		SetProtocolVersion(4). // and no fall-back to MQTT 3.1
		SetCleanSession(false).
		SetAutoAckDisabled(true).
		SetOrderMatters(true).                          // the handler never blocks
		SetAutoReconnect(false).SetConnectRetry(false). // run does both
		SetConnectTimeout(connectTimeout).SetWriteTimeout(connectTimeout).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			nc, err := o.Dial(connecting)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(connecting, func() {
				if ctx.Err() != nil {
					_ = nc.Close() // paho waits for the CONNACK without a context
				}
			})
			c.nc = nc
			return newBuffered(nc), nil
		}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(ctx, c.generation, m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			c.cause = err
			close(c.lost)
		}))
	token := c.client.Connect()
	<-token.Done() // within connectTimeout, or soon after ctx has ended
	if err := token.Error(); err != nil {
		return nil, err
	}
	if err := l.subscribe(ctx, c); err != nil {
		c.client.Disconnect(0)
		return nil, fmt.Errorf("subscribing to the uplinks: %w", err)
	}
	return c, nil
}

func (l *link) subscribe(ctx context.Context, c *connection) error {
	if len(l.filters) == 0 {
		return nil
	}
	token := c.client.SubscribeMultiple(l.filters, nil)
	if err := c.wait(ctx, token, subscribeTimeout); err != nil {
		return err
	}
	granted, ok := token.(*mqtt.SubscribeToken)
	if !ok {
		return fmt.Errorf("unexpected token %T", token)
	}
	for filter, code := range granted.Result() {
		if code == refusedFilter {
			return fmt.Errorf("the broker refuses %q", filter)
		}
	}
	return nil
}

// wait waits for the broker's answer.
func (c *connection) wait(ctx context.Context, token mqtt.Token, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-c.lost:
		return errLinkDown
	case <-timer.C:
		return fmt.Errorf("no answer from the broker within %s", timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// receive takes a message in. It never blocks: paho reads the broker's other packets only when it returns.
func (l *link) receive(ctx context.Context, generation uint64, m mqtt.Message) {
	b := l.bridge
	in := &message{
		topic: m.Topic(), payload: m.Payload(), qos: m.Qos(), ack: m.Ack, generation: generation, arrived: time.Now(),
	}
	lane, captures, ok := b.routes.Find(in.topic)
	if !ok {
		// The session still has a subscription of an uplink that is no more.
		b.metrics.results.WithLabelValues(resultUnrouted).Inc()
		b.o.Logger.ErrorContext(ctx, "a message to no uplink was dropped", "topic", in.topic)
		m.Ack()
		return
	}
	in.captures = captures
	if !b.window.enter(len(in.payload)) {
		if in.qos == 0 {
			b.metrics.results.WithLabelValues(resultShed).Inc()
			return
		}
		b.metrics.results.WithLabelValues(resultDeferred).Inc()
		l.owe()
		return
	}
	lane.in <- in // has room for the whole window
}

// owe remembers that a message was left unacknowledged. A broker that does not deliver it again by itself does so after
// a reconnection. But that also makes work in vain of what is in the window, so it waits until the window is empty, or
// for AckWait.
func (l *link) owe() {
	if !l.bridge.o.Redelivers {
		l.owed.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// settle reconnects if that is owed and the time has come.
func (l *link) settle(empty bool) {
	since := l.owed.Load()
	if since == 0 || !empty && time.Since(time.Unix(0, since)) < l.bridge.o.AckWait {
		return
	}
	if c := l.up.Load(); c != nil && l.owed.CompareAndSwap(since, 0) {
		// Not Close: paho takes an error about a closed connection for its own doing, and would wait for ever.
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// publish publishes with QoS 1 and waits until the broker has acknowledged.
func (l *link) publish(ctx context.Context, name string, payload []byte, timeout time.Duration) error {
	c := l.up.Load()
	if c == nil {
		return fmt.Errorf("publishing to %q: %w", name, errLinkDown)
	}
	if err := c.wait(ctx, c.client.Publish(name, atLeastOnce, false, payload), timeout); err != nil {
		return fmt.Errorf("publishing to %q: %w", name, err)
	}
	return nil
}
