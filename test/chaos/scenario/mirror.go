package scenario

import (
	"context"
	"errors"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// mirror copies every call to a second host that never answers, then fails at once, then
// is stopped altogether. The calls themselves must not notice: none fails, and they are
// as fast as those of a twin client, at the same time and without a mirror. The marks
// on latency leave room for what making a copy costs on two processors that also do all
// the rest.
func mirror(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 2, node.Config{})
	if err != nil {
		return nil, err
	}
	list := endpoints(servers)
	list[0].Labels, list[1].Labels = map[string]string{"version": "v1"}, map[string]string{"version": "v2"}
	const toFirst = "- timeout: 5s\n  retries: {attempts: 0}\n  route: [{destination: {host: echo, subset: v1}}]\n"
	twins, err := twins(ctx, l, list, toFirst, toFirst+"  mirror: {host: echo, subset: v2}\n  mirrorPercentage: {value: 100}\n")
	if err != nil {
		return nil, err
	}
	failed, slower, slowest := 0, time.Duration(0), time.Duration(0)
	for _, trouble := range []func() error{
		func() error { return servers[1].Behave(ctx, node.Behaviour{Hang: true}) },
		func() error {
			return servers[1].Behave(ctx, node.Behaviour{Fail: codes.Unavailable, FailPercent: 100})
		},
		func() error { return servers[1].Signal(syscall.SIGSTOP) },
	} {
		if err := trouble(); err != nil {
			return nil, err
		}
		var p50, p99 []time.Duration
		for range rounds {
			without, with, err := besides(ctx, twins, node.Load{Write: true, Rate: 200, Number: l.Calls(400)})
			if err != nil {
				return nil, err
			}
			failed += with.Failed
			p50, p99 = append(p50, with.P50-without.P50), append(p99, with.P99-without.P99)
		}
		slower, slowest = max(slower, middle(p50)), max(slowest, middle(p99))
	}
	if err := servers[1].Signal(syscall.SIGCONT); err != nil {
		return nil, err
	}
	copies, err := servers[1].Served(ctx)
	if err == nil && copies.Mirrored == 0 {
		err = errors.New("no copy has arrived")
	}
	return []figure.Figure{
		figure.Count("errors", failed, figure.Zero()),
		figure.Milliseconds("p50_beyond_twin", slower, figure.Most(1)),
		figure.Milliseconds("p99_beyond_twin", slowest, figure.Most(10)),
	}, err
}

// twins are two clients that differ in their routes.
func twins(ctx context.Context, l *lab.Lab, list []mesh.Endpoint, entries ...string) ([]*lab.Process, error) {
	clients := make([]*lab.Process, len(entries))
	for i := range clients {
		var err error
		if clients[i], err = l.ClientOf(ctx, node.Config{Name: "twin"}, lab.Destination("", entries[i]), list...); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// besides has both twins make the same load at the same time.
func besides(ctx context.Context, twins []*lab.Process, load node.Load) (first, second node.Outcome, err error) {
	if err = errors.Join(twins[0].Begin(ctx, load), twins[1].Begin(ctx, load)); err != nil {
		return first, second, err
	}
	if first, err = twins[0].End(ctx); err != nil {
		return first, second, err
	}
	second, err = twins[1].End(ctx)
	return first, second, err
}
