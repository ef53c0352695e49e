package mesh

import (
	"net"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portico-bff/portico/mesh/internal/authz"
	"github.com/portico-bff/portico/mesh/internal/policy"
)

// egress is what the Egress documents of a policy say of one workload and one target.
type egress struct {
	name  string // of the first document that allows the target, "" if none does
	hosts []policy.EgressHost
	err   error // the answer to every call, nil if they are allowed
}

// findEgress asks the policy whether the workload may call the target.
func findEgress(p *Policy, self spiffeid.ID, target string) egress {
	if len(p.file.Egresses) == 0 {
		return egress{}
	}
	var found egress
	workload := authz.Principal{TrustDomain: self.TrustDomain().Name(), Path: self.Path()}
	for i := range p.file.Egresses {
		document := &p.file.Egresses[i]
		if !document.Covers(workload) {
			continue
		}
		for _, host := range document.Hosts {
			if !host.Allows(target) {
				continue
			}
			if found.name == "" {
				found.name = document.Name
			}
			found.hosts = append(found.hosts, host)
		}
	}
	if found.name == "" {
		found.err = status.Errorf(codes.PermissionDenied,
			"mesh: no Egress of the policy lets %s call %s; to allow it, add %s to the hosts of one", self, target, policy.Rule(target))
	}
	return found
}

// leave says whether calls may leave for the target; a refusal is counted.
func (ch *channel) leave(p *plan, method string) error {
	if p.egress.err == nil {
		return nil
	}
	ch.mesh.counts.egressDenied.Add(1)
	ch.mesh.onEvent(Event{Kind: EgressDenied, Target: ch.target, Method: method, Err: p.egress.err})
	return p.egress.err
}

// permitted says whether a connection that asks for this authority may be made.
func (ch *channel) permitted(authority string) error {
	e := &ch.plan().egress
	if e.err != nil {
		return e.err
	}
	name, _, err := net.SplitHostPort(authority)
	if err != nil {
		name = authority
	}
	allows := func(h policy.EgressHost) bool { return len(h.SNI) == 0 || slices.Contains(h.SNI, name) }
	if len(e.hosts) == 0 || slices.ContainsFunc(e.hosts, allows) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "mesh: Egress %q does not allow the server name %q at %s; to allow it, add it to the entry's sniHosts", e.name, name, ch.target)
}
