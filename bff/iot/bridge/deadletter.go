package bridge

import (
	"context"
	"encoding/json"
	"time"
)

// deadLetter is what a dead-letter topic gets.
type deadLetter struct {
	Topic   string    `json:"topic"`
	Reason  string    `json:"reason"`
	Payload []byte    `json:"payload"` // in base64
	Time    time.Time `json:"time"`
}

const (
	deadLetterTimeout = 10 * time.Second
	maxReason         = 1 << 10
)

// refuse gives up a message for good: it goes to the dead-letter topic, and is acknowledged when it is there. If that
// fails, it is let go of, and comes again.
func (l *lane) refuse(ctx context.Context, m *message, reason string) {
	reason = reason[:min(len(reason), maxReason)]
	if l.uplink.deadLetter != "" {
		text, err := json.Marshal(deadLetter{Topic: m.topic, Reason: reason, Payload: m.payload, Time: time.Now().UTC()})
		if err == nil {
			err = l.bridge.link.publish(ctx, l.uplink.deadLetter, text, deadLetterTimeout)
		}
		if err != nil {
			l.bridge.o.Logger.ErrorContext(ctx, "dead letter not published", "topic", m.topic, "reason", reason, "error", err)
			l.letGo([]*message{m}, resultDeferred)
			return
		}
	}
	if l.bridge.refusals.Allow() { // a device that sends nothing else must not fill the log; the metric counts all
		l.bridge.o.Logger.WarnContext(ctx, "message refused for good", "topic", m.topic, "reason", reason,
			"bytes", len(m.payload), "dead_letter", l.uplink.deadLetter)
	}
	l.accept(m, resultRefused)
}
