package scenario

import (
	"context"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// hedge has two answers in a hundred come 200 ms late. A twin without hedging has them
// in its p99, which shows that the fault is there; with a second attempt after 20 ms the
// p99 is that and a little, at the cost of about those two attempts in a hundred: at
// most five, whatever the machine is busy with.
func hedge(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 3, node.Config{})
	if err != nil {
		return nil, err
	}
	clients, err := twins(ctx, l, endpoints(servers), impatient,
		"- {timeout: 5s, retries: {attempts: 0}, hedging: {maxAttempts: 2, hedgingDelay: 20ms}}")
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		if err := s.Behave(ctx, node.Behaviour{Delay: 200 * time.Millisecond, DelayPercent: 2}); err != nil {
			return nil, err
		}
	}
	failed := 0
	var late, p99 []time.Duration
	var more []float64
	before := mesh.Stats{}
	for range rounds {
		without, with, err := besides(ctx, clients, node.Load{Rate: 300, Number: l.Calls(1500)})
		if err != nil {
			return nil, err
		}
		after, err := clients[1].Stats(ctx)
		if err != nil {
			return nil, err
		}
		failed += with.Failed
		late, p99 = append(late, without.P99), append(p99, with.P99)
		calls, attempts := after.Calls-before.Calls, after.Attempts-before.Attempts
		more = append(more, 100*float64(attempts-calls)/float64(calls))
		before = after
	}
	return []figure.Figure{
		figure.Count("errors", failed, figure.Zero()),
		figure.Milliseconds("p99_without", middle(late), figure.Least(200)),
		figure.Milliseconds("p99", middle(p99), figure.Most(50)),
		{Name: "extra_attempts", Value: middle(more), Unit: "%", Mark: figure.Most(5), Timed: true}, // a slow machine is hedged, too
	}, nil
}
