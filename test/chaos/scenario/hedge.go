package scenario

import (
	"context"
	"time"

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
	without, with, err := besides(ctx, clients, node.Load{Rate: 300, Number: l.Calls(4500)})
	if err != nil {
		return nil, err
	}
	stats, err := clients[1].Stats(ctx)
	extra := figure.Percent("extra_attempts", stats.Attempts-stats.Calls, stats.Calls, figure.Most(5))
	extra.Timed = true // a slow machine is hedged, too
	return []figure.Figure{
		figure.Count("errors", with.Failed, figure.Zero()),
		figure.Milliseconds("p99_without", without.P99, figure.Least(200)),
		figure.Milliseconds("p99", with.P99, figure.Most(50)),
		extra,
	}, err
}
