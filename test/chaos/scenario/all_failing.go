package scenario

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// allFailing has all five servers answer UNAVAILABLE while every call may be repeated
// three times. The budget keeps that from becoming a storm: there are 1.2 times as many
// attempts as calls at most, and the reserve of ten a second over the budget's ten
// seconds. The attempts are counted by the servers.
func allFailing(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	const reserve = 100
	servers, err := l.Servers(ctx, 5, node.Config{})
	if err != nil {
		return nil, err
	}
	client, err := l.Client(ctx, lab.Destination("retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10s}", patient), servers...)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		if err := s.Behave(ctx, node.Behaviour{Fail: codes.Unavailable, FailPercent: 100}); err != nil {
			return nil, err
		}
	}
	outcome, err := client.Load(ctx, node.Load{Rate: 500, Number: l.Calls(4000)}, 0)
	if err != nil {
		return nil, err
	}
	if outcome.Failed != outcome.Calls {
		return nil, fmt.Errorf("%d of %d calls failed, want all", outcome.Failed, outcome.Calls)
	}
	attempts, err := total(ctx, servers)
	if err != nil {
		return nil, err
	}
	if attempts < int64(outcome.Calls) {
		return nil, errors.New("the servers have seen fewer attempts than there were calls")
	}
	return []figure.Figure{
		{Name: "attempts_per_call_beyond_reserve", Value: float64(attempts-reserve) / float64(outcome.Calls), Mark: figure.Most(1.2)},
	}, nil
}
