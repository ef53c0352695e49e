package bridge

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	maxBatch      = 10000
	maxBatchBytes = 1 << 20
	maxLinger     = 5 * time.Second
)

// lane is an uplink at work: one goroutine gathers its messages into batches and delivers them, one batch at a time.
type lane struct {
	bridge *Bridge
	uplink *uplink
	in     chan *message
	oldest atomic.Int64 // arrival of the oldest message at hand, in Unix nanoseconds; 0 for none
}

// run works until ctx ends, and begins no batch after the bridge's stop.
func (l *lane) run(ctx context.Context) {
	for {
		select {
		case <-l.bridge.stop:
			return
		case <-ctx.Done():
			return
		case first := <-l.in:
			l.oldest.Store(first.arrived.UnixNano())
			batch := l.gather(ctx, first)
			l.deliver(ctx, batch)
			l.oldest.Store(0)
		}
	}
}

// gather collects what comes until the batch is full or the first message has waited long enough. A backlog fills the
// batch at once.
func (l *lane) gather(ctx context.Context, first *message) []*message {
	batch := []*message{first}
	if l.uplink.into == nil {
		return batch
	}
	bytes := len(first.payload)
	timer := time.NewTimer(l.uplink.batch.Linger)
	defer timer.Stop()
	for len(batch) < l.uplink.batch.Max && bytes < maxBatchBytes {
		select {
		case m := <-l.in:
			batch = append(batch, m)
			bytes += len(m.payload)
		case <-timer.C:
			return batch
		case <-l.bridge.stop:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}
