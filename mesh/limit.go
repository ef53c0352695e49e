package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

// enter waits until the channel may make one more attempt, but no longer than end, if
// there is one. It says whether it had to.
func (ch *channel) enter(ctx context.Context, end time.Time) (waited bool, err error) {
	if ch.gate.TryEnter() {
		return false, nil
	}
	if !end.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	return true, ch.waitForTurn(ctx)
}

// waitForTurn waits until the channel may make one more attempt.
func (ch *channel) waitForTurn(ctx context.Context) error {
	err := ch.gate.Enter(ctx)
	switch pool := ch.plan().destination.Pool; {
	case err == nil:
		return nil
	case errors.Is(err, gate.ErrFull):
		return ch.full(fmt.Sprintf("%d requests run (http2MaxRequests) and %d wait (http1MaxPendingRequests)", pool.MaxRequests, pool.MaxPending))
	default:
		ch.mesh.counts.overflows.Add(1)
		return status.Errorf(status.FromContextError(ctx.Err()).Code(),
			"mesh: %s: waited while %d requests ran (http2MaxRequests): %v", ch.target, pool.MaxRequests, ctx.Err())
	}
}

// full is what the mesh answers in the service's stead; the code is gRFC A32's and
// Envoy's. Such an answer is not tried again.
func (ch *channel) full(why string) error {
	ch.mesh.counts.overflows.Add(1)
	return status.Errorf(codes.Unavailable, "mesh: not sent, as the policy of %s lets no more out: %s", ch.target, why)
}

// reachable returns the endpoints that the channel connects to: all, or as many as
// maxConnections says, the nearest first. Which of them is chance, but each channel
// keeps to its choice (rendezvous hashing), and the choices of all processes spread.
// As far as there is room, every set of labels is among them, so that no subset is
// left without endpoints.
func (ch *channel) reachable(endpoints []resolver.Endpoint) []resolver.Endpoint {
	destination := &ch.plan().destination
	limit := destination.Pool.MaxConnections
	if limit == 0 || len(endpoints) <= limit {
		return endpoints
	}
	type ranked struct {
		endpoint resolver.Endpoint
		repeated int // 1 if one with the same labels comes before
		tier     int
		rank     uint64
	}
	list := make([]ranked, len(endpoints))
	for i, e := range endpoints {
		list[i] = ranked{
			endpoint: e,
			tier:     destination.Locality.Tier(ch.mesh.zone, zoneOf(e)),
			rank:     picker.Mix(picker.Hash(address(e)) ^ ch.seed),
		}
	}
	order := func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.repeated, b.repeated), cmp.Compare(a.tier, b.tier), cmp.Compare(a.rank, b.rank))
	}
	slices.SortFunc(list, order)
	seen := map[string]bool{}
	for i := range list {
		labels := fmt.Sprint(list[i].endpoint.Attributes.Value(labelsKey{})) // in the order of keys
		if seen[labels] {
			list[i].repeated = 1
		}
		seen[labels] = true
	}
	slices.SortFunc(list, order)
	chosen := make([]resolver.Endpoint, limit)
	for i := range chosen {
		chosen[i] = list[i].endpoint
	}
	return chosen
}
