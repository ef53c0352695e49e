package translate

import (
	"encoding/base64"
	"net/http"
	"net/textproto"
	"strings"

	"google.golang.org/grpc/metadata"
)

// passHeaders passes response metadata, of which configuration has let through what may be seen, to the client.
// What HTTP or we ourselves need for the message is never taken from a service.
func passHeaders(h http.Header, md metadata.MD) {
	for key, values := range md {
		name := textproto.CanonicalMIMEHeaderKey(key)
		if reserved(name) {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			h.Add(name, value)
		}
	}
}

// reserved reports whether a header is the connection's, the message's or ours.
func reserved(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Content-Type", "Content-Length", "Content-Encoding", "Date", "Etag", "Vary", "Cache-Control", "Age",
		"Cache-Status", "Set-Cookie", "Www-Authenticate", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, ":") || strings.HasPrefix(name, "Grpc-") || strings.HasPrefix(name, "Access-Control-")
}
