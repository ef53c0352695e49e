// Package issuer is the demo's token issuer: it signs JWTs with one ES256 key and serves
// the key's public half as a JSON Web Key Set. It stands in for an identity provider and
// asks nobody for a password: development only.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// What the tokens say.
const (
	// ID is the issuer's name, the claim iss.
	ID = "https://id.shop.test"
	// Audience is whom the tokens are for, the claim aud.
	Audience = "portico"
	// KeyFile is the key's file in the issuer's folder: PKCS#8 in PEM, P-256.
	KeyFile = "issuer.pem"
	// JWKSPath is where the key set is served.
	JWKSPath = "/.well-known/jwks.json"
)

// Issuer signs tokens. It is immutable and safe for concurrent use.
type Issuer struct {
	key jwk.Key
	set []byte
}

// New takes the key in the folder, or makes one there.
func New(dir string) (*Issuer, error) {
	private, err := loadOrCreate(filepath.Join(dir, KeyFile))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return fromKey(private)
}

// fromKey names the key by its thumbprint (RFC 7638), so that whoever signs with the same
// key gives it the same name.
func fromKey(private *ecdsa.PrivateKey) (*Issuer, error) {
	key, err := jwk.Import(private)
	if err != nil {
		return nil, fmt.Errorf("issuer: import key: %w", err)
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("issuer: thumbprint: %w", err)
	}
	err = errors.Join(
		key.Set(jwk.KeyIDKey, base64.RawURLEncoding.EncodeToString(sum)),
		key.Set(jwk.AlgorithmKey, jwa.ES256()),
		key.Set(jwk.KeyUsageKey, jwk.ForSignature),
	)
	if err != nil {
		return nil, fmt.Errorf("issuer: name key: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("issuer: public key: %w", err)
	}
	set, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
	if err != nil {
		return nil, fmt.Errorf("issuer: encode key set: %w", err)
	}
	return &Issuer{key: key, set: set}, nil
}

// Token signs a token for the subject that is valid from now on for ttl. The claims are
// added; they cannot replace the registered ones.
func (i *Issuer) Token(subject string, roles []string, ttl time.Duration, claims map[string]any) (string, error) {
	now := time.Now().Truncate(time.Second)
	b := jwt.NewBuilder()
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		b.Claim(name, claims[name])
	}
	token, err := b.Issuer(ID).Audience([]string{Audience}).Subject(subject).Claim("roles", roles).
		IssuedAt(now).NotBefore(now).Expiration(now.Add(ttl)).JwtID(rand.Text()).Build()
	if err != nil {
		return "", fmt.Errorf("issuer: build token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256(), i.key))
	if err != nil {
		return "", fmt.Errorf("issuer: sign token: %w", err)
	}
	return string(signed), nil
}

// Handler serves the key set at [JWKSPath].
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+JWKSPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Write(i.set) //nolint:errcheck // the client left: nobody to tell
	})
	return mux
}
