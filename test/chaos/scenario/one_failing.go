package scenario

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// oneFailing has one of five servers answer UNAVAILABLE, faster than the others answer.
// Clients without retries see no more errors than it takes to eject it, five in a row by
// default; clients with retries see none. What fails fast looks idle, so it must not
// draw the traffic: it may get less than one call in a hundred, the five and the probes.
func oneFailing(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 5, node.Config{})
	if err != nil {
		return nil, err
	}
	const balance = "loadBalancer: {simple: LEAST_REQUEST}"
	without, err := l.Client(ctx, lab.Destination(balance, impatient), servers...)
	if err != nil {
		return nil, err
	}
	with, err := l.Client(ctx, lab.Destination(balance, patient), servers...)
	if err != nil {
		return nil, err
	}
	for i, s := range servers {
		b := node.Behaviour{Delay: 2 * time.Millisecond, DelayPercent: 100}
		if i == 0 {
			b = node.Behaviour{Fail: codes.Unavailable, FailPercent: 100}
		}
		if err := s.Behave(ctx, b); err != nil {
			return nil, err
		}
	}
	load := node.Load{Rate: 400, Number: l.Calls(4000)}
	if err := errors.Join(without.Begin(ctx, load), with.Begin(ctx, load)); err != nil {
		return nil, err
	}
	first, err := without.End(ctx)
	if err != nil {
		return nil, err
	}
	second, err := with.End(ctx)
	if err != nil {
		return nil, err
	}
	failing, err := servers[0].Served(ctx)
	if err != nil {
		return nil, err
	}
	all, err := total(ctx, servers)
	if err != nil {
		return nil, err
	}
	share := figure.Percent("traffic_of_failing", failing.Calls, all, figure.Most(1))
	share.Timed = l.Brief // ten errors are more than a hundredth of few calls
	return []figure.Figure{
		figure.Count("errors_without_retries", first.Failed, figure.Most(5)),
		figure.Count("errors_with_retries", second.Failed, figure.Zero()),
		share,
	}, nil
}
