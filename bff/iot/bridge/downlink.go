package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/portico-bff/portico/bff/iot/topic"
)

const (
	downlinkBackoffMin = 100 * time.Millisecond
	downlinkBackoffMax = 10 * time.Second
	publishTimeout     = 10 * time.Second
	// settled is how long a stream must last for the next one to be opened at once.
	settled = 10 * time.Second
)

// runDownlink publishes the messages of a stream, and opens another one whenever it ends.
func (b *Bridge) runDownlink(ctx context.Context, d *downlink) {
	backoff := downlinkBackoffMin
	for {
		if !b.awaitLink(ctx) {
			return
		}
		started := time.Now()
		err := b.follow(ctx, d)
		if ctx.Err() != nil || b.stopping() {
			return
		}
		if time.Since(started) > settled {
			backoff = downlinkBackoffMin
		}
		b.o.Logger.WarnContext(ctx, "downlink stream ended, opening another", "method", d.method.Name, "error", err,
			"retry_in", backoff)
		if !sleep(ctx, b.stop, backoff) {
			return
		}
		backoff = min(2*backoff, downlinkBackoffMax)
	}
}

// stopping reports whether Close has been called.
func (b *Bridge) stopping() bool {
	select {
	case <-b.stop:
		return true
	default:
		return false
	}
}

// awaitLink waits until the broker can be published to.
func (b *Bridge) awaitLink(ctx context.Context) bool {
	for b.link.up.Load() == nil {
		if !sleep(ctx, b.stop, downlinkBackoffMin) {
			return false
		}
	}
	return true
}

// follow publishes the messages of one stream until it ends.
func (b *Bridge) follow(ctx context.Context, d *downlink) error {
	ctx, cancel := context.WithCancel(serviceContext(ctx, d.topic.String()))
	defer cancel()
	go func() {
		select {
		case <-b.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	stream, err := b.o.Caller.Open(ctx, d.method)
	if err != nil {
		return err
	}
	if err := stream.Send(nil); err != nil && !errors.Is(err, io.EOF) { // io.EOF: Recv tells why
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := b.publish(ctx, d, msg); err != nil {
			return err
		}
	}
}

// publish publishes one message of a stream. An error means that the broker did not take it; the next stream brings it
// again.
func (b *Bridge) publish(ctx context.Context, d *downlink, msg []byte) error {
	if expiry, ok := d.expiry(msg); ok && !time.Now().Before(expiry) {
		b.metrics.downlinks.WithLabelValues(resultExpired).Inc()
		return nil
	}
	name, payload, err := d.compose(msg)
	if err != nil {
		b.metrics.downlinks.WithLabelValues(resultRefused).Inc()
		b.o.Logger.ErrorContext(ctx, "downlink message dropped", "method", d.method.Name, "error", err)
		return nil
	}
	if err := b.link.publish(ctx, name, payload, publishTimeout); err != nil {
		b.metrics.downlinks.WithLabelValues(resultDeferred).Inc()
		return err
	}
	b.metrics.downlinks.WithLabelValues(resultAccepted).Inc()
	return nil
}

// compose renders a message and its topic.
func (d *downlink) compose(msg []byte) (string, []byte, error) {
	var wrong error
	name, ok := d.topic.Fill(func(variable string) (string, bool) {
		v, found := d.values[variable].First(msg)
		text := ""
		if found {
			text = v.String()
		}
		if err := topic.CheckLevel(text); err != nil {
			wrong = fmt.Errorf("{%s}: %w", variable, err)
			return "", false
		}
		return text, true
	})
	if !ok {
		return "", nil, wrong
	}
	if err := topic.CheckName(name); err != nil {
		return "", nil, err
	}
	payload, err := d.render.Append(nil, msg)
	return name, payload, err
}

// expiry is when a message need not be delivered any more.
func (d *downlink) expiry(msg []byte) (time.Time, bool) {
	if d.expires == nil {
		return time.Time{}, false
	}
	v, ok := d.expires.First(msg)
	if !ok {
		return time.Time{}, false
	}
	var seconds, nanos uint64
	for b := v.Raw(); len(b) > 0; {
		number, _, n := protowire.ConsumeTag(b)
		if n < 0 {
			return time.Time{}, false
		}
		value, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return time.Time{}, false
		}
		if number == 1 {
			seconds = value
		}
		if number == 2 {
			nanos = value
		}
		b = b[n+m:]
	}
	return time.Unix(int64(seconds), int64(nanos)), true
}

// sleep waits, and reports false if ctx ended or stop was closed first.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}
