package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"

	"github.com/lestrrat-go/jwx/v3/jwa"
)

// minRSABits is the least size of an RSA key (RFC 7518, section 3.3).
const minRSABits = 2048

// algorithm is a signature algorithm and the test of whether a key may be used with it. Only asymmetric ones exist
// here: a public key can never be taken for an HMAC secret.
type algorithm struct {
	jwa  jwa.SignatureAlgorithm
	fits func(key any) bool
}

// algorithmNames are the names that config may use.
func algorithmNames() []string {
	return []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
}

// algorithmOf returns the algorithm of a name; false for every name that is not in algorithmNames.
func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "ES256":
		return algorithm{jwa.ES256(), onCurve(elliptic.P256())}, true
	case "ES384":
		return algorithm{jwa.ES384(), onCurve(elliptic.P384())}, true
	case "ES512":
		return algorithm{jwa.ES512(), onCurve(elliptic.P521())}, true
	case "RS256":
		return algorithm{jwa.RS256(), isRSA}, true
	case "RS384":
		return algorithm{jwa.RS384(), isRSA}, true
	case "RS512":
		return algorithm{jwa.RS512(), isRSA}, true
	case "PS256":
		return algorithm{jwa.PS256(), isRSA}, true
	case "PS384":
		return algorithm{jwa.PS384(), isRSA}, true
	case "PS512":
		return algorithm{jwa.PS512(), isRSA}, true
	case "EdDSA":
		return algorithm{jwa.EdDSA(), isEd25519}, true
	default:
		return algorithm{}, false
	}
}

func onCurve(curve elliptic.Curve) func(any) bool {
	return func(key any) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve == curve
	}
}

func isRSA(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= minRSABits
}

func isEd25519(key any) bool {
	_, ok := key.(ed25519.PublicKey)
	return ok
}
