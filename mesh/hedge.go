package mesh

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/portico-bff/portico/mesh/internal/policy"
)

// HedgedReply is what the reply of a call must be for the call to be hedged, if it
// is no proto.Message: a reply of one's own codec, say. Each attempt receives into
// a reply of its own.
type HedgedReply interface {
	// NewReply returns an empty reply of the same kind.
	NewReply() any
	// TakeReply takes over the contents of what NewReply returned.
	TakeReply(reply any)
}

// freshReply returns what makes replies like the given one, or nil.
func freshReply(reply any) func() any {
	switch reply := reply.(type) {
	case HedgedReply:
		return reply.NewReply
	case proto.Message:
		return func() any { return reply.ProtoReflect().New().Interface() }
	}
	return nil
}

// takeReply puts a fresh reply into the caller's.
func takeReply(reply, fresh any) {
	switch reply := reply.(type) {
	case HedgedReply:
		reply.TakeReply(fresh)
	case proto.Message:
		if from, ok := fresh.(proto.Message); ok {
			proto.Reset(reply)
			proto.Merge(reply, from)
		}
	}
}

// hedged is one of several attempts that run at a time.
type hedged struct {
	result
	reply any
	own   *ownOptions
}

// hedge makes an attempt, and further ones at other endpoints if it takes long: the
// first answer counts, the other attempts are cancelled. One that fails in a
// repeatable way leaves it to the others, and counts if it is the last. All have
// ended when hedge returns, since they read the caller's request.
//
// Every attempt receives into a reply of its own, and into its own places for the
// header, trailer and peer.
func (u *unaryCall) hedge(ctx context.Context, reply any, fresh func() any, opts []grpc.CallOption) result {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	limits := u.rule.Hedging
	delay := u.plan.hedgeDelay(u.rule)
	results := make(chan hedged, limits.MaxAttempts)
	var calls []*call
	launch := func() {
		c := u.next()
		c.tried = slices.Clone(c.tried)
		for _, earlier := range calls {
			if host := earlier.host.Load(); host != nil {
				c.tried = append(c.tried, host)
			}
		}
		calls = append(calls, c)
		h := hedged{reply: fresh(), own: ownPlaces(opts)}
		running.Go(func() {
			h.result = u.attempt(ctx, time.Now(), c, h.reply, h.own.options)
			results <- h
		})
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	began := time.Now()
	launch()
	for ended := 0; ; {
		select {
		case h := <-results:
			ended++
			if h.err == nil {
				u.plan.answered(u.rule, began)
				takeReply(reply, h.reply)
			}
			if h.err == nil || !u.repeatable(h.result) || ended == len(calls) {
				h.own.copyBack()
				return h.result
			}
		case <-timer.C:
			if len(calls) < limits.MaxAttempts && u.spend(result{}, AttemptHedged) {
				u.channel.mesh.counts.hedges.Add(1)
				u.again.hedges++
				launch()
				timer.Reset(delay)
			}
		}
	}
}

// hedgeDelay is how long an attempt of an entry's calls is alone.
func (p *plan) hedgeDelay(rule *policy.RouteRule) time.Duration {
	if rule.Hedging.Percentile > 0 {
		if took := p.took(rule); took != nil {
			if d, ok := took.Percentile(); ok {
				return d
			}
		}
	}
	return rule.Hedging.Delay
}

// answered tells that a call of an entry, with its hedges, has an answer now. That those
// count, too, moves no percentile: who is hedged takes longer than the delay in any case.
func (p *plan) answered(rule *policy.RouteRule, began time.Time) {
	if rule.Hedging.Percentile > 0 {
		if took := p.took(rule); took != nil {
			now := time.Now()
			took.Add(now.Sub(began), now)
		}
	}
}

// ownOptions are call options with places of an attempt's own in them.
type ownOptions struct {
	options []grpc.CallOption
	back    []func()
}

// ownPlaces replaces the options that gRPC writes to.
func ownPlaces(opts []grpc.CallOption) *ownOptions {
	o := &ownOptions{options: make([]grpc.CallOption, len(opts))}
	for i, opt := range opts {
		switch opt := opt.(type) {
		case grpc.HeaderCallOption:
			own := new(metadata.MD)
			o.options[i] = grpc.Header(own)
			o.back = append(o.back, func() { *opt.HeaderAddr = *own })
		case grpc.TrailerCallOption:
			own := new(metadata.MD)
			o.options[i] = grpc.Trailer(own)
			o.back = append(o.back, func() { *opt.TrailerAddr = *own })
		case grpc.PeerCallOption:
			own := new(peer.Peer)
			o.options[i] = grpc.Peer(own)
			o.back = append(o.back, func() { *opt.PeerAddr = *own })
		default:
			o.options[i] = opt
		}
	}
	return o
}

// copyBack hands what gRPC has written to the caller.
func (o *ownOptions) copyBack() {
	for _, back := range o.back {
		back()
	}
}
