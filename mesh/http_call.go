package mesh

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// httpCall is a request over all its attempts.
type httpCall struct {
	transport *httpTransport
	plan      *plan
	rule      *policy.RouteRule
	req       *http.Request

	limited    bool            // the deadline is the route's
	replayable bool            // its body, if any, can be sent again
	idempotent bool            // it may be sent again though it may have been served
	subset     *policy.Subset  // its part of a split, over all attempts
	tried      []*outlier.Host // hosts of failed attempts
	sent       bool            // an attempt has req.Body
	outcome    outlier.Outcome // of the last attempt
}

// RoundTrip makes a request: deadline, then attempts. What the last of them was
// answered is the answer, whatever its status.
func (t *httpTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	c := &httpCall{transport: t, req: req}
	resp, err := c.run()
	if !c.sent && req.Body != nil {
		_ = req.Body.Close() // a RoundTripper closes it in any case
	}
	return resp, err
}

func (c *httpCall) run() (*http.Response, error) {
	t, ch := c.transport, c.transport.channel
	if err := t.start(); err != nil {
		return nil, err
	}
	switch u := c.req.URL; {
	case u == nil || u.Scheme != "https":
		return nil, fmt.Errorf("mesh: %s: want an https URL: the mesh sends nothing in the clear", ch.target)
	case !slices.Contains(t.hosts, u.Host):
		return nil, fmt.Errorf("mesh: %s: the URL's host is %q, want %q", ch.target, u.Host, t.name)
	}
	c.plan = ch.plan()
	ch.mesh.counts.calls.Add(1)
	c.plan.budget.Deposit(time.Now())
	if err := ch.leave(c.plan, c.req.Method); err != nil {
		return nil, err
	}
	values := func(_ context.Context, name string) []string { return c.req.Header.Values(name) }
	var entry int
	c.rule, entry = c.plan.match(c.req.Context(), pathOf(c.req.URL), values)
	c.subset = ch.mesh.share(&c.rule.Split, c.req.Header.Values)
	c.replayable = c.req.Body == nil || c.req.Body == http.NoBody || c.req.GetBody != nil
	c.idempotent = c.replayable && idempotentRequest(c.req)
	ctx, cancel, err := c.bounded()
	if err != nil {
		return nil, err
	}
	end := cancel
	var through *pass // nil without a breaker
	if guard := c.plan.guard(entry); guard != nil {
		if through, err = guard.enter(ctx, c.req.Method); err != nil {
			cancel()
			return nil, err
		}
		end = func() {
			through.leave(c.outcome, nil)
			cancel()
		}
	}
	resp, err := c.attempts(ctx)
	if through != nil { // at the header, however long the body may be
		through.report(c.outcome, err)
	}
	if err != nil {
		end()
		return nil, err
	}
	resp.Request = c.req
	onBodyEnd(resp, end)
	return resp, nil
}

// pathOf is what routes match.
func pathOf(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return u.Path
}

// idempotentRequest goes by RFC 9110, section 9.2.2, and by the header with which a
// client says that the server will know a repetition.
func idempotentRequest(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get("Idempotency-Key") != ""
}

// bounded returns the call's context: the earlier of its own deadline and the route's,
// and with neither one of the mesh's.
func (c *httpCall) bounded() (context.Context, context.CancelFunc, error) {
	ctx := c.req.Context()
	limit, limited, err := c.transport.channel.timeLimit(ctx, c.rule, c.req.Method)
	if err != nil {
		return nil, nil, err
	}
	c.limited = limited
	if limit > 0 {
		ctx, cancel := context.WithTimeout(ctx, limit)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	return ctx, cancel, nil
}

// attempts makes the first attempt and those that follow from it.
func (c *httpCall) attempts(ctx context.Context) (*http.Response, error) {
	ch := c.transport.channel
	if err := ch.fault(ctx, &c.rule.Fault, c.req.Method); err != nil {
		c.outcome = faulted(ctx, err, c.limited)
		return nil, err
	}
	if c.rule.Mirror != nil {
		c.mirror(ctx)
	}
	for attempt := 0; ; attempt++ {
		x := c.once(ctx)
		c.outcome = x.outcome
		if attempt >= c.rule.Retries.Attempts || ctx.Err() != nil || !c.repeatable(x) {
			return x.resp, x.err
		}
		wait, asked := retryAfter(x.resp, time.Now())
		if !asked {
			wait = jittered(c.rule, attempt)
		}
		if deadline, has := ctx.Deadline(); has && time.Until(deadline) <= wait+c.rule.Minimum || !c.spend(x, AttemptRetried) {
			return x.resp, x.err
		}
		c.discard(x)
		if !sleep(ctx, wait) {
			return nil, ctx.Err()
		}
		ch.mesh.counts.retries.Add(1)
		if x.host != nil && c.rule.Retries.IgnorePrevious {
			c.tried = append(slices.Clip(c.tried), x.host)
		}
	}
}

// once makes an attempt, or several where the route hedges.
func (c *httpCall) once(ctx context.Context) *exchange {
	if c.rule.Hedging.MaxAttempts > 1 && c.idempotent {
		return c.hedge(ctx)
	}
	x := c.exchange(c.tried)
	x.run(ctx)
	return x
}

// hedge makes an attempt, and further ones at other endpoints if it takes long, as
// unaryCall.hedge does: the first answer counts, and the other attempts are cancelled.
func (c *httpCall) hedge(ctx context.Context) *exchange {
	limits := c.rule.Hedging
	results := make(chan *exchange, limits.MaxAttempts)
	var running []*exchange
	var cancels []context.CancelFunc
	launch := func() {
		tried := slices.Clone(c.tried)
		for _, earlier := range running {
			if host := earlier.where.Load(); host != nil {
				tried = append(tried, host)
			}
		}
		x := c.exchange(tried)
		own, cancel := context.WithCancel(ctx)
		running, cancels = append(running, x), append(cancels, cancel)
		go func() { // ends with its context, and hedge waits for it
			x.run(own)
			results <- x
		}()
	}
	delay := c.plan.hedgeDelay(c.rule)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	began := time.Now()
	launch()
	for ended := 0; ; {
		select {
		case x := <-results:
			ended++
			if ended < len(running) && c.repeatable(x) {
				c.discard(x)
				continue
			}
			if x.outcome == outlier.Success {
				c.plan.answered(c.rule, began)
			}
			for i, other := range running {
				if other != x {
					cancels[i]()
				}
			}
			for ; ended < len(running); ended++ {
				c.discard(<-results)
			}
			at := slices.Index(running, x)
			if x.resp == nil {
				cancels[at]()
			} else {
				onBodyEnd(x.resp, cancels[at])
			}
			return x
		case <-timer.C:
			if len(running) < limits.MaxAttempts && c.spend(nil, AttemptHedged) {
				c.transport.channel.mesh.counts.hedges.Add(1)
				launch()
				timer.Reset(delay)
			}
		}
	}
}

// repeatable says whether a failed attempt may be made again.
func (c *httpCall) repeatable(x *exchange) bool {
	on := c.rule.Retries.On
	switch {
	case x.refused || !c.replayable:
		return false
	case x.unsent:
		return on.Has(codes.Unavailable)
	case !c.idempotent:
		return false
	case x.timedOut:
		return true
	case x.resp == nil:
		return on.Has(codes.Unavailable)
	case x.resp.StatusCode == http.StatusTooManyRequests:
		_, asked := retryAfter(x.resp, time.Now())
		return asked || on.Has(codes.ResourceExhausted)
	default:
		code, failed := statusClass(x.resp.StatusCode)
		return failed && on.Has(code)
	}
}

// statusClass says which of the policy's words a failure of the server is: UNAVAILABLE
// is a gateway error. What it does not implement is the request's fault.
func statusClass(statusCode int) (codes.Code, bool) {
	switch {
	case statusCode == http.StatusBadGateway, statusCode == http.StatusServiceUnavailable, statusCode == http.StatusGatewayTimeout:
		return codes.Unavailable, true
	case statusCode == http.StatusInternalServerError:
		return codes.Internal, true
	case statusCode > 500 && statusCode != http.StatusNotImplemented:
		return codes.Unknown, true
	default:
		return codes.OK, false
	}
}

// retryAfter returns how long the server asks to wait, by RFC 9110, section 10.2.3.
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	if resp == nil {
		return 0, false
	}
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return max(0, at.Sub(now)), true
}

// spend asks the budget for one more attempt beside or after x.
func (c *httpCall) spend(x *exchange, kind EventKind) bool {
	ch := c.transport.channel
	event := Event{Kind: kind, Target: ch.target, Method: c.req.Method}
	if x != nil {
		event.Err = x.failure()
		if x.host != nil {
			event.Endpoint = x.host.Address()
		}
	}
	ok := c.plan.budget.Withdraw(time.Now())
	if !ok {
		event.Kind = RetryRefused
		ch.mesh.counts.retriesRefused.Add(1)
	}
	ch.mesh.onEvent(event)
	return ok
}

// mirror sends a copy of the request to another subset and forgets it: see
// unaryCall.mirror.
func (c *httpCall) mirror(ctx context.Context) {
	ch := c.transport.channel
	if !ch.mesh.happens(c.rule.Mirror.Percent) {
		return
	}
	copied := c.copied(ctx)
	sent := false
	if copied != nil && ch.mirrors.Add(1) <= mirrorLimit {
		m := &httpCall{transport: c.transport, plan: c.plan, rule: c.rule, req: copied, subset: c.rule.Mirror.Subset}
		sent = c.transport.background(func() { //nolint:contextcheck // the copy's context outlives the request's
			defer ch.mirrors.Add(-1)
			limit := c.rule.Timeout
			if limit == 0 {
				limit = policy.DefaultTimeout
			}
			ctx, cancel := context.WithTimeout(copied.Context(), limit)
			defer cancel()
			x := m.exchange(nil)
			x.mirrored = true
			x.run(ctx)
			m.drain(x)
		})
	}
	if !sent {
		if copied != nil {
			ch.mirrors.Add(-1)
			_ = copied.Body.Close()
		}
		ch.mesh.counts.mirrorsDropped.Add(1)
		return
	}
	ch.mesh.counts.mirrors.Add(1)
}

// copied is the request as a mirror sends it, nil if its body cannot be had again.
func (c *httpCall) copied(ctx context.Context) *http.Request {
	body := io.ReadCloser(http.NoBody)
	if c.req.Body != nil && c.req.Body != http.NoBody {
		if c.req.GetBody == nil {
			return nil
		}
		var err error
		if body, err = c.req.GetBody(); err != nil {
			return nil
		}
	}
	copied := c.req.Clone(context.WithoutCancel(ctx))
	if copied.Header == nil {
		copied.Header = http.Header{}
	}
	copied.Header[http.CanonicalHeaderKey(mirrorHeader)] = []string{"true"}
	copied.Body = body
	return copied
}

// background starts what outlives its request, unless the mesh is closing.
func (t *httpTransport) background(work func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.work.Go(work)
	return true
}
