package auth

import (
	"errors"
	"slices"
	"strings"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/upstream"
)

// Match finds, for every method of d that a pattern covers, the most specific pattern: "pkg.Service/Method" before
// "pkg.Service/*" before "pkg.*", which covers every service whose full name begins with "pkg.", and a longer
// package before a shorter one. The error holds a [mistake.Mistake], at the pattern as path, for each pattern that
// covers nothing.
func Match(patterns []string, d *upstream.Descriptors) (map[*upstream.Method]string, error) {
	patterns = slices.Clone(patterns)
	slices.SortFunc(patterns, func(a, b string) int { // the least specific first, so that others replace it
		if c := specific(a) - specific(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	out := map[*upstream.Method]string{}
	var all []error
	for _, p := range patterns {
		methods := covered(p, d)
		if len(methods) == 0 {
			all = append(all, unknownPattern(p, d))
		}
		for _, m := range methods {
			out[m] = p
		}
	}
	return out, errors.Join(all...)
}

// exact is more specific than any pattern with a star.
const exact = 1 << 30

// specific orders patterns: the larger, the more specific.
func specific(pattern string) int {
	switch {
	case strings.HasSuffix(pattern, "/*"):
		return exact - 1
	case strings.HasSuffix(pattern, ".*"):
		return len(pattern)
	default:
		return exact
	}
}

// covered returns the methods that a pattern covers.
func covered(pattern string, d *upstream.Descriptors) []*upstream.Method {
	if service, ok := strings.CutSuffix(pattern, "/*"); ok {
		return d.Methods(service)
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasSuffix(prefix, ".") {
		var out []*upstream.Method
		for _, s := range d.Services() {
			if strings.HasPrefix(s, prefix) {
				out = append(out, d.Methods(s)...)
			}
		}
		return out
	}
	if m, ok := d.Method(pattern); ok {
		return []*upstream.Method{m}
	}
	return nil
}

func unknownPattern(pattern string, d *upstream.Descriptors) *mistake.Mistake {
	m := &mistake.Mistake{
		Path: []string{pattern}, Key: true,
		Expected: `"package.Service/Method", "package.Service/*" or "package.*" of the descriptors`,
	}
	service, method, hasMethod := strings.Cut(pattern, "/")
	switch {
	case hasMethod && method != "*" && d.Methods(service) != nil:
		m.What = "the service " + service + " has no method " + method
		var names []string
		for _, known := range d.Methods(service) {
			names = append(names, string(known.Desc.Name()))
		}
		if near := mistake.Nearest(method, names); near != "" {
			m.Nearest = service + "/" + near
		}
	case hasMethod:
		m.What = "unknown service " + service
		if near := mistake.Nearest(service, d.Services()); near != "" {
			m.Nearest = near + "/" + method
		}
	default:
		m.What = "the pattern " + pattern + " covers no method"
		var patterns []string
		for _, s := range d.Services() {
			patterns = append(patterns, s[:strings.LastIndexByte(s, '.')+1]+"*", s+"/*")
		}
		m.Nearest = mistake.Nearest(pattern, patterns)
	}
	return m
}
