package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxToken bounds the length of a token: longer ones are refused unread.
const maxToken = 8 << 10

// Why a token is refused. They are the cause that logs see; clients are told little.
var (
	errMalformed = errors.New("it is no signed JWT in compact form")
	errTooLong   = fmt.Errorf("it is longer than %d bytes", maxToken)
)

// token is a JWT that was taken apart but not verified: nothing in it may be believed but what picks the key.
type token struct {
	algorithm string
	keyID     string
	issuer    string
}

// parseToken reads what picks the key to verify a token with. Headers that would change how the token is to be
// processed, or that bring keys along, are refused: keys come from the issuer's key set and from nowhere else.
func parseToken(text string) (token, error) {
	if len(text) > maxToken {
		return token{}, errTooLong
	}
	if strings.Count(text, ".") != 2 {
		return token{}, errMalformed
	}
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	if _, err := base64.RawURLEncoding.Strict().DecodeString(signature); err != nil || signature == "" {
		return token{}, errMalformed
	}
	var h, p map[string]json.RawMessage // not structs: those match names whatever their case
	if err := errors.Join(decodePart(header, &h), decodePart(payload, &p)); err != nil {
		return token{}, err
	}
	for _, name := range []string{"crit", "jku", "x5u", "jwk", "b64", "zip", "enc"} {
		if _, ok := h[name]; ok {
			return token{}, fmt.Errorf("its header %q is not accepted", name)
		}
	}
	var t token
	for _, f := range []struct {
		from     map[string]json.RawMessage
		name     string
		into     *string
		required bool
	}{{h, "alg", &t.algorithm, true}, {h, "kid", &t.keyID, false}, {p, "iss", &t.issuer, true}} {
		raw, ok := f.from[f.name]
		if !ok && !f.required {
			continue
		}
		if err := json.Unmarshal(raw, f.into); err != nil || *f.into == "" {
			return token{}, fmt.Errorf("its %q is missing or no text", f.name)
		}
	}
	return t, nil
}

func decodePart(part string, into any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return errMalformed
	}
	if err := json.Unmarshal(data, into); err != nil {
		return errMalformed
	}
	return nil
}
