package mesh

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/breaker"
	"github.com/portico-bff/portico/mesh/internal/gate"
	"github.com/portico-bff/portico/mesh/internal/histogram"
	"github.com/portico-bff/portico/mesh/internal/outlier"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// guard is what a channel keeps of a route's entry: its circuit breaker, and how long its
// calls take where hedges go by that.
type guard struct {
	channel *channel
	entry   string // what it is called
	rule    *policy.Breaker
	breaker *breaker.Breaker  // nil: it does not open
	gate    *gate.Gate        // nil: there may be as many as there are
	took    *histogram.Recent // nil: nobody asks
}

// guards makes the guards of a plan's entries. Those that the last plan had, too, go on
// as they are: entries are known by their names, or else by their places.
func (ch *channel) guards(next, last *plan) {
	next.guards = make([]*guard, len(next.rules))
	for i := range next.rules {
		rule := &next.rules[i]
		if !rule.Breaker.Stops() && rule.Hedging.Percentile == 0 {
			continue
		}
		g := &guard{channel: ch, entry: next.host + " " + rule.Name, rule: &rule.Breaker}
		if rule.Name == "" {
			g.entry = next.host + " " + strconv.Itoa(i+1)
		}
		if before := last.guardOf(g.entry); before != nil {
			g.breaker, g.gate, g.took = before.breaker, before.gate, before.took
		}
		g.configure(rule.Hedging.Percentile)
		next.guards[i] = g
	}
}

func (g *guard) configure(percentile float64) {
	switch {
	case percentile == 0:
		g.took = nil
	case g.took == nil || g.took.Percent() != percentile:
		g.took = histogram.NewRecent(percentile)
	}
	switch {
	case !g.rule.Opens:
		g.breaker = nil
	case g.breaker == nil:
		g.breaker = breaker.New(g.rule.Config)
	default:
		g.breaker.Configure(g.rule.Config)
	}
	switch {
	case g.gate != nil: // who is in must be able to leave
		g.gate.Configure(g.rule.Pool)
	case g.rule.Pool.Running > 0:
		g.gate = gate.New(g.rule.Pool)
	}
}

func (p *plan) guardOf(entry string) *guard {
	if p == nil {
		return nil
	}
	for _, g := range p.guards {
		if g != nil && g.entry == entry {
			return g
		}
	}
	return nil
}

// guard returns the breaker of an entry, nil if it has none.
func (p *plan) guard(entry int) *guard {
	if entry < 0 || entry >= len(p.guards) {
		return nil
	}
	return p.guards[entry]
}

// took is what knows how long the calls of an entry take; nil if nobody asks.
func (p *plan) took(rule *policy.RouteRule) *histogram.Recent {
	for i := range p.rules {
		if &p.rules[i] == rule && p.guards[i] != nil {
			return p.guards[i].took
		}
	}
	return nil
}

// pass is a call that a guard has let through.
type pass struct {
	*guard
	method string
	probe  bool
	ended  sync.Once
}

// enter lets a call through, or not.
func (g *guard) enter(ctx context.Context, method string) (*pass, error) {
	if g.gate != nil {
		if err := g.gate.Enter(ctx); err != nil {
			if errors.Is(err, gate.ErrFull) {
				return nil, g.channel.full(fmt.Sprintf("the entry %q has %d requests (maxRequests), and %d wait (maxPendingRequests)",
					g.entry, g.rule.Pool.Running, g.rule.Pool.Waiting))
			}
			g.channel.mesh.counts.overflows.Add(1)
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	p := &pass{guard: g, method: method}
	if g.breaker == nil {
		return p, nil
	}
	probe, until, ok := g.breaker.Allow(time.Now())
	if !ok {
		if g.gate != nil {
			g.gate.Leave()
		}
		g.channel.mesh.counts.broken.Add(1)
		return nil, status.Errorf(codes.Unavailable, "mesh: not sent, as the circuit breaker of %q at %s is open for %v more, and then for a probe",
			g.entry, g.channel.target, max(0, time.Until(until)).Round(time.Millisecond))
	}
	p.probe = probe
	return p, nil
}

// leave tells what became of the call; of several tellings the first counts.
func (p *pass) leave(outcome outlier.Outcome, err error) {
	p.report(outcome, err)
	if p.gate != nil {
		p.gate.Leave()
	}
}

func (p *pass) report(outcome outlier.Outcome, err error) {
	if p.breaker == nil {
		return
	}
	p.ended.Do(func() {
		until, opened := p.breaker.Report(outcome, p.probe, time.Now())
		if opened {
			m := p.channel.mesh
			m.counts.breakerOpens.Add(1)
			m.onEvent(Event{Kind: BreakerOpened, Target: p.channel.target, Method: p.method, Policy: p.entry, Until: until, Err: err})
		}
	})
}

// guardedStream tells a guard that a stream has received something, which is as good as
// an answer.
type guardedStream struct {
	grpc.ClientStream
	pass *pass
}

// RecvMsg receives a message.
func (s *guardedStream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	if err == nil {
		s.pass.report(outlier.Success, nil)
	}
	return err
}

// BreakerStats describes the circuit breaker of a route's entry at one client.
type BreakerStats struct {
	Target string `json:"target"`
	// Entry is the host by which the route was found, and the entry's name or place.
	Entry string `json:"entry"`
	// State is "closed", "open" until Until, or "probing".
	State string    `json:"state"`
	Until time.Time `json:"until,omitzero"`
	// Running and Waiting count calls and streams, where there is a bound to them.
	Running int `json:"running"`
	Waiting int `json:"waiting"`
}

// breakers describes the channel's breakers, in the order of the route.
func (ch *channel) breakers() []BreakerStats {
	var list []BreakerStats
	for _, g := range ch.plan().guards {
		if g == nil || !g.rule.Stops() {
			continue
		}
		s := BreakerStats{Target: ch.target, Entry: g.entry, State: breaker.Closed.String()}
		if g.breaker != nil {
			state, until := g.breaker.State(time.Now())
			s.State, s.Until = state.String(), until
		}
		if g.gate != nil {
			s.Running, s.Waiting = g.gate.Count()
		}
		list = append(list, s)
	}
	return list
}

// BreakerExplanation is the circuit breaker of an entry; its zero value is none.
type BreakerExplanation struct {
	// ConsecutiveGatewayErrors or Consecutive5xxErrors open it, for BaseEjectionTime at
	// first.
	ConsecutiveGatewayErrors, Consecutive5xxErrors int
	BaseEjectionTime                               time.Duration
	// MaxRequests is how many calls and streams there may be at a time, and
	// MaxPendingRequests how many wait for that; zero is no bound.
	MaxRequests, MaxPendingRequests int
}

func explainBreaker(b *policy.Breaker) BreakerExplanation {
	e := BreakerExplanation{MaxRequests: b.Pool.Running, MaxPendingRequests: b.Pool.Waiting}
	if b.Opens {
		e.ConsecutiveGatewayErrors, e.Consecutive5xxErrors = b.Config.ConsecutiveGatewayErrors, b.Config.Consecutive5xxErrors
		e.BaseEjectionTime = b.Config.Base
	}
	return e
}

// write tells it in a line or two.
func (e *BreakerExplanation) write(b *strings.Builder) {
	if e.BaseEjectionTime > 0 {
		fmt.Fprintf(b, "  breaker: opens for %v after", e.BaseEjectionTime)
		before := ""
		if e.ConsecutiveGatewayErrors > 0 {
			fmt.Fprintf(b, " %d gateway errors", e.ConsecutiveGatewayErrors)
			before = " or"
		}
		if e.Consecutive5xxErrors > 0 {
			fmt.Fprintf(b, "%s %d errors", before, e.Consecutive5xxErrors)
		}
		b.WriteString(" in a row\n")
	}
	if e.MaxRequests > 0 {
		fmt.Fprintf(b, "  breaker: %d requests at a time, and %d that wait\n", e.MaxRequests, e.MaxPendingRequests)
	}
}
