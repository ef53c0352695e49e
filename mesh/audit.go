package mesh

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/rate"
)

// Decision is what a server has decided about one call, for an audit log.
type Decision struct {
	Time    time.Time
	Peer    spiffeid.ID // the caller; zero for one without TLS
	Method  string      // full method: "/pkg.Service/Method"
	Allowed bool
	// Policy is the Authorization that decided, and Rule the place of its rule; "" and
	// -1 if none matched, which denies.
	Policy string
	Rule   int
	// DryRun is a policy in dry run that would have decided otherwise.
	DryRun string
}

// The hook hears of so many denials at once, and of one more every so often: a caller
// that is not wanted must not be able to fill the log. [Stats].Denied counts all.
const (
	auditBurst = 100
	auditEvery = 10 * time.Millisecond
)

// auditor samples decisions.
type auditor struct {
	tell    func(Decision)
	share   float64 // of what is allowed
	denials rate.Limiter
}

// hear tells the hook of a decision, if it is one of those that it hears of.
func (m *Mesh) hear(info *credentials.TLSInfo, method string, d authz.Decision) {
	a := &m.audit
	if a.tell == nil {
		return
	}
	if d.Allowed && d.DryRun == "" {
		if a.share <= 0 || a.share < 1 && m.chance() >= a.share {
			return
		}
	} else if _, ok := a.denials.Take(rate.Key{}, rate.Limit{Burst: auditBurst, Every: auditEvery}, time.Now()); !ok {
		return
	}
	a.tell(Decision{
		Time: time.Now(), Peer: peerID(info), Method: method,
		Allowed: d.Allowed, Policy: d.Policy, Rule: d.Rule, DryRun: d.DryRun,
	})
}
