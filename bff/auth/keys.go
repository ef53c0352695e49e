package auth

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// publicKey is a key that an issuer has published for verifying signatures.
type publicKey struct {
	id        string
	algorithm string // the only one that it may be used with; "" if the issuer does not say
	key       any    // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey
}

// keySet is what an issuer has published. It is immutable.
type keySet struct {
	digest [sha256.Size]byte
	keys   []publicKey
}

// parseKeys reads a JWK set. Keys that are of no use to us (symmetric ones, those for encryption, kinds that are not
// known) are left out; a set without any useful key is an error.
func parseKeys(data []byte) (*keySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	set := &keySet{digest: sha256.Sum256(data)}
	var reasons error
	for i, raw := range document.Keys {
		k, err := parseKey(raw)
		if err != nil {
			reasons = errors.Join(reasons, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, errors.Join(errors.New("the key set has no key to verify signatures with"), reasons)
	}
	return set, nil
}

func parseKey(raw []byte) (publicKey, error) {
	parsed, err := jwk.ParseKey(raw)
	if err != nil {
		return publicKey{}, err
	}
	if use, ok := parsed.KeyUsage(); ok && use != "sig" {
		return publicKey{}, fmt.Errorf("it is for %q", use)
	}
	if ops, ok := parsed.KeyOps(); ok && len(ops) > 0 && !slices.Contains(ops, jwk.KeyOpVerify) {
		return publicKey{}, errors.New("it is not for verifying")
	}
	public, err := parsed.PublicKey()
	if err != nil {
		return publicKey{}, err
	}
	var k publicKey
	if err := jwk.Export(public, &k.key); err != nil {
		return publicKey{}, err
	}
	if !slices.ContainsFunc(algorithmNames(), func(name string) bool {
		a, _ := algorithmOf(name)
		return a.fits(k.key)
	}) {
		return publicKey{}, fmt.Errorf("no accepted algorithm uses a key of type %T or of its size", k.key)
	}
	k.id, _ = parsed.KeyID()
	if a, ok := parsed.Algorithm(); ok {
		k.algorithm = a.String()
	}
	return k, nil
}

// find returns the key with the id that may be used with the algorithm. A token without a key id is good only while
// exactly one key fits.
func (s *keySet) find(id, name string, a algorithm) (any, bool) {
	var found []any
	for _, k := range s.keys {
		if (id == "" || k.id == id) && (k.algorithm == "" || k.algorithm == name) && a.fits(k.key) {
			found = append(found, k.key)
		}
	}
	if len(found) != 1 || (id == "" && len(s.keys) > 1) {
		return nil, false
	}
	return found[0], true
}

// has reports whether a key with the id is in the set.
func (s *keySet) has(id string) bool {
	return slices.ContainsFunc(s.keys, func(k publicKey) bool { return k.id == id })
}
