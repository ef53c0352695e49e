package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	connectTimeout   = 10 * time.Second
	subscribeTimeout = 15 * time.Second
	reconnectMax     = 5 * time.Second
	disconnectQuiet  = 250 // milliseconds for what is still to be written
	// atLeastOnce is the QoS of all that the bridge subscribes to and publishes.
	atLeastOnce = 1
	// refusedFilter is the return code of a filter that the broker refuses (MQTT 3.1.1 section 3.9.3).
	refusedFilter = 0x80
)

var errLinkClosed = errors.New("the connection to the broker is closed")

// link is the connection to the broker. Every connection is a generation: a message is acknowledged in the generation
// that it came in, or never.
type link struct {
	bridge  *Bridge
	client  mqtt.Client
	filters map[string]byte

	subscribed atomic.Bool   // once all filters have been
	ready      atomic.Bool   // all filters are, and the connection is up
	generation atomic.Uint64 // of the present connection
	owed       atomic.Int64  // since when the broker must be made to deliver again, in Unix nanoseconds; 0 for not at all

	ctx    context.Context //nolint:containedctx // paho's callbacks carry none
	cancel context.CancelFunc

	mu   sync.Mutex // guards conn
	conn net.Conn   // of the present generation
}

func newLink(b *Bridge) *link {
	l := &link{bridge: b, filters: make(map[string]byte)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for _, f := range b.o.Plan.Filters() {
		if b.o.Share != "" {
			f = "$share/" + b.o.Share + "/" + f
		}
		l.filters[f] = atLeastOnce
	}
	o := mqtt.NewClientOptions().
		AddBroker("tcp://broker"). // dial knows where it is
		SetClientID(b.o.ClientID).SetUsername(b.o.User).SetPassword(b.o.Password).
		SetProtocolVersion(4). // and no fall-back to MQTT 3.1
		SetCleanSession(false).
		SetAutoAckDisabled(true).
		SetOrderMatters(true). // the handler never blocks
		SetConnectTimeout(connectTimeout).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).
		SetAutoReconnect(true).SetMaxReconnectInterval(reconnectMax).
		SetWriteTimeout(connectTimeout).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return l.open() }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(m) }).
		SetOnConnectHandler(func(mqtt.Client) { l.subscribe() }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			l.ready.Store(false)
			l.bridge.metrics.reconnects.Inc()
			b.o.Logger.WarnContext(l.ctx, "connection to the broker lost", "error", err)
		})
	l.client = mqtt.NewClient(o)
	return l
}

// start connects in the background, until it succeeds.
func (l *link) start() { l.client.Connect() }

// open connects, and begins a generation.
func (l *link) open() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, connectTimeout)
	defer cancel()
	nc, err := l.bridge.o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.conn = nc
	l.mu.Unlock()
	l.generation.Add(1)
	l.owed.Store(0)
	return newBuffered(nc), nil
}

// subscribe subscribes to all uplinks, or drops the connection so that it is tried again.
func (l *link) subscribe() {
	generation := l.generation.Load()
	if err := l.trySubscribe(); err != nil {
		if l.ctx.Err() == nil {
			l.bridge.o.Logger.ErrorContext(l.ctx, "subscribing to the uplinks", "error", err)
			l.bounce(generation)
		}
		return
	}
	l.subscribed.Store(true)
	l.ready.Store(true)
}

func (l *link) trySubscribe() error {
	if len(l.filters) == 0 {
		return nil
	}
	token := l.client.SubscribeMultiple(l.filters, nil)
	if err := l.wait(l.ctx, token, subscribeTimeout); err != nil {
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
func (l *link) wait(ctx context.Context, token mqtt.Token, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-timer.C:
		return fmt.Errorf("no answer from the broker within %s", timeout)
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return errLinkClosed
	}
}

// receive takes a message in. It never blocks: paho reads the broker's other packets only when it returns.
func (l *link) receive(m mqtt.Message) {
	b := l.bridge
	in := &message{
		topic: m.Topic(), payload: m.Payload(), qos: m.Qos(), ack: m.Ack,
		generation: l.generation.Load(), arrived: time.Now(),
	}
	lane, captures, ok := b.routes.Find(in.topic)
	if !ok {
		// The session still has a subscription of an uplink that is no more.
		b.metrics.results.WithLabelValues(resultUnrouted).Inc()
		b.o.Logger.ErrorContext(l.ctx, "a message to no uplink was dropped", "topic", in.topic)
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
	if l.owed.CompareAndSwap(since, 0) {
		l.bounce(l.generation.Load())
	}
}

// bounce drops the connection of a generation, so that the broker delivers again what was not acknowledged.
func (l *link) bounce(generation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generation.Load() == generation && l.conn != nil {
		// Not Close: paho takes an error about a closed connection for its own doing, and would wait for ever.
		_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		l.conn = nil
	}
}

// publish publishes with QoS 1 and waits until the broker has acknowledged.
func (l *link) publish(ctx context.Context, name string, payload []byte, timeout time.Duration) error {
	if !l.client.IsConnectionOpen() {
		return errLinkClosed // paho would keep it, and we would publish it again
	}
	err := l.wait(ctx, l.client.Publish(name, atLeastOnce, false, payload), timeout)
	if err != nil {
		return fmt.Errorf("publishing to %q: %w", strings.ToValidUTF8(name, "?"), err)
	}
	return nil
}

func (l *link) close() {
	l.ready.Store(false)
	l.client.Disconnect(disconnectQuiet)
	l.cancel()
}
