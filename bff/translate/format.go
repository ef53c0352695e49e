package translate

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/portico-bff/portico/bff/fault"
)

// format is how messages are written in bodies and frames.
type format int

const (
	jsonFormat format = iota
	protoFormat
	rawFormat // google.api.HttpBody: the body is the data itself
)

const (
	jsonType  = "application/json"
	protoType = "application/protobuf"
)

// bodyFormat tells from its headers how a body is written. A body without a type is taken for JSON. The error is for
// the client.
func bodyFormat(r *http.Request) (format, error) {
	contentType := r.Header.Get("Content-Type")
	switch contentType {
	case "", jsonType:
		return jsonFormat, nil
	case protoType:
		return protoFormat, nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, unsupportedType(contentType, jsonType+" or "+protoType)
	}
	if isProto(media) {
		return protoFormat, nil
	}
	if media != jsonType && (!strings.HasPrefix(media, "application/") || !strings.HasSuffix(media, "+json")) {
		return 0, unsupportedType(contentType, jsonType+" or "+protoType)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return 0, unsupported("charset", charset)
	}
	return jsonFormat, nil
}

// isProto reports whether a media type is one of those in use for the protobuf wire format.
func isProto(media string) bool {
	switch media {
	case protoType, "application/x-protobuf", "application/vnd.google.protobuf":
		return true
	}
	return false
}

// answerFormat chooses how a unary answer is written; a client that says nothing gets what it has sent itself.
func answerFormat(r *http.Request, sent format) (format, error) {
	accept := r.Header["Accept"]
	if len(accept) == 0 {
		return sent, nil
	}
	switch negotiate(accept, jsonType, protoType, "application/x-protobuf", "application/vnd.google.protobuf") {
	case -1:
		return 0, notAcceptable()
	case 0:
		return jsonFormat, nil
	default:
		return protoFormat, nil
	}
}

func notAcceptable() error {
	return fault.New(codes.InvalidArgument, "no form of the answer is acceptable", fault.WithHTTPStatus(http.StatusNotAcceptable))
}

// negotiate returns which of the offered media types fits the fields of Accept best (RFC 9110, section 12.5.1): the one
// of the highest weight, then the one named most exactly, then the first. It is -1 if none fits.
func negotiate(accept []string, offers ...string) int {
	if len(accept) == 1 && (accept[0] == "*/*" || accept[0] == offers[0]) {
		return 0
	}
	best, bestWeight, bestExact := -1, 0.0, 0
	for i, offer := range offers {
		weight, exact := weigh(accept, offer)
		if weight > bestWeight || weight == bestWeight && weight > 0 && exact > bestExact {
			best, bestWeight, bestExact = i, weight, exact
		}
	}
	return best
}

// weigh returns the weight that Accept gives a media type, and how exactly it is named: 3 by itself, 2 by its main type,
// 1 by */*.
func weigh(accept []string, offer string) (weight float64, exact int) {
	main, _, _ := strings.Cut(offer, "/")
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			how := 0
			switch media {
			case offer:
				how = 3
			case main + "/*":
				how = 2
			case "*/*":
				how = 1
			}
			if how <= exact {
				continue
			}
			exact, weight = how, 1
			if q, ok := params["q"]; ok {
				if weight, err = strconv.ParseFloat(q, 64); err != nil || weight < 0 || weight > 1 {
					weight = 0
				}
			}
		}
	}
	return weight, exact
}
