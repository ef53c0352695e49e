package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// deadlines calls through three servers, each a process that calls the next. The time
// that a call has left is less at every hop than at the one before. When the last one
// does not answer, a call ends with its deadline; and when the caller gives up, the work
// at the last server stops within 100 ms, though two others are between them.
func deadlines(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	var hops []*lab.Process // the last one first
	for _, name := range []string{"third", "second", "first"} {
		config := node.Config{Name: name}
		if len(hops) > 0 {
			var err error
			if config, err = relay(l, config, hops[len(hops)-1]); err != nil {
				return nil, err
			}
		}
		p, err := l.Server(ctx, config)
		if err != nil {
			return nil, err
		}
		hops = append(hops, p)
	}
	client, err := l.Client(ctx, lab.Destination("", impatient), hops[len(hops)-1])
	if err != nil {
		return nil, err
	}
	wrong, err := shrinking(ctx, l, client)
	if err != nil {
		return nil, err
	}
	last := hops[0]
	if err := last.Behave(ctx, node.Behaviour{Hang: true}); err != nil {
		return nil, err
	}
	const limit = 300 * time.Millisecond
	answer, err := client.Ask(ctx, node.Call{Method: reading, Timeout: limit})
	if err != nil {
		return nil, err
	}
	if answer.Code != "DeadlineExceeded" {
		return nil, fmt.Errorf("a call that nobody answers ended %s: %s", answer.Code, answer.Message)
	}
	slowest, err := cancelling(ctx, l, client, last)
	return []figure.Figure{
		figure.Count("hops_with_more_time", wrong, figure.Zero()),
		figure.Milliseconds("past_deadline", answer.Ended.Sub(answer.Began)-limit, figure.Most(100)),
		figure.Milliseconds("work_after_cancel", slowest, figure.Most(100)),
	}, err
}

const reading = testpb.TestService_CacheableUnaryCall_FullMethodName

// relay is a server that calls the next one.
func relay(l *lab.Lab, config node.Config, next *lab.Process) (node.Config, error) {
	var err error
	if config.Policy, err = l.File("policy.yaml", lab.Everybody+lab.Destination("", impatient)); err != nil {
		return config, err
	}
	config.Endpoints, err = l.Endpoints(next.Endpoint())
	config.Target = lab.Target
	return config, err
}

// shrinking counts the hops where a call had no less time than at the hop before, or no
// deadline at all.
func shrinking(ctx context.Context, l *lab.Lab, client *lab.Process) (wrong int, err error) {
	const limit = 2 * time.Second
	for range l.Calls(300) {
		answer, err := client.Ask(ctx, node.Call{Method: reading, Timeout: limit})
		if err != nil {
			return 0, err
		}
		if answer.Code != "OK" || len(answer.Hops) != 3 {
			return 0, fmt.Errorf("%s %s over %v", answer.Code, answer.Message, answer.Hops)
		}
		left := limit
		for _, hop := range answer.Hops {
			if hop.Left <= 0 || hop.Left >= left { // a call without a deadline has less than nothing
				wrong++
			}
			left = hop.Left
		}
	}
	return wrong, nil
}

// cancelling gives calls up, one after the other, and returns the longest time that the
// last server has worked on after that.
func cancelling(ctx context.Context, l *lab.Lab, client, last *lab.Process) (slowest time.Duration, err error) {
	before, err := last.Served(ctx)
	if err != nil {
		return 0, err
	}
	for i := range l.Calls(50) {
		answer, err := client.Ask(ctx, node.Call{Method: reading, Timeout: rawTimeout, Cancel: 50 * time.Millisecond})
		if err != nil {
			return 0, err
		}
		if answer.Code != "Canceled" {
			return 0, fmt.Errorf("a call that was given up ended %s: %s", answer.Code, answer.Message)
		}
		// The next one is not made before this one's work has ended.
		for ended := 0; ended <= i; {
			now, err := last.Served(ctx)
			if err != nil {
				return 0, err
			}
			if ended = len(now.Ended) - len(before.Ended); ended > i {
				slowest = max(slowest, now.Ended[len(now.Ended)-1].Sub(answer.Cancelled))
			} else if time.Since(answer.Cancelled) > rawTimeout {
				return 0, errors.New("the last server goes on with a call that was given up")
			} else if err := lab.Sleep(ctx, time.Millisecond); err != nil {
				return 0, err
			}
		}
	}
	return slowest, nil
}
