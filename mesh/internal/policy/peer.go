package policy

import (
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

// PeerAuthentication says which servers take callers without TLS, too.
type PeerAuthentication struct {
	Principals []authz.PrincipalPattern // whose servers
	Permissive bool
	Ports      map[string]bool // ports of which something else may hold
}

// Allows says whether the servers take plaintext at a port; "" is that of no network.
func (p *PeerAuthentication) Allows(port string) bool {
	if permissive, ok := p.Ports[port]; ok {
		return permissive
	}
	return p.Permissive
}

// Any says whether there is a port where they do.
func (p *PeerAuthentication) Any() bool {
	for _, permissive := range p.Ports {
		if permissive {
			return true
		}
	}
	return p.Permissive
}

// Covers says whether the document is about the workload.
func (p *PeerAuthentication) Covers(workload authz.Principal) bool {
	return slices.ContainsFunc(p.Principals, func(pattern authz.PrincipalPattern) bool { return pattern.Match(workload) })
}

func (r *reader) peerAuthentication(n ast.Node, p *Policy) {
	var a PeerAuthentication
	said := false
	r.mapping(n, "PeerAuthentication",
		key{name: "kind", read: ignore},
		key{name: "principals", read: func(n ast.Node) {
			r.each(n, "principals", func(n ast.Node) { a.Principals = r.principal(n, a.Principals) })
		}},
		key{name: "mtls", read: func(n ast.Node) {
			said = true
			a.Permissive = r.mtls(n, "mtls")
		}},
		key{name: "portLevelMtls", read: func(n ast.Node) {
			said = true
			pairs, _ := r.pairs(n, "portLevelMtls")
			a.Ports = map[string]bool{}
			for _, pair := range pairs {
				port := pair.Key.GetToken().Value
				if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 || strconv.FormatUint(number, 10) != port {
					r.fail(pair.Key.GetToken(), "portLevelMtls: %q, want a port", port)
				}
				a.Ports[port] = r.mtls(pair.Value, "port "+port)
			}
		}})
	if !said {
		r.fail(place(n), `PeerAuthentication: want "mtls" or "portLevelMtls"`)
	}
	if a.Any() && !named(a.Principals) {
		r.fail(place(n), `PeerAuthentication: mode "PERMISSIVE" wants "principals" that name each server that may take plaintext, without "*"`)
	}
	if len(a.Principals) > 0 { // one for everybody is STRICT, which everybody is
		p.Peers = append(p.Peers, a)
	}
}

// named says whether all patterns are whole ids.
func named(patterns []authz.PrincipalPattern) bool {
	for _, p := range patterns {
		if p.Any || p.Prefix {
			return false
		}
	}
	return len(patterns) > 0
}

// mtls reads a mode, and says whether it is PERMISSIVE.
func (r *reader) mtls(n ast.Node, what string) bool {
	word := ""
	r.mapping(n, what, key{name: "mode", must: true, read: func(n ast.Node) {
		word, _ = r.word(n, "mode", "STRICT", "PERMISSIVE")
	}})
	return word == "PERMISSIVE"
}
