package mesh

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/adaptive"
	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// overloads are the limiters of the policy in force.
type overloads struct {
	current  atomic.Pointer[overloadTable]
	changing sync.Mutex // held while there is a new table
}

// overloadTable is what one policy says.
type overloadTable struct {
	policy   *Policy
	limiters map[string]*adaptive.Limiter // by the rule's ID
}

// in returns the limiters of a policy. Those that the last one had, too, go on with
// what they have learned.
func (o *overloads) in(p *Policy) *overloadTable {
	if t := o.current.Load(); t != nil && t.policy == p {
		return t
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	last := o.current.Load()
	if last != nil && last.policy == p {
		return last
	}
	next := &overloadTable{policy: p, limiters: map[string]*adaptive.Limiter{}}
	for i := range p.file.Overloads {
		for _, rule := range p.file.Overloads[i].Rules {
			if !rule.Limited {
				continue
			}
			if last != nil && last.limiters[rule.ID] != nil {
				next.limiters[rule.ID] = last.limiters[rule.ID]
				next.limiters[rule.ID].Configure(rule.Limit)
			} else {
				next.limiters[rule.ID] = adaptive.New(rule.Limit, time.Now())
			}
		}
	}
	o.current.Store(next)
	return next
}

// overloadRule returns the first rule that a call meets, and its document; nil if it
// meets none.
func (p *Policy) overloadRule(caller authz.Principal, method string) (*policy.Overload, *policy.OverloadRule) {
	if strings.HasPrefix(method, "/"+grpc_health_v1.Health_ServiceDesc.ServiceName+"/") {
		return nil, nil // who asks whether the server lives should hear that it does
	}
	for i := range p.file.Overloads {
		o := &p.file.Overloads[i]
		for j := range o.Rules {
			if o.Rules[j].Who.MayCover(caller, method) {
				return o, &o.Rules[j]
			}
		}
	}
	return nil, nil
}

// work is a call's place among those that a server works on.
type work struct {
	limiter *adaptive.Limiter // nil: it needs none
	began   time.Time
}

// begin waits until the server takes the call on, which came now. The context is the
// one to serve it with; the work must be ended.
func (m *Mesh) begin(ctx context.Context, a *admission, method string, now time.Time) (context.Context, work, error) {
	if len(a.policy.file.Overloads) == 0 {
		return hand(ctx, false), work{}, nil
	}
	document, rule := a.policy.overloadRule(a.caller, method)
	if rule == nil {
		return hand(ctx, false), work{}, nil
	}
	trusted := a.caller.TrustDomain != "" && document.Trusts(a.caller)
	if err := m.inTime(ctx, rule, method); err != nil {
		return ctx, work{}, err
	}
	if !rule.Limited {
		return hand(ctx, trusted), work{}, nil
	}
	limiter := m.overloads.in(a.policy).limiters[rule.ID]
	waited, err := limiter.Enter(ctx, adaptive.Caller(a.caller), priority(ctx, trusted))
	if err != nil {
		return ctx, work{}, m.shed(ctx, err, limiter, document.Name, method)
	}
	if waited {
		now = time.Now()
		if err := m.inTime(ctx, rule, method); err != nil {
			limiter.Leave(0, now)
			return ctx, work{}, err
		}
	}
	return hand(ctx, trusted), work{limiter: limiter, began: now}, nil
}

// end ends a call's work. How long it took says how busy the server is, if it has
// been done, or given up by a caller who would not wait longer.
func (w work) end(err error) {
	if w.limiter == nil {
		return
	}
	now := time.Now()
	took := time.Duration(0)
	switch status.Code(err) {
	case codes.OK, codes.DeadlineExceeded, codes.Canceled:
		took = now.Sub(w.began)
	default: // a mistake is soon found
	}
	w.limiter.Leave(took, now)
}

// pass lets go of the place at once. A stream waits its turn like a call, but may last
// for as long as it likes, which says nothing of how busy the server is.
func (w work) pass() {
	if w.limiter != nil {
		w.limiter.Leave(0, time.Now())
	}
}

// inTime refuses a call that has too little time left.
func (m *Mesh) inTime(ctx context.Context, rule *policy.OverloadRule, method string) error {
	if rule.Minimum == 0 {
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= rule.Minimum {
		return nil
	}
	m.counts.tooLate.Add(1)
	m.onEvent(Event{Kind: CallTooLate, Method: method})
	return status.Errorf(codes.DeadlineExceeded, "mesh: not begun, as less than %v (minRemainingTime) are left", rule.Minimum)
}

// shed is the answer to a call that the server does not take on.
func (m *Mesh) shed(ctx context.Context, why error, limiter *adaptive.Limiter, name, method string) error {
	if !errors.Is(why, adaptive.ErrShed) {
		return status.FromContextError(ctx.Err()).Err()
	}
	m.counts.shed.Add(1)
	event := Event{Kind: CallShed, Method: method, Policy: name}
	if info, ok := tlsInfo(ctx); ok && info.SPIFFEID != nil {
		event.Peer = peerID(&info)
	}
	m.onEvent(event)
	pushBack(ctx, limiter.Pushback())
	return status.Error(codes.ResourceExhausted, "the server has too much to do")
}

// pushBack tells the caller when it may try again.
func pushBack(ctx context.Context, wait time.Duration) {
	ms := (wait + time.Millisecond - 1) / time.Millisecond
	// Without a transport, in tests of the interceptor, there is nobody to tell.
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(int64(ms), 10)))
}

// OverloadStats describes one adaptive limit of a server.
type OverloadStats struct {
	// Name is the Overload's, and Rule the place of its rule.
	Name string `json:"name"`
	Rule int    `json:"rule"`
	// Limit is how many calls the server works on at a time, Running how many it
	// does, and Waiting how many wait for that.
	Limit   int `json:"limit"`
	Running int `json:"running"`
	Waiting int `json:"waiting"`
	// Base is what a call takes when the server has little to do, zero if that is not
	// known yet.
	Base time.Duration `json:"base_ns"`
	// Shed counts calls that were not taken on.
	Shed uint64 `json:"shed"`
}

// stats describes the limiters, in the order of the policy.
func (o *overloads) stats(p *Policy) []OverloadStats {
	var list []OverloadStats
	table := o.in(p)
	for i := range p.file.Overloads {
		for j, rule := range p.file.Overloads[i].Rules {
			if limiter := table.limiters[rule.ID]; limiter != nil {
				s := limiter.State()
				list = append(list, OverloadStats{
					Name: p.file.Overloads[i].Name, Rule: j,
					Limit: s.Limit, Running: s.Running, Waiting: s.Waiting, Base: s.Base, Shed: s.Shed,
				})
			}
		}
	}
	return list
}

// OverloadExplanation is the Overload rule that a call meets at its server.
type OverloadExplanation struct {
	Name string // of the document; "" if there is none
	Rule int
	// MaxLimit is the greatest number of calls at a time that the server may find it
	// can bear; zero if the rule does not limit them.
	MaxLimit int
	// Minimum is how much time a call must have left.
	Minimum time.Duration
	// Trusted says whether the caller may say that a call is more than critical.
	Trusted bool
}

func (p *Policy) explainOverload(caller authz.Principal, method string) OverloadExplanation {
	document, rule := p.overloadRule(caller, method)
	if rule == nil {
		return OverloadExplanation{}
	}
	e := OverloadExplanation{Name: document.Name, Minimum: rule.Minimum, Trusted: document.Trusts(caller)}
	for i := range document.Rules {
		if &document.Rules[i] == rule {
			e.Rule = i
		}
	}
	if rule.Limited {
		e.MaxLimit = rule.Limit.MaxLimit
	}
	return e
}

// write tells it in a line.
func (e *OverloadExplanation) write(b *strings.Builder) {
	if e.Name == "" {
		return
	}
	fmt.Fprintf(b, "  overload: Overload %q, rule %d", e.Name, e.Rule+1)
	if e.MaxLimit > 0 {
		fmt.Fprintf(b, ", as many at a time as the server can bear, %d at most", e.MaxLimit)
	}
	if e.Minimum > 0 {
		fmt.Fprintf(b, ", with %v left at least", e.Minimum)
	}
	if e.Trusted {
		b.WriteString(", as critical as the caller says")
	}
	b.WriteString("\n")
}
