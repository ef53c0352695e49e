package issuer_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/portico-bff/portico/cmd/shop/issuer"
)

func serve(t *testing.T, i *issuer.Issuer) jwk.Set {
	t.Helper()
	w := httptest.NewRecorder()
	i.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, issuer.JWKSPath, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("got %d %v", w.Code, w.Header())
	}
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `"d"`) {
		t.Fatalf("the private key is served: %s", text)
	}
	set, err := jwk.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestTokenAnswersToTheServedKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	i, err := issuer.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := i.Token("usr-0003", []string{"customer"}, 12*time.Hour, map[string]any{"kind": "user", "iss": "https://evil.example"})
	if err != nil {
		t.Fatal(err)
	}
	// A later start has the same key.
	again, err := issuer.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Parse([]byte(signed), jwt.WithKeySet(serve(t, again)), jwt.WithIssuer(issuer.ID), jwt.WithAudience(issuer.Audience))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	expires, _ := token.Expiration()
	issued, _ := token.IssuedAt()
	if expires.Sub(issued) != 12*time.Hour {
		t.Errorf("it lives %v", expires.Sub(issued))
	}
	for _, name := range []string{"exp", "iat", "nbf", "jti"} {
		if claims[name] == nil {
			t.Errorf("no %s", name)
		}
		delete(claims, name)
	}
	want := map[string]any{
		"iss": "https://id.shop.test", "aud": []any{"portico"}, "sub": "usr-0003",
		"roles": []any{"customer"}, "kind": "user",
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Error(diff)
	}
	m, err := jws.Parse([]byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	header := m.Signatures()[0].ProtectedHeaders()
	kid, _ := header.KeyID()
	alg, _ := header.Algorithm()
	if key, ok := serve(t, i).LookupKeyID(kid); !ok || alg.String() != "ES256" {
		t.Errorf("header kid %q (%v), alg %v", kid, key, alg)
	}
}

func TestOneKeyForAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kids := make([]string, 8)
	var wg sync.WaitGroup
	for n := range kids {
		wg.Go(func() {
			i, err := issuer.New(dir)
			if err != nil {
				t.Error(err)
				return
			}
			key, _ := serve(t, i).Key(0)
			kids[n], _ = key.KeyID()
		})
	}
	wg.Wait()
	for _, kid := range kids {
		if kid == "" || kid != kids[0] {
			t.Errorf("got keys %q", kids)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != issuer.KeyFile {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(dir, issuer.KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode: %v, %v", info, err)
	}
}

func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty":    {},
		"garbage":  []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"not PEM":  []byte("secret"),
		"RSA":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"two keys": append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "more"...),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, issuer.KeyFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := issuer.New(dir); err == nil || !strings.Contains(err.Error(), issuer.KeyFile) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
