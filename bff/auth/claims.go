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
	if !now.Before(expires.Add(Leeway)) {
		return nil, errExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		t, ok, err := instant(claims, name)
		if err != nil {
			return nil, err
		}
		if ok && now.Add(Leeway).Before(t) {
			return nil, fmt.Errorf("its %s lies in the future", name)
		}
	}
	subject, _ := claims["sub"].(string)
	if subject == "" || strings.ContainsFunc(subject, unicode.IsControl) {
		return nil, errors.New("its sub is missing, no text, or has control characters")
	}
	p := &Principal{Subject: subject, Authenticated: true, Claims: claims, Expires: expires, Issuer: c.Issuer}
	p.Roles = words(p.Claim(c.RolesClaim), true)
	p.Scopes = words(p.Claim(c.ScopesClaim), true)
	p.Kind, err = c.kind(p)
	return p, err
}

// kind is what sort of caller the token is for.
func (c *JWT) kind(p *Principal) (Kind, error) {
	switch value := p.Claim(c.KindClaim); value {
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
	if slices.Contains(p.Roles, string(Device)) {
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
