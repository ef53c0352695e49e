package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/portico-bff/portico/mesh"
	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// reloads changes the policy of servers and client a thousand times under load, one time
// in four to something bad: no YAML, a word that the mesh does not know, a file cut
// short, an empty rule. Each good one is taken and each bad one refused; no call fails,
// though none may be repeated, and no connection is made anew. The last change is a bad
// one that would deny everything if it were taken: the last good one is kept.
func reloads(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	const interval = 5 * time.Millisecond
	file, err := l.File("policy.yaml", policyNumber(0))
	if err != nil {
		return nil, err
	}
	servers, err := l.Servers(ctx, 2, node.Config{Policy: file, PolicyInterval: interval})
	if err != nil {
		return nil, err
	}
	config := node.Config{Name: "client", PolicyInterval: interval}
	client, err := l.ClientOf(ctx, config, policyNumber(0), endpoints(servers)...)
	if err != nil {
		return nil, err
	}
	connections, err := accepted(ctx, servers)
	if err != nil {
		return nil, err
	}
	if err := client.Begin(ctx, node.Load{Write: true, Rate: 500}); err != nil {
		return nil, err
	}
	readers := append([]*lab.Process{client}, servers...)
	var good, bad uint64
	changes := l.Calls(1000)
	for i := range changes {
		text := policyNumber(i + 1)
		if i%4 == 3 {
			text = badPolicy((changes - i) / 4)
			bad++
		} else {
			good++
		}
		if err := lab.Rewrite(file, text); err != nil {
			return nil, err
		}
		if err := lab.Rewrite(client.Policy, text); err != nil {
			return nil, err
		}
		for _, p := range readers {
			if _, err := p.Until(ctx, func(s mesh.Stats) bool { return s.PolicyLoads >= good && s.PolicyErrors >= bad }); err != nil {
				return nil, fmt.Errorf("change %d: %w", i, err)
			}
		}
	}
	if err := lab.Sleep(ctx, l.For(time.Second)); err != nil { // under the last good one
		return nil, err
	}
	outcome, err := client.End(ctx)
	if err != nil {
		return nil, err
	}
	wrong, fewest := 0, good+bad
	for _, p := range readers {
		s, err := p.Stats(ctx)
		if err != nil {
			return nil, err
		}
		if s.PolicyLoads != good || s.PolicyErrors != bad {
			wrong++
		}
		fewest = min(fewest, s.PolicyLoads+s.PolicyErrors)
	}
	after, err := accepted(ctx, servers)
	return []figure.Figure{
		figure.Count("changes", fewest, figure.Least(float64(changes))),
		figure.Count("errors", outcome.Failed, figure.Zero()),
		figure.Count("connections_made", after-connections, figure.Zero()),
		figure.Count("processes_that_miscounted", wrong, figure.Zero()),
	}, err
}

// policyNumber is a good policy, another one for each number: the balancing, the
// retries, the limits and the rules differ.
func policyNumber(i int) string {
	balancers := []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PEAK_EWMA"}
	traffic := fmt.Sprintf("loadBalancer: {simple: %s}, connectionPool: {http: {http2MaxRequests: %d}}, outlierDetection: {consecutiveGatewayErrors: %d}",
		balancers[i%len(balancers)], 1000+i%7, 5+i%3)
	entries := fmt.Sprintf("- {name: n%d, timeout: %ds, retries: {attempts: %d}}", i, 5+i%5, i%4)
	return lab.Everybody + lab.Destination(traffic, entries)
}

// badPolicy is a bad one, in turn; number 0 would deny everything if it were taken.
func badPolicy(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("kind: Authorization\nname: nobody-%d\naction: DENY\nrules: [{}]\n", i)
	case 1:
		return policyNumber(i) + fmt.Sprintf("---\nkind: Destination%d\n", i)
	case 2:
		whole := policyNumber(i)
		return whole[:strings.LastIndex(whole, "http:")] + fmt.Sprintf("# %d\n", i)
	default:
		return fmt.Sprintf("kind: [ # %d", i)
	}
}

// accepted is how many connections the servers have taken.
func accepted(ctx context.Context, servers []*lab.Process) (connections int64, err error) {
	for _, s := range servers {
		seen, err := s.Served(ctx)
		if err != nil {
			return 0, err
		}
		connections += seen.Connections
	}
	return connections, nil
}
