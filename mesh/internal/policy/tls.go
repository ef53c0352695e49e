package policy

import "github.com/goccy/go-yaml/ast"

// TLS says how the connections to a destination are secured. Its zero value is the
// mesh's way.
type TLS struct {
	Mode TLSMode
	// ServerName is asked for and verified with SimpleTLS; "" is the target's.
	ServerName string
	// Authorities is a PEM file of who may vouch for it; "" is the system's.
	Authorities string
}

// TLSMode is one of Istio's words.
type TLSMode int

// The modes. MutualTLS (ISTIO_MUTUAL) is for servers of the mesh, which are known by
// their SPIFFE ids; SimpleTLS (SIMPLE) for others, which are known by their names and
// are not told who we are.
const (
	MutualTLS TLSMode = iota
	SimpleTLS
)

// tls reads a trafficPolicy's, in Istio's words.
func (r *reader) tls(n ast.Node, t *TLS) {
	r.mapping(n, "tls",
		key{name: "mode", must: true, read: func(n ast.Node) {
			if word, _ := r.word(n, "mode", "ISTIO_MUTUAL", "SIMPLE"); word == "SIMPLE" {
				t.Mode = SimpleTLS
			}
		}},
		key{name: "sni", read: func(n ast.Node) { t.ServerName, _ = r.text(n, "sni") }},
		key{name: "caCertificates", read: func(n ast.Node) { t.Authorities, _ = r.text(n, "caCertificates") }})
	if t.Mode != SimpleTLS && t.ServerName+t.Authorities != "" {
		r.fail(place(n), `tls: "sni" and "caCertificates" are for mode "SIMPLE"`)
	}
}
