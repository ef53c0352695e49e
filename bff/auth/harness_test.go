package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"go.uber.org/goleak"

	"github.com/portico-bff/portico/upstream"
)

const (
	testIssuer   = "https://id.shop.test"
	testAudience = "portico"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuerServer publishes keys in memory: an http.RoundTripper that answers with a key set.
type issuerServer struct {
	mu      sync.Mutex
	body    []byte
	status  int
	fail    error
	header  http.Header
	fetches int
}

func (s *issuerServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if s.fail != nil {
		return nil, s.fail
	}
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: s.header,
		Body: io.NopCloser(strings.NewReader(string(s.body))), Request: r,
	}, nil
}

func (s *issuerServer) set(f func(*issuerServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *issuerServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// signer is a private key with its id.
type signer struct {
	id  string
	alg jwa.SignatureAlgorithm
	key any
}

func newES256(tb testing.TB, id string) signer {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return signer{id, jwa.ES256(), k}
}

func newRSA(tb testing.TB, id string, alg jwa.SignatureAlgorithm) signer {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return signer{id, alg, k}
}

func newEd25519(tb testing.TB, id string) signer {
	tb.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return signer{id, jwa.EdDSA(), k}
}

// keySetOf is the JWK set of the public keys, with ids and algorithms.
func keySetOf(tb testing.TB, signers ...signer) []byte {
	tb.Helper()
	document := map[string][]jwk.Key{"keys": {}}
	for _, s := range signers {
		private, err := jwk.Import(s.key)
		if err != nil {
			tb.Fatal(err)
		}
		public, err := private.PublicKey()
		if err != nil {
			tb.Fatal(err)
		}
		if s.id != "" {
			if err := public.Set("kid", s.id); err != nil {
				tb.Fatal(err)
			}
		}
		document["keys"] = append(document["keys"], public)
	}
	data, err := json.Marshal(document)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// claimsAt are the claims of a good token.
func claimsAt(now time.Time) map[string]any {
	return map[string]any{
		"iss": testIssuer, "aud": []string{testAudience, "other"}, "sub": "usr-0003", "roles": []string{"customer"},
		"scope": "read write", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

// sign makes a token; header adds to its header.
func (s signer) sign(tb testing.TB, claims, header map[string]any) string {
	tb.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	h := jws.NewHeaders()
	if s.id != "" {
		header = with(header, "kid", s.id)
	}
	for name, value := range header {
		if err := h.Set(name, value); err != nil {
			tb.Fatal(err)
		}
	}
	token, err := jws.Sign(payload, jws.WithKey(s.alg, s.key, jws.WithProtectedHeaders(h)))
	if err != nil {
		tb.Fatal(err)
	}
	return string(token)
}

// with returns m with one entry more, if it has none of that name.
func with(m map[string]any, name string, value any) map[string]any {
	out := map[string]any{name: value}
	maps.Copy(out, m)
	return out
}

// forge makes a token of any header and claims with the given signature bytes.
func forge(tb testing.TB, header, claims map[string]any, signature func(signed string) []byte) string {
	tb.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc(h) + "." + enc(p)
	return signed + "." + enc(signature(signed))
}

func testConfig() Config {
	return Config{JWT: []JWT{{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURI: "https://id.shop.test/jwks.json"}}}
}

// newAuthenticator makes an Authenticator that fetches from server and waits until it has keys, if it can have them.
func newAuthenticator(tb testing.TB, config Config, server *issuerServer) *Authenticator {
	tb.Helper()
	a, err := New(tb.Context(), config, Options{HTTP: &http.Client{Transport: server}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	deadline := time.Now().Add(5 * time.Second)
	for a.Ready() != nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	return a
}

func shopDescriptors(tb testing.TB) *upstream.Descriptors {
	tb.Helper()
	d, err := upstream.Load([]upstream.DescriptorSource{{Set: "../../protos/gen/shop.binpb"}})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func shopMethod(tb testing.TB, d *upstream.Descriptors, name string) *upstream.Method {
	tb.Helper()
	m, ok := d.Method(name)
	if !ok {
		tb.Fatalf("no method %s", name)
	}
	return m
}

var errOutage = errors.New("connection refused")
