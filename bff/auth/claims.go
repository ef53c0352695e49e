package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// errExpired is told to clients, who can do something about it.
var errExpired = errors.New("it has expired")

// maxTime is the latest time that a claim may name, 9999-12-31, so that arithmetic on it is safe.
const maxTime = 253402300799

// checkClaims checks the registered claims (RFC 7519, section 4.1) and makes a principal of them.
func (c *JWT) checkClaims(claims map[string]any, now time.Time) (*Principal, error) {
	if issuer, _ := claims["iss"].(string); issuer != c.Issuer {
		return nil, errors.New("its iss is another one")
	}
	if !slices.ContainsFunc(words(claims["aud"], false), func(a string) bool { return slices.Contains(c.Audiences, a) }) {
		return nil, fmt.Errorf("its aud %v is not for us", claims["aud"])
	}
	expires, ok, err := instant(claims, "exp")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("it has no exp")
	}
	if !now.Before(expires.Add(leeway)) {
		return nil, errExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		t, ok, err := instant(claims, name)
		if err != nil {
			return nil, err
		}
		if ok && now.Add(leeway).Before(t) {
			return nil, fmt.Errorf("its %s lies in the future", name)
		}
	}
	subject, _ := claims["sub"].(string)
	if subject == "" || strings.ContainsFunc(subject, unicode.IsControl) {
		return nil, errors.New("its sub is missing, no text, or has control characters")
	}
	p := &Principal{
		Subject:       subject,
		Authenticated: true,
		Roles:         words(lookup(claims, c.RolesClaim), true),
		Scopes:        words(lookup(claims, c.ScopesClaim), true),
		Claims:        claims,
		Expires:       expires,
		Issuer:        c.Issuer,
	}
	p.Kind, err = c.kind(claims, p.Roles)
	return p, err
}

// kind is what sort of caller the token is for.
func (c *JWT) kind(claims map[string]any, roles []string) (Kind, error) {
	switch value := lookup(claims, c.KindClaim); value {
	case nil:
	case string(User):
		return User, nil
	case string(Service):
		return Service, nil
	case string(Device):
		return Device, nil
	default:
		return "", fmt.Errorf("its %s %v is none of user, service, device", c.KindClaim, value)
	}
	if slices.Contains(roles, string(Device)) {
		return Device, nil
	}
	return User, nil
}

// instant reads a NumericDate.
func instant(claims map[string]any, name string) (t time.Time, ok bool, err error) {
	value, ok := claims[name]
	if !ok {
		return time.Time{}, false, nil
	}
	seconds, ok := value.(float64)
	if !ok || seconds < 0 || seconds > maxTime {
		return time.Time{}, false, fmt.Errorf("its %s %v is no time", name, value)
	}
	return time.Unix(int64(seconds), 0), true, nil
}

// lookup finds a claim by its name or, if there is none of that name, by a dotted path into objects.
func lookup(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	var v any = claims
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// words reads a claim that is a list of texts or one text, which split takes apart at spaces. Anything else is empty.
func words(v any, split bool) []string {
	switch v := v.(type) {
	case string:
		if split {
			return strings.Fields(v)
		}
		return []string{v}
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}
