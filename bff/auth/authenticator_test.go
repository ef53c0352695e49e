package auth

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/config/mistake"
	"github.com/portico-bff/portico/bff/fault"
)

func codeOf(err error) codes.Code {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return codes.OK
	}
	return f.Code
}

func TestGoodTokens(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ec, ed := newES256(t, "ec"), newEd25519(t, "ed")
	rs, ps := newRSA(t, "rs", jwa.RS256()), newRSA(t, "ps", jwa.PS256())
	a := newAuthenticator(t, testConfig(), &issuerServer{body: keySetOf(t, ec, ed, rs, ps)})
	for _, s := range []signer{ec, ed, rs, ps} {
		for range 2 { // the second time from memory
			p, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claimsAt(now), nil)})
			if err != nil {
				t.Fatalf("%s: %v", s.id, err)
			}
			if p.Subject != "usr-0003" || p.Kind != User || !p.Authenticated || p.Issuer != testIssuer ||
				!cmp.Equal(p.Roles, []string{"customer"}) || !cmp.Equal(p.Scopes, []string{"read", "write"}) ||
				!p.Expires.Equal(time.Unix(now.Add(time.Hour).Unix(), 0)) || p.Claims["iss"] != testIssuer {
				t.Errorf("%s: principal %+v", s.id, p)
			}
		}
	}
}

// TestAttacks: every token that is not exactly right is refused, and what the client reads does not tell why.
func TestAttacks(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good, stranger := newES256(t, "k1"), newES256(t, "k1")
	rs := newRSA(t, "rs", jwa.RS256())
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	set := strings.Replace(string(keySetOf(t, good, rs)), `"keys":[`, fmt.Sprintf(`"keys":[{"kty":"RSA","kid":"weak","e":"AQAB","n":%q},`,
		base64.RawURLEncoding.EncodeToString(weak.N.Bytes())), 1)
	a := newAuthenticator(t, testConfig(), &issuerServer{body: []byte(set)})
	claims := claimsAt(now)
	header := func(alg string) map[string]any { return map[string]any{"alg": alg, "kid": "k1", "typ": "JWT"} }
	hmacWith := func(secret []byte) func(string) []byte {
		return func(signed string) []byte {
			h := hmac.New(sha256.New, secret)
			h.Write([]byte(signed))
			return h.Sum(nil)
		}
	}
	public := func(key any) []byte {
		signing, ok := key.(crypto.Signer)
		if !ok {
			t.Fatal("no signer")
		}
		der, err := x509.MarshalPKIXPublicKey(signing.Public())
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	change := func(name string, value any) string {
		return good.sign(t, with(without(claims, name), name, value), nil)
	}
	valid := good.sign(t, claims, nil)
	parts := strings.Split(valid, ".")

	tests := map[string]string{
		"alg none":                        forge(t, header("none"), claims, func(string) []byte { return nil }) + "x",
		"alg none, no signature":          forge(t, header("none"), claims, func(string) []byte { return nil }),
		"alg None":                        forge(t, header("None"), claims, func(string) []byte { return []byte("x") }),
		"HS256 with the public key":       forge(t, header("HS256"), claims, hmacWith(public(good.key))),
		"HS256 with the RSA public key":   forge(t, map[string]any{"alg": "HS256", "kid": "rs"}, claims, hmacWith(public(rs.key))),
		"HS256 with an empty key":         forge(t, header("HS256"), claims, hmacWith(nil)),
		"ES256 header, HMAC signature":    forge(t, header("ES256"), claims, hmacWith(public(good.key))),
		"ES256 with a zero signature":     forge(t, header("ES256"), claims, func(string) []byte { return make([]byte, 64) }),
		"RS256 naming the EC key":         signer{"k1", jwa.RS256(), rs.key}.sign(t, claims, nil),
		"an algorithm that is not listed": signer{"rs", jwa.RS512(), rs.key}.sign(t, claims, nil),
		"a key that is too small": forge(t, map[string]any{"alg": "RS256", "kid": "weak"}, claims, func(signed string) []byte {
			digest := sha256.Sum256([]byte(signed))
			signature, err := rsa.SignPKCS1v15(rand.Reader, weak, crypto.SHA256, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			return signature
		}),
		"another's key, same kid":   stranger.sign(t, claims, nil),
		"kid injection":             signer{"../../etc/passwd", jwa.ES256(), good.key}.sign(t, claims, nil),
		"kid with SQL":              signer{"' OR 1=1 --", jwa.ES256(), good.key}.sign(t, claims, nil),
		"no kid with several keys":  signer{"", jwa.ES256(), good.key}.sign(t, claims, nil),
		"jku":                       stranger.sign(t, claims, map[string]any{"jku": "https://evil.test/jwks.json"}),
		"jku, though signed well":   good.sign(t, claims, map[string]any{"jku": "https://evil.test/jwks.json"}),
		"x5u":                       good.sign(t, claims, map[string]any{"x5u": "https://evil.test/cert.pem"}),
		"jwk in the header":         forge(t, with(header("ES256"), "jwk", map[string]any{"kty": "EC"}), claims, hmacWith(nil)),
		"crit":                      forge(t, with(header("ES256"), "crit", []string{"exp"}), claims, hmacWith(nil)),
		"b64 false":                 forge(t, with(header("ES256"), "b64", false), claims, hmacWith(nil)),
		"expired":                   change("exp", now.Add(-time.Minute).Unix()),
		"no exp":                    good.sign(t, without(claims, "exp"), nil),
		"exp is text":               change("exp", "9999999999"),
		"exp beyond time":           change("exp", 1e300),
		"nbf in the future":         change("nbf", now.Add(time.Minute).Unix()),
		"iat in the future":         change("iat", now.Add(time.Minute).Unix()),
		"another audience":          change("aud", "portico-admin"),
		"audience is a prefix":      change("aud", "porti"),
		"no audience":               good.sign(t, without(claims, "aud"), nil),
		"another issuer":            change("iss", "https://evil.test"),
		"issuer with a slash more":  change("iss", testIssuer+"/"),
		"no issuer":                 good.sign(t, without(claims, "iss"), nil),
		"no subject":                good.sign(t, without(claims, "sub"), nil),
		"subject with a line break": change("sub", "usr-1\r\nx-user-role: admin"),
		"unknown kind":              change("kind", "root"),
		"kind is a number":          change("kind", 7),
		"no JWT":                    "hello",
		"empty parts":               "..",
		"four parts":                valid + ".x",
		"five parts (JWE)":          valid + ".x.y",
		"payload changed":           parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+testIssuer+`"}`)) + "." + parts[2],
		"signature cut":             valid[:len(valid)-2],
		"too long":                  valid + strings.Repeat("A", maxToken),
		"padding":                   valid + "=",
		"not JSON":                  "e30." + base64.RawURLEncoding.EncodeToString([]byte("[1]")) + ".eA",
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := a.Authenticate(t.Context(), Credentials{Bearer: token})
			if err == nil {
				t.Fatalf("accepted: %+v", p)
			}
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Code != codes.Unauthenticated {
				t.Errorf("got %v, want Unauthenticated", err)
			}
			if f.Public != "the token is not accepted" && (f.Public != "the token has expired" || name != "expired") {
				t.Errorf("the client reads %q", f.Public)
			}
			if f.Cause == nil {
				t.Error("logs do not learn why")
			}
		})
	}
}

func without(m map[string]any, name string) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func TestSingleKeyNeedsNoID(t *testing.T) {
	t.Parallel()
	s := newES256(t, "")
	a := newAuthenticator(t, testConfig(), &issuerServer{body: keySetOf(t, s)})
	if _, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claimsAt(time.Now()), nil)}); err != nil {
		t.Error(err)
	}
}

// TestKeyIsForOneAlgorithm: a key that says which algorithm it is for is used with no other.
func TestKeyIsForOneAlgorithm(t *testing.T) {
	t.Parallel()
	ps := newRSA(t, "k1", jwa.PS256())
	set := strings.Replace(string(keySetOf(t, ps)), `"kid"`, `"alg":"PS256","kid"`, 1)
	a := newAuthenticator(t, testConfig(), &issuerServer{body: []byte(set)})
	claims := claimsAt(time.Now())
	if _, err := a.Authenticate(t.Context(), Credentials{Bearer: ps.sign(t, claims, nil)}); err != nil {
		t.Error(err)
	}
	rs := signer{"k1", jwa.RS256(), ps.key}
	if _, err := a.Authenticate(t.Context(), Credentials{Bearer: rs.sign(t, claims, nil)}); codeOf(err) != codes.Unauthenticated {
		t.Errorf("RS256 with a key for PS256: %v", err)
	}
}

// TestIssuerIsCheckedAgain: the claim that picked the issuer's keys is not believed before the signature is checked.
func TestIssuerIsCheckedAgain(t *testing.T) {
	t.Parallel()
	c := testConfig().JWT[0].withDefaults()
	var claims map[string]any
	if err := json.Unmarshal([]byte(`{"iss":"https://evil.test","aud":"portico","sub":"x","exp":9999999999}`), &claims); err != nil {
		t.Fatal(err)
	}
	if _, err := c.checkClaims(claims, time.Now()); err == nil {
		t.Error("another issuer was accepted")
	}
	claims["iss"] = testIssuer
	if _, err := c.checkClaims(claims, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	s := newES256(t, "k1")
	config := testConfig()
	config.JWT[0].RolesClaim, config.JWT[0].ScopesClaim, config.JWT[0].KindClaim = "realm_access.roles", "scp", "x.kind"
	a := newAuthenticator(t, config, &issuerServer{body: keySetOf(t, s)})
	base := without(without(claimsAt(time.Now()), "roles"), "scope")
	tests := []struct {
		name   string
		extra  map[string]any
		roles  []string
		scopes []string
		kind   Kind
	}{
		{"nothing", nil, nil, nil, User},
		{"nested", map[string]any{"realm_access": map[string]any{"roles": []any{"a", 1, "b"}}, "scp": []string{"r"}}, []string{"a", "b"}, []string{"r"}, User},
		{"roles as text", map[string]any{"realm_access": map[string]any{"roles": "a  b"}}, []string{"a", "b"}, nil, User},
		{"a claim of that very name", map[string]any{"realm_access.roles": []string{"c"}}, []string{"c"}, nil, User},
		{"device by role", map[string]any{"realm_access.roles": []string{"device"}}, []string{"device"}, nil, Device},
		{"service by kind", map[string]any{"x": map[string]any{"kind": "service"}}, nil, nil, Service},
		{"roles in the wrong place", map[string]any{"roles": []string{"admin"}, "realm_access": "admin"}, nil, nil, User},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			claims := base
			for k, v := range tt.extra {
				claims = with(without(claims, k), k, v)
			}
			p, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claims, nil)})
			if err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(p.Roles, tt.roles) || !cmp.Equal(p.Scopes, tt.scopes) || p.Kind != tt.kind {
				t.Errorf("roles %v, scopes %v, kind %s", p.Roles, p.Scopes, p.Kind)
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []bool{false, true} {
		a, err := New(t.Context(), Config{Anonymous: anonymous}, Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		p, err := a.Authenticate(t.Context(), Credentials{})
		if anonymous && (err != nil || p.Authenticated || p.Kind != Anonymous) || !anonymous && codeOf(err) != codes.Unauthenticated {
			t.Errorf("anonymous %v: %+v, %v", anonymous, p, err)
		}
		// A bad credential is never taken for none.
		for _, c := range []Credentials{{Bearer: "x"}, {APIKey: "x"}} {
			if p, err := a.Authenticate(t.Context(), c); codeOf(err) != codes.Unauthenticated {
				t.Errorf("anonymous %v, %+v: %+v, %v", anonymous, c, p, err)
			}
		}
	}
}

// TestLeeway: 30 s of clock difference are allowed for, also for a token that is remembered.
func TestLeeway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newES256(t, "k1")
		a := newAuthenticator(t, testConfig(), &issuerServer{body: keySetOf(t, s)})
		now := time.Now()
		claims := with(without(claimsAt(now.Add(20*time.Second)), "exp"), "exp", now.Add(time.Minute).Unix())
		token := s.sign(t, claims, nil)
		for _, step := range []struct {
			wait time.Duration
			code codes.Code
		}{{0, codes.OK}, {time.Minute, codes.OK}, {29 * time.Second, codes.OK}, {time.Second, codes.Unauthenticated}} {
			time.Sleep(step.wait)
			if _, err := a.Authenticate(t.Context(), Credentials{Bearer: token}); codeOf(err) != step.code {
				t.Errorf("after %v more: %v, want %s", step.wait, err, step.code)
			}
		}
		a.Close()
	})
}

// TestKeysThroughTime: before the keys have come nothing can be judged; an outage is not felt; a rotation is; a key
// that is taken back is refused, even with a token that was found good before.
func TestKeysThroughTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newES256(t, "k1"), newES256(t, "k2")
		server := &issuerServer{fail: errOutage}
		a, err := New(t.Context(), testConfig(), Options{HTTP: &http.Client{Transport: server}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		synctest.Wait()
		judge := func(s signer) codes.Code {
			t.Helper()
			_, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claimsAt(time.Now()), nil)})
			return codeOf(err)
		}
		if got := judge(first); got != codes.Unavailable {
			t.Errorf("before the first keys: %s", got)
		}
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Ready = %v", err)
		}
		server.set(func(s *issuerServer) { s.fail, s.body = nil, keySetOf(t, first) })
		time.Sleep(2 * time.Second)
		if got := judge(first); got != codes.OK || a.Ready() != nil {
			t.Errorf("after the first keys: %s, %v", got, a.Ready())
		}

		server.set(func(s *issuerServer) { s.fail = errOutage })
		time.Sleep(2 * time.Hour)
		if got := judge(first); got != codes.OK {
			t.Errorf("in an outage: %s", got)
		}
		for _, broken := range []func(*issuerServer){
			func(s *issuerServer) { s.fail, s.status = nil, http.StatusInternalServerError },
			func(s *issuerServer) { s.status, s.body = 0, []byte("<html>") },
			func(s *issuerServer) { s.body = []byte(`{"keys":[]}`) },
			func(s *issuerServer) { s.body = []byte(strings.Repeat(" ", maxKeySet+1)) },
		} {
			server.set(broken)
			time.Sleep(5 * time.Minute)
			if got := judge(first); got != codes.OK {
				t.Errorf("with a broken issuer: %s", got)
			}
		}

		remembered := first.sign(t, claimsAt(time.Now()), nil)
		if _, err := a.Authenticate(t.Context(), Credentials{Bearer: remembered}); err != nil {
			t.Error(err)
		}
		server.set(func(s *issuerServer) { s.body = keySetOf(t, second) })
		time.Sleep(time.Minute + demandMin)
		if got := judge(second); got != codes.OK {
			t.Errorf("a new key: %s", got)
		}
		if _, err := a.Authenticate(t.Context(), Credentials{Bearer: remembered}); codeOf(err) != codes.Unauthenticated {
			t.Errorf("a token of a key that was taken back: %v", err)
		}
	})
}

// TestUnknownKeysAreRateLimited: a flood of made-up key ids costs the issuer one fetch in ten seconds.
func TestUnknownKeysAreRateLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newES256(t, "k1")
		server := &issuerServer{body: keySetOf(t, s)}
		a := newAuthenticator(t, testConfig(), server)
		defer a.Close()
		start := server.count()
		var tokens []string
		for _, id := range []string{"made-up-1", "made-up-2", "made-up-3"} {
			tokens = append(tokens, signer{id, s.alg, s.key}.sign(t, claimsAt(time.Now()), nil))
		}
		for i := range 1000 {
			_, err := a.Authenticate(t.Context(), Credentials{Bearer: tokens[i%len(tokens)]})
			if codeOf(err) != codes.Unauthenticated {
				t.Fatalf("got %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := server.count() - start; got > 11 || got < 9 {
			t.Errorf("%d fetches in 100 s, want about 10", got)
		}
	})
}

func TestRefreshInterval(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header string
		want   int // fetches in three hours, the first included
	}{{"", 13}, {"max-age=1", 181}, {"public, max-age=1800", 7}, {"max-age=999999", 4}, {"no-store", 13}} {
		t.Run(tt.header, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &issuerServer{body: keySetOf(t, newES256(t, "k1")), header: http.Header{"Cache-Control": {tt.header}}}
				a := newAuthenticator(t, testConfig(), server)
				defer a.Close()
				time.Sleep(3*time.Hour + time.Second)
				if got := server.count(); got != tt.want {
					t.Errorf("%d fetches, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	s := newES256(t, "k1")
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, keySetOf(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{JWT: []JWT{{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSFile: "jwks.json"}}}
	config.ResolvePaths(func(p string) string { return filepath.Join(filepath.Dir(file), p) })
	a, err := New(t.Context(), config, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claimsAt(time.Now()), nil)}); err != nil {
		t.Error(err)
	}
}

// TestOverHTTP fetches keys with the client that is used in earnest; a redirect is not followed.
func TestOverHTTP(t *testing.T) {
	t.Parallel()
	s := newES256(t, "k1")
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keySetOf(t, s)) })
	mux.Handle("/moved", http.RedirectHandler("/jwks.json", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]codes.Code{"/jwks.json": codes.OK, "/moved": codes.Unavailable} {
		config := testConfig()
		config.JWT[0].JWKSURI = server.URL + path
		a, err := New(t.Context(), config, Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(300 * time.Millisecond)
		for a.Ready() != nil && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if _, err := a.Authenticate(t.Context(), Credentials{Bearer: s.sign(t, claimsAt(time.Now()), nil)}); codeOf(err) != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
		a.Close()
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{JWT: []JWT{
		{},
		{Issuer: "a", Audiences: []string{""}, JWKSURI: "ftp://x", Algorithms: []string{"ES256", "HS256", "none"}},
		{Issuer: "a", Audiences: []string{"x"}, JWKSURI: "https://x/", JWKSFile: "y"},
	}}, Options{Logger: slog.New(slog.DiscardHandler)})
	var got []string
	for _, m := range mistake.List(err) {
		got = append(got, strings.Join(m.Path, "."))
	}
	want := []string{
		"jwt.0.issuer", "jwt.0.audiences", "jwt.0",
		"jwt.1.audiences", "jwt.1.jwks_uri", "jwt.1.algorithms.1", "jwt.1.algorithms.2",
		"jwt.2.jwks_file", "jwt.2.issuer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err = New(t.Context(), Config{JWT: []JWT{{Issuer: "a", Audiences: []string{"x"}, JWKSFile: "/nowhere"}}}, Options{Logger: slog.New(slog.DiscardHandler)})
	if list := mistake.List(err); len(list) != 1 || strings.Join(list[0].Path, ".") != "jwt.0.jwks_file" {
		t.Errorf("got %v", err)
	}
}

// FuzzToken: whatever the text, taking it apart ends without a panic, and nothing that was not signed is accepted.
func FuzzToken(f *testing.F) {
	s := newES256(f, "k1")
	valid := s.sign(f, claimsAt(time.Now()), nil)
	for _, seed := range []string{valid, "", "..", "a.b.c", valid[1:], "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	a := newAuthenticator(f, testConfig(), &issuerServer{body: keySetOf(f, s)})
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := a.Authenticate(t.Context(), Credentials{Bearer: text}); text != "" && text != valid && err == nil {
			t.Errorf("accepted %q", text)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	s := newES256(b, "k1")
	a := newAuthenticator(b, testConfig(), &issuerServer{body: keySetOf(b, s)})
	token := s.sign(b, claimsAt(time.Now()), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), Credentials{Bearer: token}); err != nil {
			b.Fatal(err)
		}
	}
}
