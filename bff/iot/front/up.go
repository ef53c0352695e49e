package front

import (
	"fmt"
	"strconv"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
	"github.com/portico-bff/portico/bff/iot/packet"
	"github.com/portico-bff/portico/bff/iot/topic"
)

const (
	// maxThrottle is how long a limit may hold one message back before the device is disconnected.
	maxThrottle = 10 * time.Second
	// minThrottle is how long to wait when a limit does not tell.
	minThrottle = 100 * time.Millisecond
	// maxPending is how many SUBSCRIBEs may wait for the broker.
	maxPending = 16
	// failure refuses a filter in a SUBACK; unasked stands for what the broker has yet to say.
	failure = 0x80
	unasked = 0xff
)

// up carries the device's packets to the broker until the connection ends, and returns why it did.
func (c *conn) up() (string, error) {
	for {
		if err := c.nc.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
			return reasonDevice, err
		}
		p, err := c.in.Next(c.server.o.Limits.PacketBytes)
		if err != nil {
			return readReason(err), err
		}
		if reason, err := c.upward(p); reason != "" {
			return reason, err
		}
	}
}

// upward handles one packet of the device. A reason ends the connection.
func (c *conn) upward(p packets.ControlPacket) (string, error) {
	switch p := p.(type) {
	case *packets.PublishPacket:
		return c.handlePublish(p)
	case *packets.SubscribePacket:
		return c.handleSubscribe(p)
	case *packets.UnsubscribePacket:
		return c.handleUnsubscribe(p)
	case *packets.PubackPacket:
		return toBroker(c.forward(p))
	case *packets.PingreqPacket:
		return toDevice(c.send(packets.NewControlPacket(packets.Pingresp)))
	case *packets.DisconnectPacket:
		return reasonDisconnect, nil
	default: // a second CONNECT (section 3.1), or QoS 2
		return reasonProtocol, fmt.Errorf("%w: %s", packet.ErrUnexpected, p.String())
	}
}

func toBroker(err error) (string, error) {
	if err != nil {
		return reasonBroker, err
	}
	return "", nil
}

func toDevice(err error) (string, error) {
	if err != nil {
		return reasonDevice, err
	}
	return "", nil
}

func (c *conn) handlePublish(p *packets.PublishPacket) (string, error) {
	if err := topic.CheckName(p.TopicName); err != nil {
		return c.denyPublish(err)
	}
	allowed, ok := allowing(c.publish, p.TopicName)
	switch {
	case !ok:
		return c.denyPublish(fmt.Errorf("publishing to %q", p.TopicName))
	case p.Qos > 1:
		return c.denyPublish(fmt.Errorf("publishing with QoS %d", p.Qos))
	case p.Retain:
		return c.denyPublish(fmt.Errorf("publishing a retained message to %q", p.TopicName))
	}
	if reason, err := c.throttle(allowed.template, p.TopicName); reason != "" {
		return reason, err
	}
	if err := c.forward(p); err != nil {
		return reasonBroker, err
	}
	c.server.metrics.published.WithLabelValues(strconv.Itoa(int(p.Qos))).Inc()
	return "", nil
}

func (c *conn) denyPublish(err error) (string, error) {
	c.server.metrics.denied.WithLabelValues("publish").Inc()
	return reasonForbidden, err
}

// throttle waits until the limits admit a message. Meanwhile the device is not read, so that its socket fills.
func (c *conn) throttle(entry, name string) (string, error) {
	if c.limiter.Tokens() < 1 {
		c.server.metrics.throttled.Inc()
	}
	if err := c.limiter.Wait(c.ctx); err != nil {
		return reasonLimited, err
	}
	var waited time.Duration
	for {
		err := c.device.Admit(c.ctx, entry, name)
		if err == nil {
			return "", nil
		}
		f := fault.From(err)
		if f.Code != codes.ResourceExhausted {
			return reasonForbidden, err
		}
		delay := max(f.RetryAfter, minThrottle)
		if waited += delay; waited > maxThrottle {
			return reasonLimited, err
		}
		c.server.metrics.throttled.Inc()
		if !sleep(c.ctx, delay) {
			return reasonDevice, c.ctx.Err()
		}
	}
}

// handleSubscribe asks the broker for the filters that the device may have, and remembers the others until the answer
// comes.
func (c *conn) handleSubscribe(p *packets.SubscribePacket) (string, error) {
	answer := make([]byte, len(p.Topics))
	asked := &packets.SubscribePacket{FixedHeader: p.FixedHeader, MessageID: p.MessageID}
	for i, filter := range p.Topics {
		if !c.maySubscribe(filter) {
			c.server.metrics.denied.WithLabelValues("subscribe").Inc()
			answer[i] = failure
			continue
		}
		answer[i] = unasked
		asked.Topics = append(asked.Topics, filter)
		asked.Qoss = append(asked.Qoss, min(p.Qoss[i], 1))
	}
	if len(asked.Topics) == 0 {
		return toDevice(c.send(&packets.SubackPacket{
			FixedHeader: packets.FixedHeader{MessageType: packets.Suback}, MessageID: p.MessageID, ReturnCodes: answer,
		}))
	}
	c.mu.Lock()
	_, twice := c.pending[p.MessageID]
	full := len(c.pending) >= maxPending
	if !twice && !full {
		c.pending[p.MessageID] = answer
	}
	c.mu.Unlock()
	if twice || full {
		return reasonProtocol, fmt.Errorf("%w: SUBSCRIBE %d, while %d are waiting", packet.ErrUnexpected, p.MessageID, maxPending)
	}
	return toBroker(c.forward(asked))
}

func (c *conn) maySubscribe(filter string) bool {
	if topic.CheckFilter(filter) != nil {
		return false
	}
	if _, ok := allowing(c.subscribe, filter); !ok {
		return false
	}
	if _, ok := c.filters[filter]; !ok && len(c.filters) >= c.server.o.Limits.Subscriptions {
		return false
	}
	c.filters[filter] = struct{}{}
	return true
}

// handleUnsubscribe passes on what a broker may see; of the rest there is no subscription.
func (c *conn) handleUnsubscribe(p *packets.UnsubscribePacket) (string, error) {
	asked := &packets.UnsubscribePacket{FixedHeader: p.FixedHeader, MessageID: p.MessageID}
	for _, filter := range p.Topics {
		delete(c.filters, filter)
		if topic.CheckFilter(filter) == nil {
			asked.Topics = append(asked.Topics, filter)
		}
	}
	if len(asked.Topics) == 0 {
		return toDevice(c.send(&packets.UnsubackPacket{
			FixedHeader: packets.FixedHeader{MessageType: packets.Unsuback}, MessageID: p.MessageID,
		}))
	}
	return toBroker(c.forward(asked))
}
