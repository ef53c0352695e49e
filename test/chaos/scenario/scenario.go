// Package scenario holds the scenarios: what the mesh promises when things go wrong, each
// shown with processes and sockets of its own. A file has one scenario; its comment says
// what it proves and where the marks come from.
package scenario

import (
	"cmp"
	"context"
	"slices"

	"github.com/portico-bff/portico/test/chaos/figure"
	"github.com/portico-bff/portico/test/chaos/lab"
)

// Scenario is a run in a lab that yields figures.
type Scenario struct {
	Name string
	Run  func(ctx context.Context, l *lab.Lab) ([]figure.Figure, error)
	// Quick ones are also run in brief, as tests.
	Quick bool
}

// All are the scenarios in their order.
func All() []Scenario {
	return []Scenario{
		{Name: "one-failing", Run: oneFailing, Quick: true},
		{Name: "all-failing", Run: allFailing, Quick: true},
		{Name: "killed-and-stopped", Run: killedAndStopped},
		{Name: "rolling-restart", Run: rollingRestart},
		{Name: "certificates", Run: certificates},
		{Name: "authority", Run: authority},
		{Name: "refused", Run: refused, Quick: true},
		{Name: "authorization", Run: authorization, Quick: true},
		{Name: "split", Run: split, Quick: true},
		{Name: "mirror", Run: mirror},
		{Name: "hedge", Run: hedge},
		{Name: "deadlines", Run: deadlines, Quick: true},
		{Name: "overload", Run: overload},
		{Name: "reloads", Run: reloads},
		{Name: "control-plane", Run: controlPlane},
		{Name: "leaks", Run: leaks},
		{Name: "partition", Run: partition},
	}
}

// patient are the words of a Route's entry whose calls are repeated, and impatient those
// of one whose calls are not.
const (
	patient   = "- {timeout: 5s, retries: {attempts: 3, perTryTimeout: 250ms}}"
	impatient = "- {timeout: 5s, retries: {attempts: 0}}"
)

// rounds is how often what hangs on time alone is measured. Of the rounds the one in the
// middle counts, so that a machine that stalls for a moment does not.
const rounds = 3

// middle is the median of an odd number of values.
func middle[T cmp.Ordered](values []T) T { return slices.Sorted(slices.Values(values))[len(values)/2] }

// total is what servers have seen together.
func total(ctx context.Context, servers []*lab.Process) (calls int64, err error) {
	for _, s := range servers {
		seen, err := s.Served(ctx)
		if err != nil {
			return 0, err
		}
		calls += seen.Calls
	}
	return calls, nil
}
