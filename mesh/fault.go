package mesh

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// fault does to a call what its entry says, in the stead of a service that is slow
// or down.
func (ch *channel) fault(ctx context.Context, f *policy.Fault, method string) error {
	m := ch.mesh
	if m.happens(f.DelayPercent) {
		ch.injected(method, nil)
		if !sleep(ctx, f.Delay) {
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if m.happens(f.AbortPercent) {
		err := status.Error(f.Abort, "the mesh policy injects this fault")
		ch.injected(method, err)
		return err
	}
	return nil
}

func (ch *channel) injected(method string, err error) {
	ch.mesh.counts.faults.Add(1)
	ch.mesh.onEvent(Event{Kind: FaultInjected, Target: ch.target, Method: method, Err: err})
}

// happens draws whether something happens that does in so many cases of a hundred.
func (m *Mesh) happens(percent float64) bool {
	return percent > 0 && 100*m.chance() < percent
}

// FaultExplanation says which faults an entry injects; percentages of zero are none.
type FaultExplanation struct {
	Delay        time.Duration
	DelayPercent float64
	Abort        codes.Code
	AbortPercent float64
}
