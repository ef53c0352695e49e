package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

// Egress says where some workloads may call. Once a policy has one, nobody may call
// anywhere that none names.
type Egress struct {
	Name       string
	Principals []authz.PrincipalPattern // the workloads; none: all
	Hosts      []EgressHost
}

// EgressHost is a place that may be called.
type EgressHost struct {
	Host  string   // as a Destination's
	Ports []string // the target's; none: any
	SNI   []string // names that TLS may ask for; none: any
}

// Covers says whether the document is about the workload.
func (e *Egress) Covers(workload authz.Principal) bool {
	return len(e.Principals) == 0 || slices.ContainsFunc(e.Principals, func(p authz.PrincipalPattern) bool {
		return p.Match(workload)
	})
}

// Allows says whether the entry names the target, with all of its ports.
func (h *EgressHost) Allows(target string) bool {
	if !Names(h.Host, target) {
		return false
	}
	if len(h.Ports) == 0 {
		return true
	}
	ports := Ports(target)
	return len(ports) > 0 && !slices.ContainsFunc(ports, func(port string) bool { return !slices.Contains(h.Ports, port) })
}

// Ports returns the ports that a target names; none if discovery finds them.
func Ports(target string) []string {
	var ports []string
	for endpoint := range strings.SplitSeq(EndpointOf(target), ",") {
		if _, port, ok := cutPort(endpoint); ok {
			ports = append(ports, port)
		}
	}
	return ports
}

// Rule returns the entry that would allow the target.
func Rule(target string) string {
	endpoint := EndpointOf(target)
	host, port, ok := cutPort(endpoint)
	if !ok {
		return "{host: " + strconv.Quote(endpoint) + "}"
	}
	return "{host: " + strconv.Quote(host) + ", ports: [" + port + "]}"
}

func (r *reader) egress(n ast.Node, p *Policy, names map[string]bool) {
	var e Egress
	r.mapping(n, "Egress",
		key{name: "kind", read: ignore},
		key{name: "name", must: true, read: func(n ast.Node) {
			e.Name, _ = r.text(n, "name")
			r.once(n, names, "Egress", e.Name)
		}},
		key{name: "principals", read: func(n ast.Node) {
			before := len(r.mistakes)
			r.each(n, "principals", func(n ast.Node) { e.Principals = r.principal(n, e.Principals) })
			if len(e.Principals) == 0 && len(r.mistakes) == before {
				r.fail(place(n), "principals: want at least one, or none of the word for all workloads")
			}
		}},
		key{name: "hosts", must: true, read: func(n ast.Node) {
			r.each(n, "hosts", func(n ast.Node) { e.Hosts = append(e.Hosts, r.egressHost(n)) })
		}})
	p.Egresses = append(p.Egresses, e)
}

func (r *reader) egressHost(n ast.Node) EgressHost {
	var h EgressHost
	r.mapping(n, "host",
		key{name: "host", must: true, read: func(n ast.Node) { h.Host, _ = r.text(n, "host") }},
		key{name: "ports", read: func(n ast.Node) {
			r.each(n, "ports", func(n ast.Node) {
				port := 0
				r.integer(n, "port", 1, 65535, &port)
				h.Ports = append(h.Ports, strconv.Itoa(port))
			})
			r.some(n, "ports", len(h.Ports))
		}},
		key{name: "sniHosts", read: func(n ast.Node) {
			h.SNI = r.texts(n, "sniHosts")
			r.some(n, "sniHosts", len(h.SNI))
		}})
	return h
}

// some refuses an empty list where a missing one would mean anything at all.
func (r *reader) some(n ast.Node, what string, count int) {
	if sequence, ok := n.(*ast.SequenceNode); ok && count == 0 && len(sequence.Values) == 0 {
		r.fail(place(n), "%s: want at least one, or leave the word out for any", what)
	}
}
