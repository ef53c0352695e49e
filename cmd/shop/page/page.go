// Package page makes and reads the page tokens of list methods (AIP-158). A token holds
// the place where the page before ended, and is bound to the method and the filters it
// was made for: used with others, it is refused instead of skipping rows silently.
//
// Tokens are opaque but not secret. Whoever forges one gets a page that begins elsewhere
// among the rows that he may see anyway.
package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/cmd/shop/refuse"
)

// Request is what every list request of the shop has.
type Request interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// Page sizes.
const (
	defaultSize = 20
	maxKeys     = 4
)

// sumSize is how many bytes of the binding a token carries.
const sumSize = 8

// Size is how many rows the request wants: 20 if it does not say, most at the most.
func Size(r Request, most int) int {
	switch size := int(r.GetPageSize()); {
	case size <= 0:
		return min(defaultSize, most)
	default:
		return min(size, most)
	}
}

// Token makes the token of the page after the row with these keys.
func Token(r Request, keys ...int64) string {
	body := make([]byte, 0, len(keys)*binary.MaxVarintLen64)
	for _, key := range keys {
		body = binary.AppendVarint(body, key)
	}
	return base64.RawURLEncoding.EncodeToString(append(bind(r, body), body...))
}

// Keys reads the request's token into keys. It reports false for the first page. A token
// that was not made for this request, or is no token at all, is INVALID_ARGUMENT.
func Keys(r Request, keys ...*int64) (bool, error) {
	if r.GetPageToken() == "" {
		return false, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(r.GetPageToken())
	if err != nil || len(raw) < sumSize || len(raw) > sumSize+maxKeys*binary.MaxVarintLen64 {
		return false, invalid()
	}
	body := raw[sumSize:]
	if !bytes.Equal(raw[:sumSize], bind(r, body)) {
		return false, invalid()
	}
	for _, key := range keys {
		value, n := binary.Varint(body)
		if n <= 0 {
			return false, invalid()
		}
		*key, body = value, body[n:]
	}
	if len(body) > 0 {
		return false, invalid()
	}
	return true, nil
}

func invalid() error {
	return refuse.Invalid("page_token", "not a token of this list with these filters")
}

// bind sums up the method's request type, its filters and the place. The page's size and
// the token itself are no filters: the size may change from page to page.
func bind(r Request, body []byte) []byte {
	filters := proto.Clone(r).ProtoReflect()
	fields := filters.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"page_size", "page_token"} {
		if fd := fields.ByName(name); fd != nil {
			filters.Clear(fd)
		}
	}
	filters.SetUnknown(nil)
	sum := sha256.New()
	sum.Write([]byte(filters.Descriptor().FullName()))
	sum.Write([]byte{0})
	// A request whose strings are not UTF-8 has not come this far.
	text, _ := proto.MarshalOptions{Deterministic: true}.Marshal(filters.Interface())
	sum.Write(binary.AppendUvarint(nil, uint64(len(text))))
	sum.Write(text)
	sum.Write(body)
	return sum.Sum(nil)[:sumSize:sumSize]
}
