package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
	"github.com/portico-bff/portico/test/chaos/node"
)

// split sends 90 % of the calls to version v1 and 10 % to v2, those with x-canary: true
// all to v2, and keeps a call's version over its retries and a user's version over calls
// and processes. That the parts are 90 and 10 is put to the chi-square test with one
// degree of freedom: 10.83 is exceeded by chance once in a thousand runs. The rest is
// exact.
func split(ctx context.Context, l *lab.Lab) ([]figure.Figure, error) {
	servers, err := l.Servers(ctx, 4, node.Config{})
	if err != nil {
		return nil, err
	}
	versions := map[string]string{"s1": "v1", "s2": "v1", "s3": "v2", "s4": "v2"}
	list := endpoints(servers)
	for i, s := range servers {
		list[i].Labels = map[string]string{"version": versions[s.Name]}
	}
	const budget = "retryBudget: {retryRatio: 1, minRetriesPerSecond: 1000, ttl: 10s}, outlierDetection: {consecutiveGatewayErrors: 0}"
	policy := lab.Destination(budget, routes)
	var clients []*lab.Process
	for _, name := range []string{"c1", "c2"} {
		client, err := l.ClientOf(ctx, node.Config{Name: name}, policy, list...)
		if err != nil {
			return nil, err
		}
		clients = append(clients, client)
	}
	parts, err := splitByChance(ctx, l, clients[0], versions)
	if err != nil {
		return nil, err
	}
	users := node.Load{Rate: 1000, Number: l.Calls(5000), IDs: 500, Prefix: "user-", Headers: map[string]string{"x-by": "user"}}
	for _, client := range clients {
		if _, err := client.Load(ctx, users, 0); err != nil {
			return nil, err
		}
	}
	for _, s := range servers {
		if err := s.Behave(ctx, node.Behaviour{Fail: codes.Unavailable, FailPercent: 40}); err != nil {
			return nil, err
		}
	}
	number := l.Calls(5000)
	if _, err := clients[0].Load(ctx, node.Load{Rate: 1000, Number: number, IDs: number, Prefix: "call-"}, 0); err != nil {
		return nil, err
	}
	if stats, err := clients[0].Stats(ctx); err != nil || stats.Retries == 0 {
		return nil, errors.Join(err, errors.New("no call was repeated"))
	}
	repeated, err := inBoth(ctx, servers, versions, "call-")
	if err != nil {
		return nil, err
	}
	moved, err := inBoth(ctx, servers, versions, "user-")
	return append(parts,
		figure.Count("calls_that_changed_version", repeated, figure.Zero()),
		figure.Count("users_that_changed_version", moved, figure.Zero())), err
}

const routes = `
- match: [{headers: {x-canary: {exact: "true"}}}]
  timeout: 5s
  route: [{destination: {host: echo, subset: v2}}]
- match: [{headers: {x-by: {exact: user}}}]
  timeout: 5s
  route:
  - {destination: {host: echo, subset: v1}, weight: 50}
  - {destination: {host: echo, subset: v2}, weight: 50}
  splitBy: {httpHeaderName: x-id}
- timeout: 5s
  retries: {attempts: 3}
  route:
  - {destination: {host: echo, subset: v1}, weight: 90}
  - {destination: {host: echo, subset: v2}, weight: 10}`

// splitByChance looks at the parts and at the canaries.
func splitByChance(ctx context.Context, l *lab.Lab, client *lab.Process, versions map[string]string) ([]figure.Figure, error) {
	number := l.Calls(10_000)
	all, err := client.Load(ctx, node.Load{Rate: 1000, Number: number}, 0)
	if err != nil {
		return nil, err
	}
	canaries, err := client.Load(ctx, node.Load{Rate: 1000, Number: l.Calls(1000), Headers: map[string]string{"x-canary": "true"}}, 0)
	if err != nil {
		return nil, err
	}
	astray := canaries.Calls
	for server, calls := range canaries.Answered {
		if versions[server] == "v2" {
			astray -= calls
		}
	}
	counts := map[string]float64{}
	for server, calls := range all.Answered {
		counts[versions[server]] += float64(calls)
	}
	chi := 0.0
	for version, part := range map[string]float64{"v1": 0.9, "v2": 0.1} {
		expected := part * float64(number)
		chi += (counts[version] - expected) * (counts[version] - expected) / expected
	}
	return []figure.Figure{
		{Name: "chi_square", Value: chi, Mark: figure.Most(10.83)},
		figure.Count("canaries_astray", astray, figure.Zero()),
		figure.Count("errors", all.Failed+canaries.Failed, figure.Zero()),
	}, nil
}

// inBoth counts the ids with a prefix that servers of both versions have seen. Each
// version must have seen some, or that none is in both says nothing.
func inBoth(ctx context.Context, servers []*lab.Process, versions map[string]string, prefix string) (int, error) {
	seen := map[string]map[string]bool{}
	for _, s := range servers {
		served, err := s.Served(ctx)
		if err != nil {
			return 0, err
		}
		for _, id := range served.IDs {
			if !strings.HasPrefix(id, prefix) {
				continue
			}
			if seen[id] == nil {
				seen[id] = map[string]bool{}
			}
			seen[id][versions[s.Name]] = true
		}
	}
	both, of := 0, map[string]int{}
	for _, by := range seen {
		if len(by) > 1 {
			both++
		}
		for version := range by {
			of[version]++
		}
	}
	if of["v1"] == 0 || of["v2"] == 0 {
		return 0, fmt.Errorf("ids %q...: the versions have seen %v, want some each", prefix, of)
	}
	return both, nil
}
