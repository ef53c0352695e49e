package front

import (
	"fmt"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/portico-bff/portico/bff/iot/packet"
)

// maxFromBroker bounds what the broker may send in one packet.
const maxFromBroker = 2 << 20

// down carries the broker's packets to the device until the connection ends, and returns why it did.
func (c *conn) down() (string, error) {
	for {
		p, err := c.fromBroker.Next(maxFromBroker)
		if err != nil {
			return reasonBroker, err
		}
		switch p := p.(type) {
		case *packets.SubackPacket:
			if err := c.merge(p); err != nil {
				return reasonBroker, err
			}
		case *packets.PublishPacket:
			c.server.metrics.delivered.Inc()
		case *packets.PubackPacket, *packets.UnsubackPacket:
		default:
			return reasonBroker, fmt.Errorf("%w: %s", packet.ErrUnexpected, p.String())
		}
		if err := c.send(p); err != nil {
			return reasonDevice, err
		}
	}
}

// merge puts the broker's answers to a SUBSCRIBE in between those for the filters that it was not asked for.
func (c *conn) merge(p *packets.SubackPacket) error {
	c.mu.Lock()
	answer, ok := c.pending[p.MessageID]
	delete(c.pending, p.MessageID)
	c.mu.Unlock()
	codes := p.ReturnCodes
	for i, code := range answer {
		if code != unasked {
			continue
		}
		if len(codes) == 0 {
			ok = false
			break
		}
		answer[i], codes = codes[0], codes[1:]
	}
	if !ok || len(codes) > 0 {
		return fmt.Errorf("%w: a SUBACK for %d that does not fit", packet.ErrUnexpected, p.MessageID)
	}
	p.ReturnCodes = answer
	return nil
}
