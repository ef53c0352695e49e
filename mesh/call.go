package mesh

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/timeout"
)

// call is one attempt's state, and its context: so the picker finds it.
type call struct {
	timeout.Context

	began   time.Time                    // zero of streams and copies
	host    atomic.Pointer[outlier.Host] // where it went
	tried   []*outlier.Host              // where earlier ones went, if those are to be avoided
	trailer metadata.MD                  // written by Done, before the attempt returns
	number  int                          // of attempts before it
	subset  *policy.Subset               // where it may go; nil: anywhere
	// elsewhere prefers endpoints of other zones to those of the nearest, if some
	// were tried.
	elsewhere bool
	mirrored  bool        // it is a copy, and says nothing of its endpoint
	limited   bool        // its deadline is the mesh's own
	refused   atomic.Bool // the mesh did not let it out
	silent    atomic.Bool // it was cancelled as no header came within the mesh's limit
}

type callKey struct{}

// Value returns the call itself for callKey.
func (c *call) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func (c *call) hasTried(h *outlier.Host) bool { return slices.Contains(c.tried, h) }

// unaryCall is a unary call over all its attempts.
type unaryCall struct {
	channel *channel
	plan    *plan
	rule    *policy.RouteRule
	method  string
	req     any
	conn    *grpc.ClientConn
	invoke  grpc.UnaryInvoker
	end     time.Time       // the deadline, if the context does not have it; else zero
	limit   time.Duration   // until then, at first
	limited bool            // the deadline is the route's
	tried   []*outlier.Host // hosts of failed attempts
	subset  *policy.Subset  // its part of a split, over all attempts
	made    int             // attempts so far
	again   again           // what was beyond the first
	first   call            // of the first attempt
}

// result is what became of an attempt.
type result struct {
	*call
	err      error
	outcome  outlier.Outcome // for the route
	timedOut bool            // it ran into perTryTimeout, or into the route's
}

// unary makes a unary call: breaker, deadline, then attempts.
func (ch *channel) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	plan := ch.plan()
	rule, entry := plan.rule(ctx, method)
	ch.mesh.counts.calls.Add(1)
	now := time.Now()
	plan.budget.Deposit(now)

	if err := ch.leave(plan, method); err != nil {
		return err
	}
	u := &unaryCall{channel: ch, plan: plan, rule: rule, method: method, req: req, conn: cc, invoke: invoke}
	u.subset = ch.mesh.subset(ctx, &rule.Split)
	ctx = sendCriticality(ch.mesh.trace.send(ctx))
	limit, limited, err := ch.timeLimit(ctx, rule, method)
	if err != nil {
		return err
	}
	u.limited = limited
	switch {
	case limit == 0:
	case rule.Hedging.MaxAttempts > 1 || rule.Fault.DelayPercent > 0: // what they wait for ends then, too
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	default: // the attempt's context will do
		u.limit, u.end = limit, now.Add(limit)
	}
	guard := plan.guard(entry)
	if guard == nil {
		return u.call(ctx, now, reply, opts).err
	}
	pass, err := guard.enter(ctx, method)
	if err != nil {
		return err
	}
	r := u.call(ctx, now, reply, opts)
	pass.leave(r.outcome, r.err)
	return r.err
}

// call makes the call's attempts, and returns what became of the last.
func (u *unaryCall) call(ctx context.Context, now time.Time, reply any, opts []grpc.CallOption) result {
	r := u.attempts(ctx, now, reply, opts)
	u.channel.mesh.metrics.record(ctx, u.conn, u.method, opts, u.again)
	return r
}

func (u *unaryCall) attempts(ctx context.Context, now time.Time, reply any, opts []grpc.CallOption) result {
	rule := u.rule
	if err := u.channel.fault(ctx, &rule.Fault, u.method); err != nil {
		return result{err: err, outcome: faulted(ctx, err, u.limited)}
	}
	if rule.Fault.DelayPercent > 0 {
		now = time.Now()
	}
	if rule.Mirror != nil {
		u.mirror(ctx, reply, opts)
	}
	for attempt := 0; ; attempt++ {
		r := u.once(ctx, now, reply, opts)
		if r.err == nil || attempt >= rule.Retries.Attempts || ctx.Err() != nil || !u.repeatable(r) {
			return r
		}
		wait, ok := pause(rule, attempt, r.trailer)
		if !ok || u.left(ctx) <= wait+rule.Minimum {
			return r
		}
		if !u.spend(r, AttemptRetried) || !sleep(ctx, wait) {
			return r
		}
		u.channel.mesh.counts.retries.Add(1)
		u.again.retries++
		u.again.delay += wait
		u.avoid(r)
		now = time.Now()
	}
}

// left is how much time the call has left.
func (u *unaryCall) left(ctx context.Context) time.Duration {
	left := time.Duration(math.MaxInt64)
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	if !u.end.IsZero() {
		left = min(left, time.Until(u.end))
	}
	return left
}

// once makes an attempt, or several where the route hedges.
func (u *unaryCall) once(ctx context.Context, now time.Time, reply any, opts []grpc.CallOption) result {
	if u.rule.Hedging.MaxAttempts > 1 && u.channel.mesh.idempotent(u.method) {
		if fresh := freshReply(reply); fresh != nil {
			return u.hedge(ctx, reply, fresh, opts)
		}
	}
	return u.attempt(ctx, now, u.next(), reply, opts)
}

// next returns the state of one more attempt.
func (u *unaryCall) next() *call {
	c := &u.first
	if u.made > 0 {
		c = new(call)
	}
	c.tried, c.number, c.limited = u.tried, u.made, u.limited
	c.subset, c.elsewhere = u.subset, u.rule.Retries.RemoteLocalities
	u.made++
	return c
}

// attempt makes one attempt, which begins now.
func (u *unaryCall) attempt(ctx context.Context, now time.Time, c *call, reply any, opts []grpc.CallOption) result {
	waited := false
	if u.plan.destination.Pool.MaxRequests > 0 {
		var err error
		if waited, err = u.channel.enter(ctx, u.end); err != nil {
			c.refused.Store(true)
			return result{call: c, err: err}
		}
		defer u.channel.gate.Leave()
		if waited {
			now = time.Now()
		}
	}
	c.began = now
	u.channel.mesh.counts.attempts.Add(1)
	if c.number > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, attemptsHeader, strconv.Itoa(c.number))
	}
	try := u.rule.Retries.PerTryTimeout
	switch {
	case try > 0 && (u.end.IsZero() || now.Add(try).Before(u.end)):
		c.limited = c.Begin(ctx, u.plan.timeouts[try], now) || c.limited
		defer c.End()
	case u.end.IsZero():
		c.Plain(ctx)
	case c.number == 0 && !waited && u.plan.timeouts[u.limit] != nil: // as most calls
		c.Begin(ctx, u.plan.timeouts[u.limit], now)
		defer c.End()
	default:
		rest, cancel := context.WithDeadline(ctx, u.end)
		defer cancel()
		c.Plain(rest)
	}
	r := result{call: c, outcome: outlier.Success}
	r.err = u.invoke(c, u.method, u.req, reply, u.conn, opts...) //nolint:contextcheck // c is the context, of ctx
	if r.err != nil {
		r.outcome = outcome(r.err, c, time.Now())
		r.timedOut = try > 0 && r.outcome == outlier.GatewayError && status.Code(r.err) == codes.DeadlineExceeded && ctx.Err() == nil
	}
	return r
}

// repeatable says whether a failed attempt may be made again.
func (u *unaryCall) repeatable(r result) bool {
	return !r.refused.Load() && (r.timedOut || u.rule.Retries.On.Has(status.Code(r.err))) && u.channel.mesh.idempotent(u.method)
}

// spend asks the budget for one more attempt beside or after r.
func (u *unaryCall) spend(r result, kind EventKind) bool {
	return u.channel.spend(u.plan, kind, u.method, r.call, r.err)
}

// spend asks the budget for one more attempt beside or after another, which may have
// failed.
func (ch *channel) spend(p *plan, kind EventKind, method string, c *call, err error) bool {
	event := Event{Kind: kind, Target: ch.target, Method: method, Err: err}
	if c != nil {
		if host := c.host.Load(); host != nil {
			event.Endpoint = host.Address()
		}
	}
	ok := p.budget.Withdraw(time.Now())
	if !ok {
		event.Kind = RetryRefused
		ch.mesh.counts.retriesRefused.Add(1)
	}
	ch.mesh.onEvent(event)
	return ok
}

// avoid keeps later attempts from the host of r, as far as others are there.
func (u *unaryCall) avoid(r result) {
	if host := r.host.Load(); host != nil && u.rule.Retries.IgnorePrevious {
		u.tried = append(slices.Clip(u.tried), host)
	}
}

// pause says how long to wait before the next attempt: what the server asks for,
// or a jittered backoff. It is false if the server asks for none.
func pause(rule *policy.RouteRule, attempt int, trailer metadata.MD) (time.Duration, bool) {
	if asked := trailer.Get("grpc-retry-pushback-ms"); len(asked) > 0 {
		ms, err := strconv.ParseInt(asked[0], 10, 32)
		if err != nil || ms < 0 || len(asked) > 1 {
			return 0, false
		}
		return time.Duration(ms) * time.Millisecond, true
	}
	return jittered(rule, attempt), true
}

// jittered is a backoff that doubles with each attempt.
func jittered(rule *policy.RouteRule, attempt int) time.Duration {
	wait := rule.Retries.MaxBackoff
	if attempt < 16 {
		wait = min(wait, rule.Retries.BaseBackoff<<attempt)
	}
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(wait)) //nolint:gosec // spreads load, no secret
}
