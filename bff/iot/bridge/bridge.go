// Package bridge carries messages between an MQTT broker and gRPC methods, so that none that the broker holds is lost:
// it acknowledges a message to the broker only after the service has accepted it, or after it went to a dead-letter
// topic because the service never will.
//
// [Compile] checks the configuration; [New] starts a [Bridge]. It keeps one persistent session at the broker. Messages
// come into a bounded window, are gathered into batches, and delivered with retries until the broker is about to
// deliver them again; then they are let go of, unacknowledged. Services see messages more than once and out of
// order after a fault, and know them by their deduplication key.
package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portico-bff/portico/bff/auth/principal"
	"github.com/portico-bff/portico/bff/iot/topic"
	"github.com/portico-bff/portico/bff/request"
	"github.com/portico-bff/portico/upstream"
)

// Options configure [New]. Everything but Share, User and Password is required.
type Options struct {
	Plan   *Plan
	Caller upstream.Caller
	// Dial connects to the broker; ClientID, User and Password log in there.
	Dial                     func(context.Context) (net.Conn, error)
	ClientID, User, Password string
	// Share is the group of bridges that share the uplinks; none if empty.
	Share string
	// Redelivers says that the broker by itself delivers a message again that is not acknowledged within AckWait. For
	// one that does not, the bridge reconnects.
	Redelivers bool
	AckWait    time.Duration
	// MaxUnacked and WindowBytes bound the messages in memory.
	MaxUnacked  int
	WindowBytes int64
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Bridge is a running bridge. It is safe for concurrent use.
type Bridge struct {
	o       Options
	link    *link
	window  *window
	routes  topic.Tree[*lane]
	lanes   []*lane
	metrics *metrics

	refusals *rate.Limiter // of what the log tells about them

	stop    chan struct{} // closed when no new batch may start
	stopped sync.Once
	cancel  context.CancelFunc // ends deliveries and downlinks
	wg      sync.WaitGroup

	unlink context.CancelFunc // ends the link, which outlives what it serves
	linked sync.WaitGroup
}

// refusalsLogged is how many refused messages are logged in a second, in the long run.
const refusalsLogged = 5

// New starts a bridge, which connects in the background, and again whenever the connection is lost. It must be closed.
func New(ctx context.Context, o Options) (*Bridge, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	b := &Bridge{
		o: o, metrics: m, window: newWindow(o.MaxUnacked, o.WindowBytes), stop: make(chan struct{}),
		refusals: rate.NewLimiter(refusalsLogged, 10*refusalsLogged),
	}
	ctx = context.WithoutCancel(ctx)
	work, cancel := context.WithCancel(ctx)
	b.cancel = cancel
	for _, u := range o.Plan.uplinks {
		l := &lane{bridge: b, uplink: u, in: make(chan *message, o.MaxUnacked)}
		b.lanes = append(b.lanes, l)
		b.routes.Add(u.topic, l)
	}
	if err := m.observe(o.Metrics, b); err != nil {
		b.cancel()
		return nil, err
	}
	b.link = newLink(b)
	for _, l := range b.lanes {
		b.wg.Go(func() { l.run(work) })
	}
	for _, d := range o.Plan.downlinks {
		b.wg.Go(func() { b.runDownlink(work, d) })
	}
	linkCtx, unlink := context.WithCancel(ctx)
	b.unlink = unlink
	b.linked.Go(func() { b.link.run(linkCtx) })
	return b, nil
}

// Subscribed reports whether the bridge has been subscribed to all uplinks since it was started: from then on the
// broker keeps messages for it, connected or not.
func (b *Bridge) Subscribed() bool { return b.link.subscribed.Load() }

// Ready tells why messages do not flow at the moment, or nil.
func (b *Bridge) Ready() error {
	if b.link.up.Load() == nil {
		return errors.New("the bridge is not connected to the broker")
	}
	return nil
}

// Close lets deliveries that are under way end until ctx does, and disconnects. What is not acknowledged by then, the
// broker delivers to the next bridge with the same client id. A second call does nothing.
func (b *Bridge) Close(ctx context.Context) {
	b.stopped.Do(func() { close(b.stop) })
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	b.cancel()
	<-done
	b.unlink()
	b.linked.Wait()
}

// serviceContext makes the context of a call that the bridge makes on its own behalf.
func serviceContext(ctx context.Context, path string) context.Context {
	ctx = principal.NewContext(ctx, &principal.Principal{
		Subject: "portico-iot", Kind: principal.Service, Authenticated: true, Roles: []string{"iot"},
	})
	return request.NewContext(ctx, &request.Info{Door: request.IoT, ID: rand.Text(), Path: path})
}
