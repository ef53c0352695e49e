package mesh

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// timeLimit returns the time that a call gets, zero if that is as long as its own
// deadline says, and whether the mesh is why it is not longer: then an endpoint that
// takes longer is at fault. A call with too little time left is refused.
func (ch *channel) timeLimit(ctx context.Context, rule *policy.RouteRule, method string) (limit time.Duration, own bool, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		if rule.Timeout == 0 {
			return policy.DefaultTimeout, true, nil
		}
		return rule.Timeout, true, nil
	}
	left := time.Until(deadline) - rule.Margin
	if left <= 0 || left < rule.Minimum {
		ch.mesh.counts.tooLate.Add(1)
		ch.mesh.onEvent(Event{Kind: CallTooLate, Target: ch.target, Method: method})
		return 0, false, status.Errorf(codes.DeadlineExceeded,
			"mesh: not sent: %v are left, of which timeoutMargin takes %v and minRemainingTime wants %v", left+rule.Margin, rule.Margin, rule.Minimum)
	}
	switch {
	case rule.Timeout > 0 && rule.Timeout < left:
		return rule.Timeout, true, nil
	case rule.Margin > 0:
		return left, false, nil
	default:
		return 0, false, nil
	}
}

// writeMargin tells what becomes of a caller's deadline, in a line.
func (e *Explanation) writeMargin(b *strings.Builder) {
	if e.TimeoutMargin > 0 {
		fmt.Fprintf(b, "  margin: %v before the caller's deadline\n", e.TimeoutMargin)
	}
	if e.MinRemainingTime > 0 {
		fmt.Fprintf(b, "  not made with less than %v left\n", e.MinRemainingTime)
	}
}
