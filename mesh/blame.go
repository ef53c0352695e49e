package mesh

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/outlier"
)

// outcome says what it means for the endpoint that an attempt ends with an error now, in
// Istio's classes: UNAVAILABLE is a gateway error, and so is silence for as long as the
// mesh allows. What else it answers shows it alive. The same holds for the route, whose
// breaker asks, too.
func outcome(err error, call *call, now time.Time) outlier.Outcome {
	if err == nil && (call == nil || !call.mirrored) {
		return outlier.Success
	}
	if call != nil && (call.mirrored || call.refused.Load()) {
		return outlier.Ignored
	}
	switch s := status.Convert(err); s.Code() {
	case codes.Unavailable:
		if rotated(s) {
			return outlier.Ignored
		}
		return outlier.GatewayError
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return outlier.ServerError
	case codes.DeadlineExceeded:
		if call != nil && (call.silent.Load() || call.late(now)) {
			return outlier.GatewayError
		}
		return outlier.Ignored
	case codes.Canceled:
		if call != nil && call.silent.Load() {
			return outlier.GatewayError
		}
		return outlier.Ignored
	case codes.ResourceExhausted:
		// Who has too much to do says so quickly, which makes it no faster.
		return outlier.Ignored
	default:
		return outlier.Success
	}
}

// A server knows the deadline, and may be the first to say that it has passed: by a clock
// that is faster than ours, so much of an attempt's time before it.
const (
	fastClock      = 10 * time.Millisecond // at most
	fastClockShare = 100                   // the hundredth part
)

// late says whether an attempt that ends now has had all the time that the mesh gives it.
// It has not if its deadline is its caller's, whose patience is no measure of the server,
// nor if the server has looked at what is left and says at once that it is not enough.
func (c *call) late(now time.Time) bool {
	if !c.limited {
		return false
	}
	deadline, ok := c.Deadline()
	return ok && !now.Add(min(fastClock, deadline.Sub(c.began)/fastClockShare)).Before(deadline)
}

// faulted says what it means for the route that a fault of the policy's has ended a call,
// be it that the call's time, which is limited by the mesh or by its caller, was over.
func faulted(ctx context.Context, err error, limited bool) outlier.Outcome {
	c := &call{limited: limited}
	c.Plain(ctx)
	return outcome(err, c, time.Now())
}
