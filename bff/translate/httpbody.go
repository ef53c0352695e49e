package translate

import (
	"net/http"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/portico-bff/portico/bff/fault"
)

// The fields of google.api.HttpBody.
const (
	httpBodyName        = "google.api.HttpBody"
	httpBodyContentType = 1
	httpBodyData        = 2
)

func isHTTPBody(md protoreflect.MessageDescriptor) bool {
	return md != nil && md.FullName() == httpBodyName
}

// wrapHTTPBody makes the HttpBody of a request's body. The error is for the client: a header can hold bytes that a message
// cannot.
func wrapHTTPBody(r *http.Request, body []byte) ([]byte, error) {
	contentType := r.Header.Get("Content-Type")
	if !utf8.ValidString(contentType) {
		return nil, fault.New(codes.InvalidArgument, "the Content-Type is not UTF-8")
	}
	out := make([]byte, 0, len(contentType)+len(body)+16)
	if contentType != "" {
		out = protowire.AppendTag(out, httpBodyContentType, protowire.BytesType)
		out = protowire.AppendString(out, contentType)
	}
	if len(body) > 0 {
		out = protowire.AppendTag(out, httpBodyData, protowire.BytesType)
		out = protowire.AppendBytes(out, body)
	}
	return out, nil
}

// unwrapHTTPBody takes an HttpBody apart. Its extensions are for those who know them.
func unwrapHTTPBody(message []byte) (contentType string, data []byte, err error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return "", nil, protowire.ParseError(n)
		}
		message = message[n:]
		if kind == protowire.BytesType && (number == httpBodyContentType || number == httpBodyData) {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return "", nil, protowire.ParseError(n)
			}
			message = message[n:]
			if number == httpBodyContentType {
				contentType = string(value)
			} else {
				data = value
			}
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return "", nil, protowire.ParseError(n)
		}
		message = message[n:]
	}
	if contentType == "" || !headerValue(contentType) {
		contentType = "application/octet-stream"
	}
	return contentType, data, nil
}

// headerValue reports whether a text may stand in a header as it is.
func headerValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
