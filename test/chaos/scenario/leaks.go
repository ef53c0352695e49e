package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// leaks changes the policies of a server and of a client ten thousand times, under a
// little load, and then opens and closes a thousand further clients. What both processes
// hold afterwards is what they held before, after a tenth of it: goroutines and file
// descriptors but for a handful that come and go (a connection that is being renewed,
// say), and the heap but for a megabyte, a hundred bytes a change.
func leaks(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	const interval = time.Millisecond
	policy, err := l.File("policy.yaml", policyNumber(0))
	if err != nil {
		return nil, err
	}
	server, err := l.Server(ctx, node.Config{Name: "server", Policy: policy, PolicyInterval: interval})
	if err != nil {
		return nil, err
	}
	client, err := l.ClientOf(ctx, node.Config{Name: "client", PolicyInterval: interval}, policyNumber(0), server.Endpoint())
	if err != nil {
		return nil, err
	}
	both := []*lab.Process{client, server}
	work := func(from, changes, clients int) error {
		if err := client.Begin(ctx, node.Load{Rate: 20}); err != nil {
			return err
		}
		for i := from; i < from+changes; i++ {
			for _, p := range both {
				if err := lab.Rewrite(p.Policy, policyNumber(i)); err != nil {
					return err
				}
			}
			for _, p := range both {
				if _, err := p.Until(ctx, func(s mesh.Stats) bool { return s.PolicyLoads >= uint64(i) }); err != nil {
					return fmt.Errorf("change %d: %w", i, err)
				}
			}
		}
		if _, err := client.End(ctx); err != nil {
			return err
		}
		return client.Cycle(ctx, clients)
	}
	changes, clients := l.Calls(10_000), l.Calls(1000)
	if err := work(1, changes/10, clients/10); err != nil {
		return nil, err
	}
	before, err := held(ctx, both)
	if err != nil {
		return nil, err
	}
	if err := work(1+changes/10, changes, clients); err != nil {
		return nil, err
	}
	after, err := held(ctx, both)
	return []figure.Figure{
		figure.Count("goroutines_more", after.Goroutines-before.Goroutines, figure.Most(6)),
		figure.Count("descriptors_more", after.Descriptors-before.Descriptors, figure.Most(6)),
		{Name: "heap_more", Value: float64(after.Heap-before.Heap) / (1 << 20), Unit: "MiB", Mark: figure.Most(1)},
	}, err
}

// held is what the processes hold together, once what is closing has closed.
func held(ctx context.Context, processes []*lab.Process) (sum node.Resources, err error) {
	if err := lab.Sleep(ctx, 2*time.Second); err != nil {
		return sum, err
	}
	for _, p := range processes {
		r, err := p.Resources(ctx)
		if err != nil {
			return sum, err
		}
		sum.Goroutines += r.Goroutines
		sum.Descriptors += r.Descriptors
		sum.Heap += r.Heap
	}
	return sum, nil
}
