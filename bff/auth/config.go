package auth

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portico-bff/portico/bff/config/mistake"
)

// Config is the "auth" section: which credentials are accepted.
type Config struct {
	// Anonymous admits clients without credentials, as the anonymous principal. What they may call is up to the rules.
	Anonymous bool `yaml:"anonymous" json:"anonymous,omitempty" jsonschema_description:"Admit clients without credentials. Rules still decide what they may call."`
	// JWT lists the token issuers that are trusted.
	JWT []JWT `yaml:"jwt" json:"jwt,omitempty" jsonschema_description:"The token issuers that are trusted."`
}

// JWT is one trusted issuer of JSON Web Tokens (RFC 7519) and how its claims are read. Tokens must carry sub, exp, the
// issuer and one of the audiences; 30 s of clock difference are allowed for.
type JWT struct {
	// Issuer is the exact value of the iss claim.
	Issuer string `yaml:"issuer" json:"issuer" jsonschema:"minLength=1" jsonschema_description:"The exact value of the iss claim."`
	// Audiences are the values of aud that mean us; one of them must be in the token.
	Audiences []string `yaml:"audiences" json:"audiences" jsonschema:"minItems=1" jsonschema_description:"Values of the aud claim that mean this server; one must be present."`
	// JWKSURI is where the issuer publishes its keys (RFC 7517). They are fetched at the start and kept fresh; the keys
	// that are known keep working when the issuer is out of reach.
	JWKSURI string `yaml:"jwks_uri" json:"jwks_uri,omitempty" jsonschema_description:"Where the issuer publishes its keys, http or https."`
	// JWKSMesh fetches JWKSURI, which must be https, through the mesh: its policy's Destination for the URI's host and port
	// says who the issuer is, and where it is found, retried and given up is the mesh's, too.
	JWKSMesh bool `yaml:"jwks_mesh" json:"jwks_mesh,omitempty" jsonschema_description:"Fetch jwks_uri (https) through the mesh, whose policy says who the issuer is."`
	// JWKSFile is a file with the keys, instead of JWKSURI. It is read again every minute.
	JWKSFile string `yaml:"jwks_file" json:"jwks_file,omitempty" jsonschema_description:"A file with the keys, instead of jwks_uri; read again every minute."`
	// Algorithms are the signature algorithms that are accepted: ES256, RS256, PS256 and EdDSA if not given.
	Algorithms []string `yaml:"algorithms" json:"algorithms,omitempty" jsonschema:"enum=ES256,enum=ES384,enum=ES512,enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=EdDSA" jsonschema_description:"Accepted signature algorithms; ES256, RS256, PS256 and EdDSA if not given."`
	// RolesClaim is the claim with the roles, a list or a string of words; a dotted path leads into objects, as in
	// realm_access.roles. "roles" if not given.
	RolesClaim string `yaml:"roles_claim" json:"roles_claim,omitempty" jsonschema_description:"The claim with the roles; a dotted path leads into objects. Default: roles."`
	// ScopesClaim is the claim with the scopes, read like RolesClaim. "scope" if not given.
	ScopesClaim string `yaml:"scopes_claim" json:"scopes_claim,omitempty" jsonschema_description:"The claim with the scopes. Default: scope."`
	// KindClaim is the claim that says user, service or device. "kind" if not given. Without it in a token, one with the
	// role device is a device's, and any other a user's.
	KindClaim string `yaml:"kind_claim" json:"kind_claim,omitempty" jsonschema_description:"The claim that says user, service or device. Default: kind."`
}

// ResolvePaths replaces every relative file path in c by what rel makes of it.
func (c *Config) ResolvePaths(rel func(string) string) {
	for i := range c.JWT {
		if c.JWT[i].JWKSFile != "" {
			c.JWT[i].JWKSFile = rel(c.JWT[i].JWKSFile)
		}
	}
}

// Leeway is the clock difference between an issuer and us that is allowed for.
const Leeway = 30 * time.Second

// defaultAlgorithms are accepted if config names none.
func defaultAlgorithms() []string { return []string{"ES256", "RS256", "PS256", "EdDSA"} }

// withDefaults fills in what is not given.
func (c JWT) withDefaults() JWT {
	if len(c.Algorithms) == 0 {
		c.Algorithms = defaultAlgorithms()
	}
	for _, claim := range []struct {
		name *string
		def  string
	}{{&c.RolesClaim, "roles"}, {&c.ScopesClaim, "scope"}, {&c.KindClaim, "kind"}} {
		if *claim.name == "" {
			*claim.name = claim.def
		}
	}
	return c
}

// validate reports everything that is wrong in c, which has its defaults.
func (c *Config) validate() error {
	var all []error
	seen := map[string]bool{}
	for i, j := range c.JWT {
		err := j.validate()
		if j.Issuer != "" && seen[j.Issuer] {
			err = errors.Join(err, mistake.At("the issuer "+strconv.Quote(j.Issuer)+" is listed twice", "issuer"))
		}
		seen[j.Issuer] = true
		all = append(all, mistake.In(err, "jwt", strconv.Itoa(i)))
	}
	return errors.Join(all...)
}

func (c JWT) validate() error {
	var all []error
	add := func(key, what, expected string) {
		all = append(all, &mistake.Mistake{Path: []string{key}, What: what, Expected: expected})
	}
	if c.Issuer == "" {
		add("issuer", "no issuer", "the exact value of the iss claim")
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		add("audiences", "no audience, or an empty one", "at least one value of the aud claim that means this server")
	}
	switch {
	case c.JWKSURI == "" && c.JWKSFile == "":
		all = append(all, mistake.At("no keys: one of jwks_uri and jwks_file is needed"))
	case c.JWKSURI != "" && c.JWKSFile != "":
		add("jwks_file", "both jwks_uri and jwks_file are given", "one of them")
	case c.JWKSURI != "":
		if u, err := url.Parse(c.JWKSURI); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			add("jwks_uri", strconv.Quote(c.JWKSURI)+" is no URL to fetch keys from", "an https or http URL")
		}
	}
	if c.JWKSMesh && !strings.HasPrefix(c.JWKSURI, "https://") {
		add("jwks_mesh", "the mesh fetches keys over TLS alone", "a jwks_uri with https")
	}
	for i, name := range c.Algorithms {
		if _, ok := algorithmOf(name); !ok {
			m := mistake.At("the signature algorithm "+strconv.Quote(name)+" is not accepted", "algorithms", strconv.Itoa(i))
			m.Expected = "one of " + strings.Join(algorithmNames(), ", ")
			all = append(all, m)
		}
	}
	return errors.Join(all...)
}
