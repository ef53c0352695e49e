package scenario

import (
	"context"
	"errors"
	"time"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// overload calls a server three times as often as it can bear: eight calls at a time of
// 20 ms each, 400 a second, whose work goes on when nobody waits for it any more. Under
// an Overload policy of the default values, which have to find that out, it answers at
// least nine tenths of what a twin without a policy answers at the same time, whose
// callers ask for a quarter too much and have all the time in the world. What it takes
// on is answered within ten times what a call takes alone, a fifth of its callers'
// patience (a server without a limit uses up all of it); and what it does not take on,
// it refuses soon.
func overload(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	const work, slots = 20 * time.Millisecond, 8
	const capacity = slots * float64(time.Second/work)
	unbounded, err := workshop(ctx, l, lab.Everybody, node.Behaviour{Slots: slots, Work: work})
	if err != nil {
		return nil, err
	}
	bounded, err := workshop(ctx, l, lab.Everybody+"kind: Overload\nname: echo\nrules: [{gradientControllerConfig: {}}]\n", node.Behaviour{Slots: slots, Work: work})
	if err != nil {
		return nil, err
	}
	load := node.Load{Write: true, Rate: 3 * capacity, Timeout: time.Second}
	if _, err := bounded.Load(ctx, load, l.For(4*time.Second)); err != nil { // it learns
		return nil, err
	}
	calls, others := 0, 0
	var goodput []float64
	var p99, refusals []time.Duration
	for range rounds {
		if err := unbounded.Begin(ctx, node.Load{Write: true, Rate: 1.25 * capacity}); err != nil {
			return nil, err
		}
		outcome, err := bounded.Load(ctx, load, l.For(5*time.Second))
		if err != nil {
			return nil, err
		}
		most, err := unbounded.End(ctx)
		if err != nil {
			return nil, err
		}
		if most.Failed > 0 {
			return nil, errors.New(most.First)
		}
		calls, others = calls+outcome.Calls, others+outcome.Failed-outcome.Codes["ResourceExhausted"]
		goodput = append(goodput, 100*answers(outcome)/answers(most))
		p99, refusals = append(p99, outcome.P99), append(refusals, outcome.FailedP99)
	}
	other := figure.Percent("other_errors", others, calls, figure.Most(0.1))
	other.Timed = true // a call may run into its limit
	return []figure.Figure{
		{Name: "goodput", Value: middle(goodput), Unit: "%", Mark: figure.Least(90), Timed: true},
		figure.Milliseconds("p99", middle(p99), figure.Most(10*work.Seconds()*1000)),
		figure.Milliseconds("p99_of_refusals", middle(refusals), figure.Most(50)),
		other,
	}, nil
}

// answers is how many calls have been answered a second.
func answers(o node.Outcome) float64 { return float64(o.Calls-o.Failed) / o.Elapsed.Seconds() }

// workshop is a client of a server of its own that behaves like that.
func workshop(ctx context.Context, l *lab.Lab, policy string, b node.Behaviour) (*lab.Process, error) {
	file, err := l.File("policy.yaml", policy)
	if err != nil {
		return nil, err
	}
	server, err := l.Server(ctx, node.Config{Name: "server", Policy: file})
	if err != nil {
		return nil, err
	}
	if err := server.Behave(ctx, b); err != nil {
		return nil, err
	}
	// Longer than anything here takes: the load has its own limit.
	return l.Client(ctx, lab.Destination("", "- {timeout: 30s, retries: {attempts: 0}}"), server)
}
