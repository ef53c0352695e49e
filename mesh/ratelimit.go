package mesh

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
	"github.com/portico-bff/portico/mesh/internal/rate"
)

// rateRules returns the rule of each RateLimit that a call meets, the first that
// matches, to yield.
func (p *Policy) rateRules(caller authz.Principal, method string, yield func(*policy.RateLimit, *policy.RateRule) bool) {
	for i := range p.file.RateLimits {
		limit := &p.file.RateLimits[i]
		for j := range limit.Rules {
			if !limit.Rules[j].Who.MayCover(caller, method) {
				continue
			}
			if !yield(limit, &limit.Rules[j]) {
				return
			}
			break
		}
	}
}

// limited refuses a call whose caller has made too many of late, and tells when the
// next may come.
func (m *Mesh) limited(ctx context.Context, p *Policy, info *credentials.TLSInfo, caller authz.Principal, method string, now time.Time) error {
	if len(p.file.RateLimits) == 0 {
		return nil
	}
	var refusal error
	p.rateRules(caller, method, func(limit *policy.RateLimit, rule *policy.RateRule) bool {
		key := rate.Key{Rule: rule.ID, TrustDomain: caller.TrustDomain, Path: caller.Path, Method: method}
		wait, ok := m.rates.Take(key, rule.Limit, now)
		if ok {
			return true
		}
		m.counts.limited.Add(1)
		m.onEvent(Event{Kind: CallLimited, Method: method, Peer: peerID(info), Policy: limit.Name})
		pushBack(ctx, wait)
		refusal = status.Error(codes.ResourceExhausted, "the mesh policy allows this caller no more calls of this method for now")
		return false
	})
	return refusal
}
