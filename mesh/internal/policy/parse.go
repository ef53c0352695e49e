package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/portico-bff/portico/mesh/internal/authz"
)

// Parse reads the text of a policy file. Its error joins a [Mistake] for each
// thing that is wrong.
func Parse(file string, text []byte) (*Policy, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		m := &Mistake{File: file, Text: err.Error()}
		if bad, ok := errors.AsType[yaml.Error](err); ok {
			m.Text = bad.GetMessage()
			if at := bad.GetToken(); at != nil && at.Position != nil {
				m.Line, m.Col = at.Position.Line, at.Position.Column
			}
		}
		return nil, m
	}
	r := &reader{file: file}
	p := &Policy{}
	names := map[string]bool{}
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		r.document(doc.Body, p, names)
	}
	r.resolve(p)
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// document reads one document by its kind.
func (r *reader) document(n ast.Node, p *Policy, names map[string]bool) {
	pairs, ok := r.pairs(n, "document")
	if !ok {
		return
	}
	kind := ""
	for _, pair := range pairs {
		if pair.Key.GetToken().Value == "kind" {
			kind, ok = r.word(pair.Value, "kind", "Authorization", "Destination", "Egress", "Overload", "PeerAuthentication", "RateLimit", "Route")
			if !ok {
				return
			}
		}
	}
	switch kind {
	case "":
		r.fail(place(n), `document: "kind" is missing, want "Authorization", "Destination", "Egress", "Overload", "PeerAuthentication", "RateLimit" or "Route"`)
	case "Authorization":
		r.authorization(n, p, names)
	case "Destination":
		r.destination(n, p, names)
	case "Egress":
		r.egress(n, p, names)
	case "Overload":
		r.overload(n, p, names)
	case "PeerAuthentication":
		r.peerAuthentication(n, p)
	case "RateLimit":
		r.rateLimit(n, p, names)
	case "Route":
		r.route(n, p, names)
	}
}

// once refuses the second document of one name.
func (r *reader) once(n ast.Node, names map[string]bool, kind, name string) {
	if names[kind+" "+name] {
		r.fail(place(n), "%s: a second one for %q", kind, name)
	}
	names[kind+" "+name] = true
}

func ignore(ast.Node) {}

// fullRegexp compiles an expression that must match a whole value, as Istio's do.
func fullRegexp(s string) (*regexp.Regexp, error) {
	return regexp.Compile("^(?:" + s + ")$")
}

func (r *reader) authorization(n ast.Node, p *Policy, names map[string]bool) {
	var a authz.Policy
	r.mapping(n, "Authorization",
		key{name: "kind", read: ignore},
		key{name: "name", must: true, read: func(n ast.Node) {
			a.Name, _ = r.text(n, "name")
			r.once(n, names, "Authorization", a.Name)
		}},
		key{name: "action", must: true, read: func(n ast.Node) {
			action, _ := r.word(n, "action", "ALLOW", "DENY")
			a.Deny = action == "DENY"
		}},
		key{name: "dryRun", read: func(n ast.Node) { r.boolean(n, "dryRun", &a.DryRun) }},
		key{name: "rules", must: true, read: func(n ast.Node) {
			r.each(n, "rules", func(n ast.Node) { a.Rules = append(a.Rules, r.rule(n)) })
		}})
	p.Authorizations = append(p.Authorizations, a)
}

func (r *reader) rule(n ast.Node) authz.Rule {
	var rule authz.Rule
	r.mapping(n, "rule",
		r.from(&rule),
		r.to(&rule),
		key{name: "when", read: func(n ast.Node) {
			r.each(n, "when", func(n ast.Node) { rule.When = append(rule.When, r.condition(n)...) })
		}})
	if len(rule.From)+len(rule.To)+len(rule.When) == 0 {
		r.fail(place(n), `rule: it matches everything; say so with from: [{source: {principals: ["*"]}}]`)
	}
	return rule
}

// from and to are the keys of a rule's callers and methods.
func (r *reader) from(rule *authz.Rule) key {
	return key{name: "from", read: func(n ast.Node) {
		r.each(n, "from", func(n ast.Node) {
			r.mapping(n, "from", key{name: "source", must: true, read: func(n ast.Node) {
				rule.From = append(rule.From, r.source(n))
			}})
		})
	}}
}

func (r *reader) to(rule *authz.Rule) key {
	return key{name: "to", read: func(n ast.Node) {
		r.each(n, "to", func(n ast.Node) {
			r.mapping(n, "to", key{name: "operation", must: true, read: func(n ast.Node) {
				rule.To = append(rule.To, r.operation(n))
			}})
		})
	}}
}

func (r *reader) source(n ast.Node) authz.Source {
	var s authz.Source
	r.mapping(n, "source",
		key{name: "principals", read: func(n ast.Node) {
			r.each(n, "principals", func(n ast.Node) { s.Principals = r.principal(n, s.Principals) })
		}},
		key{name: "notPrincipals", read: func(n ast.Node) {
			r.each(n, "notPrincipals", func(n ast.Node) { s.NotPrincipals = r.principal(n, s.NotPrincipals) })
		}})
	if len(s.Principals)+len(s.NotPrincipals) == 0 {
		r.fail(place(n), `source: want "principals" or "notPrincipals" with at least one entry`)
	}
	return s
}

// principal reads "*", "spiffe://domain/*", "spiffe://domain/prefix*" or an id.
func (r *reader) principal(n ast.Node, list []authz.PrincipalPattern) []authz.PrincipalPattern {
	s, ok := r.text(n, "principal")
	if !ok {
		return list
	}
	if s == "*" {
		return append(list, authz.PrincipalPattern{Any: true})
	}
	text, prefix := strings.CutSuffix(s, "*")
	domain, path, _ := strings.Cut(strings.TrimPrefix(text, "spiffe://"), "/")
	trust, err := spiffeid.TrustDomainFromString(domain)
	if err == nil && !prefix {
		_, err = spiffeid.FromString(text)
	}
	if err != nil || !strings.HasPrefix(text, "spiffe://"+domain+"/") || strings.Contains(text, "*") {
		r.fail(place(n), `principal: %q, want a SPIFFE id such as "spiffe://shop.test/orders", "spiffe://shop.test/*" or "*"`, s)
		return list
	}
	return append(list, authz.PrincipalPattern{
		Principal: authz.Principal{TrustDomain: trust.Name(), Path: "/" + path},
		Prefix:    prefix,
	})
}

func (r *reader) operation(n ast.Node) authz.Operation {
	var o authz.Operation
	r.mapping(n, "operation",
		key{name: "paths", read: func(n ast.Node) {
			r.each(n, "paths", func(n ast.Node) { o.Paths = r.path(n, o.Paths) })
		}},
		key{name: "notPaths", read: func(n ast.Node) {
			r.each(n, "notPaths", func(n ast.Node) { o.NotPaths = r.path(n, o.NotPaths) })
		}})
	if len(o.Paths)+len(o.NotPaths) == 0 {
		r.fail(place(n), `operation: want "paths" or "notPaths" with at least one entry`)
	}
	return o
}

// methodPath is a full gRPC method.
var methodPath = regexp.MustCompile(`^/[A-Za-z_][\w.]*/[A-Za-z_]\w*$`)

// path reads "*", "/pkg.Service/*", "/pkg.Service/Prefix*" or a full method.
func (r *reader) path(n ast.Node, list []authz.PathPattern) []authz.PathPattern {
	s, ok := r.text(n, "path")
	if !ok {
		return list
	}
	text, prefix := strings.CutSuffix(s, "*")
	if strings.Contains(text, "*") || (prefix && text != "" && text[0] != '/') || (!prefix && !methodPath.MatchString(text)) {
		r.fail(place(n), `path: %q, want a method such as "/shop.orders.v1.OrderService/GetOrder", "/shop.orders.v1.OrderService/*" or "*"`, s)
		return list
	}
	return append(list, authz.PathPattern{Path: text, Prefix: prefix})
}
