package request

import (
	"net/http"
	"strings"
)

// IsWebSocket reports whether a request asks for a WebSocket (RFC 6455, section 4.2.1).
func IsWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && HasToken(r.Header["Connection"], "upgrade") && HasToken(r.Header["Upgrade"], "websocket")
}

// HasToken reports whether a header's fields, which are lists (RFC 9110, section 5.6.1), have a token, in whatever case.
func HasToken(fields []string, token string) bool {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
