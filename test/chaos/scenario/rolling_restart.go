package scenario

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// rollingRestart gives each of three servers a SIGTERM, waits for its end and starts it
// again, under a load of 1,000 calls a second, none of which may be repeated by the
// mesh. None fails: the server says that it goes (GOAWAY) and answers what it has taken.
// That the load was made is a mark, too.
func rollingRestart(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 3, node.Config{DrainDelay: 200 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	client, err := l.Client(ctx, lab.Destination("", impatient), servers...)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		// So that calls are under way when it ends.
		if err := s.Behave(ctx, node.Behaviour{Delay: 5 * time.Millisecond, DelayPercent: 100}); err != nil {
			return nil, err
		}
	}
	if err := client.Begin(ctx, node.Load{Write: true, Rate: 1000}); err != nil {
		return nil, err
	}
	for _, s := range servers {
		if err := lab.Sleep(ctx, l.For(2*time.Second)); err != nil {
			return nil, err
		}
		if err := s.Signal(syscall.SIGTERM); err != nil {
			return nil, err
		}
		if err := s.Wait(ctx); err != nil {
			return nil, err
		}
		if _, err := s.Restart(ctx); err != nil {
			return nil, err
		}
		if _, err := client.In(ctx, s.Address); err != nil {
			return nil, err
		}
	}
	if err := lab.Sleep(ctx, l.For(2*time.Second)); err != nil {
		return nil, err
	}
	outcome, err := client.End(ctx)
	if err != nil {
		return nil, err
	}
	if len(outcome.Answered) != len(servers) {
		return nil, fmt.Errorf("the answers came from %v, want all servers", outcome.Answered)
	}
	return []figure.Figure{
		figure.Count("errors", outcome.Failed, figure.Zero()),
		{Name: "rate", Value: float64(outcome.Calls) / outcome.Elapsed.Seconds(), Unit: "1/s", Mark: figure.Least(990), Timed: true},
	}, nil
}
