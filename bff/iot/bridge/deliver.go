package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/bff/fault"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
	// isolateAfter is how many times a batch may fail for an unknown reason before it is split, and a single message
	// before it is left to be delivered again: one that a service cannot stand does not hold the others back.
	isolateAfter = 3
)

// verdict is what a failed call means for its messages.
type verdict int

const (
	retry   verdict = iota // the service will take them another time
	isolate                // the service may stumble over one of them
	poison                 // one of them is refused for good
)

// judge reads the code of a failed call. It is total. What an operator can put right (permissions, a missing method)
// is tried again: a message is given up only if it is to blame.
func judge(code codes.Code) verdict {
	switch code {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition:
		return poison
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return isolate
	case codes.OK, codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return retry
	default:
		return isolate
	}
}

// codeOf is the code that the service gave, beneath what the core made of it for clients.
func codeOf(err error) codes.Code {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		if cause, ok := errors.AsType[interface {
			error
			GRPCStatus() *status.Status
		}](f.Cause); ok {
			return cause.GRPCStatus().Code()
		}
		return f.Code
	}
	return status.Code(err)
}

// deliver hands a batch to the service, and ends each message: accepted, refused, or let go of unacknowledged.
func (l *lane) deliver(ctx context.Context, batch []*message) {
	l.send(ctx, l.encode(ctx, batch))
}

// encode encodes the payloads, and refuses those that cannot be.
func (l *lane) encode(ctx context.Context, batch []*message) []*message {
	good := batch[:0]
	for _, m := range batch {
		var err error
		if m.element, err = l.uplink.encode(m.topic, m.captures, m.payload); err != nil {
			l.refuse(ctx, m, "the payload is no "+payloadJSON+" of the message: "+err.Error())
			continue
		}
		good = append(good, m)
	}
	return good
}

// send calls the service until it has taken or refused the messages, or their time is up.
func (l *lane) send(ctx context.Context, batch []*message) {
	backoff := backoffMin
	for attempt := 1; ; attempt++ {
		if batch = l.living(batch); len(batch) == 0 {
			return
		}
		err := l.call(ctx, batch)
		if err == nil {
			return
		}
		code := codeOf(err)
		l.bridge.metrics.failures.WithLabelValues(l.uplink.method.Name, fault.Name(code)).Inc()
		what := judge(code)
		switch {
		case ctx.Err() != nil:
			l.letGo(batch, resultClosed)
			return
		case what == poison && len(batch) == 1:
			l.refuse(ctx, batch[0], fault.From(err).Public)
			return
		case what == isolate && attempt >= isolateAfter && len(batch) == 1:
			l.bridge.o.Logger.ErrorContext(ctx, "the service fails for a message, which will come again", "topic", batch[0].topic,
				"method", l.uplink.method.Name, "error", err)
			l.letGo(batch, resultDeferred)
			return
		case len(batch) > 1 && (what == poison || what == isolate && attempt >= isolateAfter):
			half := len(batch) / 2
			l.send(ctx, batch[:half:half])
			l.send(ctx, batch[half:])
			return
		}
		if attempt == 1 || attempt%10 == 0 {
			l.bridge.o.Logger.WarnContext(ctx, "uplink call failed, trying again", "method", l.uplink.method.Name,
				"messages", len(batch), "attempt", attempt, "error", err)
		}
		delay := backoff/2 + rand.N(backoff/2) //nolint:gosec // spreads retries, nothing secret
		if f, ok := errors.AsType[*fault.Error](err); ok {
			delay = max(delay, min(f.RetryAfter, backoffMax))
		}
		backoff = min(2*backoff, backoffMax)
		if !l.pause(ctx, delay) {
			l.letGo(batch, resultClosed)
			return
		}
	}
}

// pause waits between two attempts, and reports false if there is to be no other.
func (l *lane) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-l.bridge.stop:
		return false
	}
}

// patience is how long a message may be tried: not so long that the broker delivers it again meanwhile.
func (l *lane) patience() time.Duration { return l.bridge.o.AckWait / 6 * 5 }

// living lets go of the messages whose time is up, or whose connection is gone: the broker delivers them again.
func (l *lane) living(batch []*message) []*message {
	now, generation := time.Now(), l.bridge.link.generation.Load()
	good := batch[:0]
	for _, m := range batch {
		switch {
		case m.qos > 0 && m.generation != generation:
			l.letGo([]*message{m}, resultStale)
		case now.Sub(m.arrived) > l.patience():
			l.letGo([]*message{m}, resultExpired)
		default:
			good = append(good, m)
		}
	}
	return good
}

// call makes one call and ends the messages that it decides about. An error decides about none of them.
func (l *lane) call(ctx context.Context, batch []*message) error {
	elements := make([][]byte, len(batch))
	deadline := batch[0].arrived
	for i, m := range batch {
		elements[i] = m.element
		if m.arrived.Before(deadline) {
			deadline = m.arrived
		}
	}
	callCtx, cancel := context.WithDeadline(serviceContext(ctx, l.uplink.topic.String()), deadline.Add(l.bridge.o.AckWait))
	defer cancel()
	started := time.Now()
	reply, err := l.bridge.o.Caller.Invoke(callCtx, l.uplink.method, l.uplink.request(elements))
	l.bridge.metrics.calls.WithLabelValues(l.uplink.method.Name).Observe(time.Since(started).Seconds())
	if err != nil {
		return err
	}
	l.bridge.metrics.batch.Observe(float64(len(batch)))
	var refused map[int]string
	if l.uplink.results != nil {
		refused, err = l.uplink.results.refusals(reply.Message, len(batch))
	}
	reply.Release() // nothing of it is in refused
	if err != nil {
		// The service has done what it wanted; asking again brings the same answer. Nothing may be lost.
		for _, m := range batch {
			l.refuse(ctx, m, err.Error())
		}
		return nil
	}
	for i, m := range batch {
		if why, ok := refused[i]; ok {
			l.refuse(ctx, m, why)
			continue
		}
		l.accept(m, resultAccepted)
	}
	return nil
}

// accept acknowledges a message.
func (l *lane) accept(m *message, result string) {
	if m.generation == l.bridge.link.generation.Load() {
		m.ack()
	}
	l.end(m, result)
}

// letGo leaves messages unacknowledged.
func (l *lane) letGo(batch []*message, result string) {
	for _, m := range batch {
		if m.qos > 0 && (result == resultExpired || result == resultDeferred) {
			l.bridge.link.owe()
		}
		l.end(m, result)
	}
}

func (l *lane) end(m *message, result string) {
	l.bridge.metrics.results.WithLabelValues(result).Inc()
	l.bridge.link.settle(l.bridge.window.leave(len(m.payload)))
}
