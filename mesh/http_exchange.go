package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/picker"
)

const (
	// drainLimit and drainTime bound what is read of an answer that nobody wants, so
	// that its connection can be used again.
	drainLimit = 32 << 10
	drainTime  = time.Second
)

// exchange is one attempt: a request, and what came of it.
type exchange struct {
	*httpCall

	avoiding []*outlier.Host
	body     io.ReadCloser                // nil: none
	mirrored bool                         // it says nothing of its endpoint
	where    atomic.Pointer[outlier.Host] // host, for who looks while it runs

	host     *outlier.Host // where it went
	resp     *http.Response
	err      error
	refused  bool // the mesh did not let it out, or the request is not one
	unsent   bool // no connection could be made
	timedOut bool // its own limit ended it
	outcome  outlier.Outcome
}

// exchange makes an attempt that has not begun, away from some hosts. The caller's own
// body goes with the first.
func (c *httpCall) exchange(avoiding []*outlier.Host) *exchange {
	x := &exchange{httpCall: c, avoiding: avoiding}
	switch {
	case c.req.Body == nil || c.req.Body == http.NoBody:
	case !c.sent:
		c.sent = true
		x.body = c.req.Body
	default:
		if x.body, x.err = c.req.GetBody(); x.err != nil {
			x.body, x.err = nil, fmt.Errorf("mesh: the request's body cannot be had again: %w", x.err)
		}
	}
	return x
}

// failure is what was wrong with the answer.
func (x *exchange) failure() error {
	if x.resp != nil {
		return fmt.Errorf("mesh: %s answered %s", x.host.Address(), x.resp.Status)
	}
	return x.err
}

// run makes the attempt. Its endpoint is judged when the header of the answer is
// there, and has the request until the answer's body is closed.
func (x *exchange) run(ctx context.Context) {
	ch := x.transport.channel
	if x.err != nil {
		x.refuse(x.err)
		return
	}
	lot, err := x.transport.endpointsNow(ctx)
	if err == nil {
		lot, err = lot.within(x.plan, x.subset)
	}
	if err != nil {
		x.refuse(err)
		return
	}
	leave := func() {}
	if x.plan.destination.Pool.MaxRequests > 0 {
		if _, err := ch.enter(ctx, time.Time{}); err != nil {
			x.refuse(err)
			return
		}
		leave = ch.gate.Leave
	}
	began := time.Now()
	choice, err := x.choose(lot, began)
	if err != nil {
		leave()
		x.refuse(err)
		return
	}
	x.host = choice.Host
	x.where.Store(choice.Host)
	ch.mesh.counts.attempts.Add(1)
	generation := lot.members[choice.Index].acquire(x.plan, len(x.transport.lot.Load().members), began)

	ctx, cancel := context.WithCancelCause(ctx)
	tooLong := func() bool { return true }
	if limit := x.rule.Retries.PerTryTimeout; limit > 0 && !x.mirrored {
		tooLong = time.AfterFunc(limit, func() { cancel(tryError{}) }).Stop
	}
	seen := &progress{full: generation.settings.connections > 0}
	inner := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { seen.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { seen.got.Store(true) },
	})
	x.resp, x.err = generation.http.RoundTrip(x.request(inner, seen)) //nolint:bodyclose // the caller closes it, or discard
	if seen.inTime = tooLong(); !seen.inTime {
		cancel(tryError{}) // which the timer may only be about to do
		if x.err == nil {
			_ = x.resp.Body.Close() // its context has ended
			x.resp, x.err = nil, context.DeadlineExceeded
		}
	}

	now := time.Now()
	took := now.Sub(began)
	x.outcome = x.judge(ctx, seen)
	choice.Host.Report(x.outcome, choice.Probe, now)
	end := func() {
		choice.Host.End(x.outcome, took, time.Now())
		generation.release()
		leave()
		cancel(nil)
	}
	if x.err != nil {
		end()
		return
	}
	onBodyEnd(x.resp, end)
}

// refuse ends an attempt that has not left.
func (x *exchange) refuse(err error) {
	x.err, x.refused = err, true
	if x.body != nil {
		_ = x.body.Close()
	}
}

// tryError is the cause of an attempt that ran into its own time limit.
type tryError struct{}

// Error says so.
func (tryError) Error() string { return "mesh: no answer within the route's perTryTimeout" }

// progress is how far net/http came with an attempt.
type progress struct {
	asked, got atomic.Bool // for a connection, and one
	bodyFailed atomic.Bool // what it was to send could not be read
	inTime     bool        // within the attempt's own limit
	full       bool        // connections are bounded, and may have been waited for
}

// sentBody is a request's body, which may fail for reasons of its own.
type sentBody struct {
	io.ReadCloser

	seen *progress
}

// Read reads, and notes a failure.
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.seen.bodyFailed.Store(true)
	}
	return n, err
}

// request returns the caller's as it goes out.
func (x *exchange) request(ctx context.Context, seen *progress) *http.Request {
	out := x.req.WithContext(ctx)
	at := *x.req.URL
	at.Host = "endpoint" // net/http keeps connections by it; the generation has one endpoint
	out.URL = &at
	if out.Host == "" {
		out.Host = x.req.URL.Host
	}
	// net/http may still write it when an attempt that was given up has returned.
	out.Header = x.req.Header.Clone()
	if out.Header == nil {
		out.Header = http.Header{}
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(out.Header))
	if out.Body = nil; x.body != nil {
		out.Body = &sentBody{ReadCloser: x.body, seen: seen}
	}
	return out
}

// choose chooses an endpoint and counts the request that it now has.
func (x *exchange) choose(lot *httpLot, now time.Time) (picker.Choice, error) {
	d := &x.plan.destination
	request := picker.Request{Now: now, Elsewhere: len(x.avoiding) > 0 && x.rule.Retries.RemoteLocalities}
	request.Tried = func(h *outlier.Host) bool {
		return slices.Contains(x.avoiding, h) || lot.down(h, now)
	}
	if d.HashHeader != "" {
		request.Hash = hashOfValues(x.req.Header.Values(d.HashHeader))
	}
	for range chooseAttempts {
		choice, ok := lot.set.Pick(&d.Balance, request)
		if !ok {
			break
		}
		if choice.Host.Begin(d.Balance.MaxActive, now) {
			return choice, nil
		}
		if choice.Probe { // others were quicker to fill it
			choice.Host.Return()
		}
	}
	return picker.Choice{}, x.transport.channel.full(fmt.Sprintf("its endpoints have %d requests each (maxConcurrentStreams)", d.Balance.MaxActive))
}

// down says whether no connection to the host could be made lately.
func (l *httpLot) down(h *outlier.Host, now time.Time) bool {
	e := l.byHost[h]
	return e != nil && e.avoid(now)
}

// judge says what the attempt means for its endpoint, and notes it for the caller.
func (x *exchange) judge(ctx context.Context, seen *progress) outlier.Outcome {
	if x.err == nil {
		switch code, failed := statusClass(x.resp.StatusCode); {
		case x.mirrored, x.resp.StatusCode == http.StatusTooManyRequests: // the latter as outcome has it
			return outlier.Ignored
		case !failed:
			return outlier.Success
		case code == codes.Unavailable:
			return outlier.GatewayError
		default:
			return outlier.ServerError
		}
	}
	_, x.unsent = errors.AsType[*unsentError](x.err)
	switch {
	case !seen.asked.Load() || seen.bodyFailed.Load():
		x.refused = true // the request is at fault
		return outlier.Ignored
	case x.mirrored:
		return outlier.Ignored
	case !seen.inTime && errors.Is(context.Cause(ctx), tryError{}):
		x.timedOut, x.err = true, context.DeadlineExceeded
	case errors.Is(ctx.Err(), context.Canceled):
		return outlier.Ignored
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && !x.limited:
		return outlier.Ignored
	}
	if ctx.Err() != nil && seen.full && !seen.got.Load() {
		return outlier.Ignored // it may have waited for the policy's maxConnections
	}
	return outlier.GatewayError
}

// discard lets go of an attempt's answer, in the background.
func (c *httpCall) discard(x *exchange) {
	if x.resp == nil {
		return
	}
	if !c.transport.background(func() { c.drain(x) }) {
		_ = x.resp.Body.Close()
	}
}

// drain reads a little of an answer and closes it.
func (c *httpCall) drain(x *exchange) {
	if x.resp == nil {
		return
	}
	defer x.resp.Body.Close()
	if x.resp.ProtoMajor == 1 && x.resp.ContentLength >= 0 && x.resp.ContentLength <= drainLimit {
		stop := time.AfterFunc(drainTime, func() { _ = x.resp.Body.Close() })
		defer stop.Stop()
		_, _ = io.CopyN(io.Discard, x.resp.Body, drainLimit)
	}
}

// onBodyEnd calls end when the answer's body is closed or at its end; at once if there
// is none.
func onBodyEnd(resp *http.Response, end func()) {
	if resp.Body == http.NoBody {
		end()
		return
	}
	body := receivedBody{ReadCloser: resp.Body, end: sync.OnceFunc(end)}
	if w, ok := resp.Body.(io.Writer); ok { // the connection is the caller's now (101)
		resp.Body = &takenBody{receivedBody: body, Writer: w}
		return
	}
	resp.Body = &body
}

// receivedBody is the body of an answer.
type receivedBody struct {
	io.ReadCloser

	end func()
}

// Read reads, and notes the end.
func (b *receivedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end()
	}
	return n, err
}

// Close closes.
func (b *receivedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// takenBody is that of an answer after which the protocol is another one.
type takenBody struct {
	receivedBody
	io.Writer
}
